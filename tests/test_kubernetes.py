"""config/kubernetes, by the schemas of Kubernetes and by what the daemon reads of it."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from presenced.settings import Settings, load_settings

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / "config" / "kubernetes"
OBJECTS: dict[str, dict[str, Any]] = {
    each["kind"]: each for each in yaml.safe_load_all((FOLDER / "workers.yaml").read_text())
}
MONITOR: dict[str, Any] = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())
POD: dict[str, Any] = OBJECTS["StatefulSet"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("version", ["1.29", "1.33", kubernetes_validate.latest_version()])
def test_kubernetes_takes_it(kind: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_every_kind_is_once_in_the_file() -> None:
    text = (FOLDER / "workers.yaml").read_text()
    assert len(re.findall(r"^kind: ", text, re.MULTILINE)) == len(OBJECTS)


def mounted() -> dict[str, str]:
    """Where the container sees each key of the ConfigMap and the Secret, by its name."""
    paths = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    found = {}
    for volume in POD["spec"]["volumes"]:
        if "configMap" in volume:
            source, keys = volume["configMap"]["name"], OBJECTS["ConfigMap"]
            assert source == keys["metadata"]["name"]
            names = keys["data"]
        else:
            source, keys = volume["secret"]["secretName"], OBJECTS["Secret"]
            assert source == keys["metadata"]["name"]
            names = keys["stringData"]
        found |= {name: f"{paths[volume['name']]}/{name}" for name in names}
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """What the first worker is configured to do; its files are in a directory of this test."""
    text = OBJECTS["ConfigMap"]["data"]["presenced.yaml"]
    file = tmp_path / "presenced.yaml"
    file.write_text(text)
    (variable,) = CONTAINER["env"]
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    pod = f"{OBJECTS['StatefulSet']['metadata']['name']}-0"
    return load_settings(file, environ={variable["name"]: pod})


def test_the_configuration_is_valid_and_its_files_are_mounted(settings: Settings) -> None:
    assert settings.source == "kafka"
    assert settings.kafka.instance_id == "presenced-0"
    places = mounted()
    assert places["presenced.yaml"] == "/etc/presenced/presenced.yaml"
    assert str(settings.kafka.security.password_file) == places["password"]
    assert str(settings.kafka.security.ca) == places["ca.crt"]


def test_probes_use_the_address_for_them(settings: Settings) -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert str(settings.metrics.listen).endswith(f":{ports['http']}")
    assert str(settings.metrics.health_listen).endswith(f":{ports['health']}")
    paths = {probe: CONTAINER[probe]["httpGet"]["path"] for probe in PROBES}
    assert paths == {
        "startupProbe": "/-/healthy",
        "livenessProbe": "/-/healthy",
        "readinessProbe": "/-/ready",
    }
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {"health"}


def test_the_pod_is_confined() -> None:
    security = POD["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.findall(r"^USER (\d+):\d+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert [str(security["runAsUser"])] == user
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert all(mount["readOnly"] for mount in CONTAINER["volumeMounts"])
    assert "cpu" not in CONTAINER["resources"]["limits"], "it would be throttled"


def test_all_objects_select_the_pods() -> None:
    labels = POD["metadata"]["labels"]
    selectors = [
        OBJECTS["StatefulSet"]["spec"]["selector"]["matchLabels"],
        OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        OBJECTS["Service"]["spec"]["selector"],
        MONITOR["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    service = OBJECTS["Service"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["metadata"]["name"] == OBJECTS["StatefulSet"]["spec"]["serviceName"]
    account = OBJECTS["ServiceAccount"]["metadata"]["name"]
    assert POD["spec"]["serviceAccountName"] == account


def test_the_monitor_gives_targets_the_labels_of_the_rules() -> None:
    assert MONITOR["apiVersion"] == "monitoring.coreos.com/v1"
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in CONTAINER["ports"]}
    labels = {
        each["targetLabel"]: each for each in endpoint["relabelings"] if "targetLabel" in each
    }
    assert labels["job"]["replacement"].startswith("presenced")
    assert set(labels) == {"job", "instance"}
    (dropped,) = (each["regex"] for each in endpoint["relabelings"] if "action" in each)
    assert all(re.fullmatch(dropped, name) for name in ("pod", "container", "endpoint"))
