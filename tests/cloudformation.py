"""CloudFormation templates as this project writes them."""

from pathlib import Path
from typing import Any

import yaml


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms as {"Sub": ...} and so on."""


_Template.add_multi_constructor(
    "!",
    lambda loader, suffix, node: {
        suffix: loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else loader.construct_scalar(node)
    },
)


def template(file: Path) -> dict[str, Any]:
    """Return a template, with its short forms as mappings of one key."""
    return yaml.load(file.read_text(), _Template)


def substituted(value: Any, **names: str) -> Any:
    """Return the value with every !Sub done: `names`, and REGION and ACCOUNT in partition aws."""
    if isinstance(value, list):
        return [substituted(each, **names) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {"Sub"}:
        return {key: substituted(each, **names) for key, each in value.items()}
    known = {"AWS::Partition": "aws", "AWS::Region": "REGION", "AWS::AccountId": "ACCOUNT", **names}
    text = value["Sub"]
    for name, found in known.items():
        text = text.replace(f"${{{name}}}", found)
    return text
