"""compose.yaml and what it mounts, as far as no container engine is needed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import missing
from presenced.settings import Settings, load_settings

PROJECT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROMETHEUS = PROJECT / "config" / "prometheus" / "prometheus.yml"
PROMETHEUS_KAFKA = PROMETHEUS.with_name("kafka.yml")
WORKERS = ("worker-1", "worker-2")
GRAFANA = PROJECT / "config" / "grafana"


def active(*profiles: str) -> set[str]:
    """The services that these profiles start."""
    return {
        name
        for name, service in SERVICES.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }


def mounts(service: str) -> dict[str, str]:
    """Files of this project by where the service sees them."""
    short = [mount for mount in SERVICES[service].get("volumes", []) if isinstance(mount, str)]
    pairs = [mount.split(":")[:2] for mount in short]
    return {target: source for source, target in pairs if source.startswith("./")}


def test_it_is_valid_by_the_specification() -> None:
    words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(
        [sys.executable, *words], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_profiles() -> None:
    default = re.findall(r"^COMPOSE_PROFILES=(\w+)$", (PROJECT / ".env").read_text(), re.MULTILINE)
    assert default == ["demo"]
    assert active("demo") == {"demo", "prometheus", "grafana"}
    assert active("aws") == {"aws", "prometheus", "grafana"}
    assert active("kafka") == {"broker", "topics", *WORKERS, "prometheus-kafka", "grafana"}


def test_its_builds_are_targets_of_the_dockerfile() -> None:
    stages = re.findall(r" AS (\w+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    targets = [service["build"]["target"] for service in SERVICES.values() if "build" in service]
    assert targets
    assert set(targets) <= set(stages)
    assert stages[-1] == SERVICES["aws"]["build"]["target"], "what `docker build .` makes"


def test_what_it_mounts_is_there() -> None:
    for service in ("prometheus", "prometheus-kafka", "grafana", "topics", *WORKERS):
        assert mounts(service)
        for source in mounts(service).values():
            assert (PROJECT / source).is_dir()


def test_ports_are_on_loopback_and_presenced_is_confined() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service["security_opt"] == ["no-new-privileges:true"]
    for name in ("demo", "aws", "topics", *WORKERS):
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]


def test_presence_outlives_the_container() -> None:
    volume, _, target = SERVICES["aws"]["volumes"][0].partition(":")
    assert volume in COMPOSE["volumes"]
    dockerfile = (PROJECT / "Dockerfile").read_text()
    assert f"\nENV STATE_DIRECTORY={target}\n" in dockerfile
    assert f"\nVOLUME {target}\n" in dockerfile


def test_prometheus_scrapes_what_either_profile_starts() -> None:
    promtool = shutil.which("promtool") or missing(
        "promtool is not installed: apt-get install prometheus"
    )
    for config in (PROMETHEUS, PROMETHEUS_KAFKA):
        subprocess.run([promtool, "check", "config", str(config)], check=True, capture_output=True)
    (job,) = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    for name in ("demo", "aws"):
        assert host in SERVICES[name]["networks"]["default"]["aliases"]
        assert SERVICES[name]["ports"] == [f"127.0.0.1:9883:{port}"]


def test_both_prometheus_differ_in_their_targets_only() -> None:
    one, other = (yaml.safe_load(file.read_text()) for file in (PROMETHEUS, PROMETHEUS_KAFKA))
    targets = other["scrape_configs"][0]["static_configs"][0].pop("targets")
    one["scrape_configs"][0]["static_configs"][0].pop("targets")
    assert one == other
    assert targets == [f"{worker}:9883" for worker in WORKERS]
    assert "prometheus" in SERVICES["prometheus-kafka"]["networks"]["default"]["aliases"]
    (option,) = (w for w in SERVICES["prometheus-kafka"]["command"] if "config.file" in w)
    folder = mounts("prometheus-kafka")["/etc/prometheus"]
    assert (PROJECT / folder / Path(option).name) == PROMETHEUS_KAFKA


def worker_settings(worker: str) -> Settings:
    """What the worker is configured to do, by its file and environment."""
    environment = SERVICES[worker]["environment"]
    file = PROJECT / mounts(worker)["/etc/presenced"] / "presenced.yaml"
    return load_settings(file, environ=environment)


def test_workers_are_members_of_one_group_under_stable_names() -> None:
    settings = [worker_settings(worker) for worker in WORKERS]
    kafka = [each.kafka for each in settings]
    assert [each.instance_id for each in kafka] == list(WORKERS)
    assert len({(each.group, each.topic, each.bootstrap_servers) for each in kafka}) == 1
    advertised = SERVICES["broker"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert [f"PLAINTEXT://{server}" for server in kafka[0].bootstrap_servers] == [advertised]
    for each in settings:
        assert each.source == "kafka"
        assert str(each.metrics.listen).endswith(":9883")


def test_topics_are_there_before_the_workers() -> None:
    conditions = [SERVICES[worker]["depends_on"]["topics"]["condition"] for worker in WORKERS]
    assert set(conditions) == {"service_completed_successfully"}
    assert SERVICES["topics"]["depends_on"]["broker"]["condition"] == "service_healthy"
    assert SERVICES["broker"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_grafana_finds_data_source_and_dashboards() -> None:
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    )["datasources"]
    assert source["url"] == "http://prometheus:9090"
    interval = yaml.safe_load(PROMETHEUS.read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval

    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "presenced.yaml").read_text()
    )["providers"]
    folder = mounts("grafana")[provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (PROJECT / folder / Path(home).name).is_file()
    assert Path(home).parent == Path(provider["options"]["path"])


@pytest.mark.parametrize("pattern", ["daemon", "pyproject.toml", "requirements*.lock"])
def test_the_build_sees_what_the_dockerfile_copies(pattern: str) -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert lines.index("*") < lines.index(f"!{pattern}")
