"""config/kubernetes, by the schemas of Kubernetes and by what the daemon reads of it."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from debian import PROJECT
from documentation import blocks, prose
from kubernetes_objects import KUBERNETES, SCHEMAS, container, environment, only, pod, rendered
from presenced import __version__
from presenced.settings import Settings, load_settings
from prometheus_rule import prometheus_rule

KINDS = ("single", "pair", "kafka")
PAGE = "docs/how-to/run-on-kubernetes.md"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
MONITOR: dict[str, Any] = yaml.safe_load(
    (KUBERNETES / "monitoring" / "podmonitor.yaml").read_text()
)


def settings(kind: str, pod_name: str, directory: Path) -> Settings:
    """What a pod is configured to do."""
    file = directory / "presenced.yaml"
    text: str = only(kind, "ConfigMap")["data"]["presenced.yaml"]
    file.write_text(text.replace("xxxxxxxxxxxxxx", "a1b2c3d4e5f6g7"))
    return load_settings(file, environ=environment(kind, pod_name))


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_takes_it(kind: str, version: str) -> None:
    found = rendered(kind)
    assert {each["kind"] for each in found} == {
        *("ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"),
        "StatefulSet",
    }
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_image_is_that_of_this_version() -> None:
    assert container("single")["image"] == f"presenced:{__version__}"
    tags = re.findall(r"newTag: ([^}]+)}", "".join(blocks(PAGE, "yaml")))
    assert tags == [__version__]
    assert f"names it `presenced:{__version__}`" in prose(PAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pod_is_confined(kind: str) -> None:
    security, only_container = pod(kind)["spec"]["securityContext"], container(kind)
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.findall(r"^USER (\d+):\d+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert [str(security["runAsUser"])] == user
    assert only_container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(kind)["spec"]["automountServiceAccountToken"] is False
    writable = {m["mountPath"] for m in only_container["volumeMounts"] if not m.get("readOnly")}
    assert writable == (set() if kind == "kafka" else {"/var/lib/presenced"})
    assert "cpu" not in only_container["resources"]["limits"], "it would be throttled"


@pytest.mark.parametrize("kind", KINDS)
def test_probes_use_the_address_for_them(kind: str, tmp_path: Path) -> None:
    configured = settings(kind, "presenced-0", tmp_path)
    ports = {port["name"]: port["containerPort"] for port in container(kind)["ports"]}
    assert str(configured.metrics.listen).endswith(f":{ports['http']}")
    assert str(configured.metrics.health_listen).endswith(f":{ports['health']}")
    asked = {probe: container(kind)[probe]["httpGet"] for probe in PROBES}
    assert {probe: each["path"] for probe, each in asked.items()} == {
        "startupProbe": "/-/healthy",
        "livenessProbe": "/-/healthy",
        "readinessProbe": "/-/ready",
    }
    assert {each["port"] for each in asked.values()} == {"health"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_is_mounted_where_the_image_reads_it(kind: str) -> None:
    mounts = {each["name"]: each for each in container(kind)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(kind)["spec"]["volumes"]}
    assert mounts["config"]["mountPath"] == "/etc/presenced/presenced.yaml"
    assert volumes["config"]["configMap"]["name"] == only(kind, "ConfigMap")["metadata"]["name"]


def test_two_daemons_have_different_client_ids_and_ignore_both(tmp_path: Path) -> None:
    assert only("pair", "StatefulSet")["spec"]["replicas"] == 2
    for name in ("presenced-0", "presenced-1"):
        configured = settings("pair", name, tmp_path)
        assert configured.mqtt is not None
        assert configured.mqtt.client_ids == (name,)
        assert "presenced-*" in configured.presence.ignore_clients


@pytest.mark.parametrize("kind", ["single", "pair"])
def test_the_state_is_on_a_volume_of_the_pod(kind: str) -> None:
    (claim,) = only(kind, "StatefulSet")["spec"]["volumeClaimTemplates"]
    (mount,) = (
        m for m in container(kind)["volumeMounts"] if m["name"] == claim["metadata"]["name"]
    )
    assert mount["mountPath"] == "/var/lib/presenced"


def test_a_worker_is_named_after_its_pod_and_finds_its_files(tmp_path: Path) -> None:
    configured = settings("kafka", "presenced-2", tmp_path)
    assert configured.source == "kafka"
    assert configured.kafka.instance_id == "presenced-2"
    (mount,) = (each for each in container("kafka")["volumeMounts"] if each["name"] == "kafka")
    security = configured.kafka.security
    assert str(security.password_file) == f"{mount['mountPath']}/password"
    assert str(security.ca) == f"{mount['mountPath']}/ca.crt"


def test_the_documented_secrets_are_those_that_are_mounted() -> None:
    text = "\n".join(blocks(PAGE, "sh"))
    created = dict(re.findall(r"create secret generic (\S+)((?:\s*\\\n[^\\\n]*)+)", text))
    mounted = {
        volume["secret"]["secretName"]
        for kind in KINDS
        for volume in pod(kind)["spec"]["volumes"]
        if "secret" in volume
    }
    assert set(created) == mounted
    keys = re.findall(r"--from-file=([^= ]+)=", created["presenced-certificates"])
    assert keys == ["certificate.pem.crt", "private.pem.key", "AmazonRootCA1.pem"]
    assert re.findall(r"--from-file=([^= ]+)=", created["presenced-kafka"]) == [
        "password",
        "ca.crt",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_all_objects_select_the_pods(kind: str) -> None:
    labels = pod(kind)["metadata"]["labels"]
    service = only(kind, "Service")
    selectors = [
        only(kind, "StatefulSet")["spec"]["selector"]["matchLabels"],
        only(kind, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(kind, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        service["spec"]["selector"],
        MONITOR["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    assert service["spec"]["clusterIP"] == "None"
    assert service["metadata"]["name"] == only(kind, "StatefulSet")["spec"]["serviceName"]
    account = only(kind, "ServiceAccount")["metadata"]["name"]
    assert pod(kind)["spec"]["serviceAccountName"] == account


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_policy_lets_through_what_the_daemon_needs(kind: str, tmp_path: Path) -> None:
    spec = only(kind, "NetworkPolicy")["spec"]
    ports = {port["containerPort"] for port in container(kind)["ports"]}
    assert {each["port"] for rule in spec["ingress"] for each in rule["ports"]} == ports
    configured = settings(kind, "presenced-0", tmp_path)
    if configured.mqtt is not None:
        wanted = {configured.mqtt.port, 443}
    else:
        wanted = {int(each.rpartition(":")[2]) for each in configured.kafka.bootstrap_servers}
    allowed = {
        port
        for rule in spec["egress"]
        for each in rule["ports"]
        for port in range(each["port"], each.get("endPort", each["port"]) + 1)
        if each["protocol"] == "TCP"
    }
    assert wanted | {53} <= allowed


def test_the_monitor_gives_targets_the_labels_of_the_rules() -> None:
    assert MONITOR["apiVersion"] == "monitoring.coreos.com/v1"
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container("single")["ports"]}
    labels = {
        each["targetLabel"]: each for each in endpoint["relabelings"] if "targetLabel" in each
    }
    assert labels["job"]["replacement"].startswith("presenced")
    assert set(labels) == {"job", "instance"}
    (dropped,) = (each["regex"] for each in endpoint["relabelings"] if "action" in each)
    assert all(re.fullmatch(dropped, name) for name in ("pod", "container", "endpoint"))


def test_the_operator_gets_the_shipped_rules_and_dashboards() -> None:
    assert only("monitoring", "PrometheusRule") == prometheus_rule()
    boards = {
        key: text
        for each in rendered("monitoring")
        if each["kind"] == "ConfigMap" and each["metadata"]["labels"]["grafana_dashboard"] == "1"
        for key, text in each["data"].items()
    }
    folder = PROJECT / "config" / "grafana" / "dashboards"
    assert boards == {file.name: file.read_text() for file in folder.glob("*.json")}
