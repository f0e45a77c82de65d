"""The reference of all keys: `python -m presenced.settings.reference` writes the page.

The page is `docs/reference/configuration.md`.

The JSON Schema of the configuration file: `python -m presenced.settings.schema`.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from presenced.settings.keys import KEYS, Key
from presenced.settings.loading import DEFAULT_CONFIG, FLAGS, variable
from presenced.settings.model import Settings
from presenced.settings.values import PATTERN


class _Generator(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's
        return False


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what the configuration file may hold."""
    schema = Settings.model_json_schema(schema_generator=_Generator)
    for section in schema["properties"].values():
        # A section whose keys are all commented out is null.
        section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]
    schema["title"] = "Configuration of presenced"
    return {"$schema": _Generator.schema_dialect, **_unwrapped(schema)}


def _unwrapped(node: Any) -> Any:
    """The same with each description on one line, for editors to wrap as they like."""
    if isinstance(node, list):
        return [_unwrapped(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: " ".join(value.split()) if key == "description" else _unwrapped(value)
        for key, value in node.items()
    }


def schema_text() -> str:
    """The JSON Schema as the text of the file `config/presenced.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


_HEAD = f"""# Configuration

Written by `make docs` from `daemon/presenced/settings/`; a test keeps it current.

Every key has a default except `mqtt.endpoint`. The flags of `presenced run` override environment
variables, these override the file (`--config`, by default `{DEFAULT_CONFIG}`), and the
file overrides the defaults. [config/presenced.yaml](../../config/presenced.yaml) has all keys with
advice on when to change them. [Its JSON Schema](../../config/presenced.schema.json) lets an editor
complete and check them. `presenced check` reports every error in a file and the nearest known key.

- A duration has units: `500ms`, `5s`, `2m`, `1h30m`, `30d`. `0` needs none.
- A relative path is relative to the file that contains it; in a variable or a flag, to the working
  directory.
- A variable holds text, or YAML for other types, so a list may be JSON:
  `PRESENCED_MQTT__CONNECTIONS='[["$aws/events/#"]]'`. An empty variable is null if the key may be
  null.
- SIGHUP applies changes. Only connections that changed reconnect. Changes of `metrics.listen`,
  `metrics.health_listen`, `metrics.api`, `history` and `state` take effect at the next start; the
  log says so.

`metrics.web_config` names a separate file that protects the listener: the
[web configuration file](web-configuration.md).
"""


def reference() -> str:
    """The page as Markdown: a section for each section of the file, in it a part for each key."""
    schema = json_schema()
    return _HEAD + "".join(_sections(schema["properties"], schema["$defs"]))


def _sections(properties: Mapping[str, Any], models: Mapping[str, Any]) -> list[str]:
    parts = []
    for name, section in properties.items():
        model = _model(section, models)
        parts.append(f"\n## {name}\n\n{_escaped(model['description'])}\n")
        parts += _keys(name, model, models)
    return parts


def _keys(parent: str, model: Mapping[str, Any], models: Mapping[str, Any]) -> list[str]:
    parts = []
    for name, field in model["properties"].items():
        key = f"{parent}.{name}"
        inner = _model(field, models)
        parts.append(_part(key, field, within=inner is not None))
        if inner is not None:
            parts += _keys(key, inner, models)
    return parts


def _model(field: Mapping[str, Any], models: Mapping[str, Any]) -> Any:
    """The model of a mapping with keys of its own; None for a single value."""
    choices = [choice["$ref"] for choice in field.get("anyOf", ()) if "$ref" in choice]
    return models[choices[0].rpartition("/")[2]] if choices else None


def _part(key: str, field: Mapping[str, Any], *, within: bool) -> str:
    rows = {
        "Type": _type(field),
        "Default": "the keys below" if within else _default(field["default"]),
        "Environment": _variables(KEYS[key]),
        "Flag": f"`{FLAGS[key]}`" if key in FLAGS else "",
    }
    lines = [f"- {title}: {text}\n" for title, text in rows.items() if text]
    return f"\n### {key}\n\n{_escaped(field['description'])}\n\n{''.join(lines)}"


def _variables(key: Key) -> str:
    name = variable(key)
    return f"`{name}`, or `{name}__NAME` for one of them" if key.open else f"`{name}`"


def _default(value: Any) -> str:
    if value == "":
        return "none, it must be set"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(f"`{c}`" for c in dict.fromkeys(map(str, field["enum"])))
    if "const" in field:
        return f"`{str(field['const']).lower()}`"
    if field.get("pattern") == PATTERN:
        return "duration"
    if "$ref" in field:
        return "mapping"
    return _FORMATS.get(field.get("format", "")) or _TYPES[field["type"]](field)


def _number(field: Mapping[str, Any]) -> str:
    most = f" to {field['maximum']}" if "maximum" in field else " upwards"
    return f"whole number from {field['minimum']}{most}"


def _list(field: Mapping[str, Any]) -> str:
    number = f" of {field['minItems']} to {field['maxItems']}" if "maxItems" in field else ""
    items = _type(field["items"])
    return f"list{number}, each a {items}" if "list" in items else f"list{number or ' of'} {items}s"


def _mapping(field: Mapping[str, Any]) -> str:
    (values,) = field["patternProperties"].values()
    return f"mapping of names to {_type(values)}s"


_FORMATS = {"path": "path", "password": "text (never shown)", "regex": "regular expression"}
_TYPES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "array": _list,
    "boolean": lambda _: "`true` or `false`",
    "integer": _number,
    "null": lambda _: "`null`",
    "object": _mapping,
    "string": lambda _: "text",
}


def _escaped(text: str) -> str:
    """A docstring as Markdown: outside of `code` nothing of it is markup."""
    code = re.split("(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([<*|\\])", r"\\\1", p) for p in code)


if __name__ == "__main__":
    sys.stdout.write(schema_text() if "--schema" in sys.argv else reference())
