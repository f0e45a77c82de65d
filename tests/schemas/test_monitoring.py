"""config/kubernetes/monitoring, by the schemas of the Prometheus operator.

The package makes its schemas from the operator's Go types, as the operator makes its
CustomResourceDefinitions. Schemas permit unknown keys, which Kubernetes drops; the types do not.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernetes_objects import KUBERNETES
from typescript import node, type_errors

PACKAGE = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1"
OBJECTS: dict[str, Any] = {
    kind: yaml.safe_load((KUBERNETES / "monitoring" / file).read_text())
    for kind, file in (("PodMonitor", "podmonitor.yaml"), ("PrometheusRule", "rules.yaml"))
}


def program(kind: str, described: dict[str, Any]) -> str:
    """A program that ends with an error if the schema does not permit an object."""
    return (
        f'import {{ {kind}, type I{kind} }} from "{PACKAGE}/{kind}";\n'
        f"const described: I{kind} = {json.dumps(described)};\n"
        f"new {kind}(described).validate();\n"
    )


@pytest.mark.parametrize("kind", OBJECTS)
def test_the_operator_takes_it(kind: str, tmp_path: Path) -> None:
    assert type_errors(tmp_path, {"object.ts": program(kind, OBJECTS[kind])}) == {}
    done = node(tmp_path, "object.ts")
    assert done.returncode == 0, done.stderr


def endpoint(monitor: dict[str, Any]) -> Any:
    return monitor["spec"]["podMetricsEndpoints"][0]


def rule(rules: dict[str, Any]) -> Any:
    return rules["spec"]["groups"][0]["rules"][0]


Change = Callable[[dict[str, Any]], object]
MISTYPED: dict[str, tuple[str, Change]] = {
    "unknown-key": ("PodMonitor", lambda it: endpoint(it).update(prot="http")),
    "unknown-action": ("PodMonitor", lambda it: endpoint(it)["relabelings"][2].update(action="x")),
    "no-selector": ("PodMonitor", lambda it: it["spec"].pop("selector")),
    "number": ("PodMonitor", lambda it: endpoint(it).update(interval=15)),
    "misspelt-key": ("PrometheusRule", lambda it: rule(it).update(anotations={})),
    "no-expression": ("PrometheusRule", lambda it: rule(it).pop("expr")),
}
MALFORMED: dict[str, tuple[str, Change]] = {
    "interval": ("PodMonitor", lambda it: endpoint(it).update(interval="15")),
    "duration": ("PrometheusRule", lambda it: rule(it).update({"for": "5 minutes"})),
}


def changed(kind: str, change: Change) -> str:
    described = copy.deepcopy(OBJECTS[kind])
    change(described)
    return program(kind, described)


def test_it_finds_what_is_mistyped(tmp_path: Path) -> None:
    files = {f"{name}.ts": changed(*each) for name, each in MISTYPED.items()}
    assert set(type_errors(tmp_path, files)) == set(files)


@pytest.mark.parametrize("name", MALFORMED)
def test_it_finds_what_is_malformed(name: str, tmp_path: Path) -> None:
    (tmp_path / "object.ts").write_text(changed(*MALFORMED[name]))
    done = node(tmp_path, "object.ts")
    assert done.returncode != 0
    assert "must match pattern" in done.stderr
