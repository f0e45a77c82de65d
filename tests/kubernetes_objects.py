"""What `kubectl apply -k` would send for a directory of config/kubernetes."""

import functools
import os
from typing import Any

import kubernetes_validate
import yaml

from brokers import missing
from debian import PROJECT, call

KUBERNETES = PROJECT / "config" / "kubernetes"
SCHEMAS = ("1.29", "1.33", kubernetes_validate.latest_version())
"""The versions of Kubernetes whose schemas the objects are checked with."""

_KUBECTL = PROJECT / "build" / "kubectl" / "kubectl" / "kubectl"


@functools.cache
def rendered(directory: str) -> list[dict[str, Any]]:
    """The objects of a directory."""
    if not os.access(_KUBECTL, os.X_OK):
        missing("there is no kubectl: make build/kubectl/.done")
    return list(yaml.safe_load_all(call(str(_KUBECTL), "kustomize", str(KUBERNETES / directory))))


def only(directory: str, kind: str) -> dict[str, Any]:
    """The only object of a kind in a directory."""
    (found,) = (each for each in rendered(directory) if each["kind"] == kind)
    return found


def pod(directory: str) -> dict[str, Any]:
    """The template of the pods in a directory."""
    template: dict[str, Any] = only(directory, "StatefulSet")["spec"]["template"]
    return template


def container(directory: str) -> dict[str, Any]:
    """The only container of these pods."""
    (found,) = pod(directory)["spec"]["containers"]
    return dict(found)


def environment(directory: str, name: str) -> dict[str, str]:
    """The variables of the container in the pod of this name."""
    found = {}
    for variable in container(directory).get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
            found[variable["name"]] = name
    return found
