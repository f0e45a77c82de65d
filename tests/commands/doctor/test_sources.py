"""The requests to AWS in `presenced doctor` when events come from a queue or from Kafka.

Neither answers here: what AWS IoT is asked does not depend on it.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import free_port
from emulator_aws import Fleet, in_thread
from presenced.commands.doctor.command import examine
from presenced.commands.doctor.report import Finding, Report, Status
from presenced.settings import load_settings
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue

STEPS = [
    "credentials",
    "indexing mode",
    "index status",
    "SearchIndex",
    "GetThingConnectivityData",
    "GetConnection",
    "ListThingGroups",
    "DescribeThingGroup",
    "ListBillingGroups",
    "event types",
]


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    fleet.create("pump-1")
    fleet.connect("pump-1")
    return fleet


@pytest.fixture
def server(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    server = AwsServer(fleet.account, issue(tmp_path).aws, seed=1)
    with in_thread(server):
        for name, value in server.issue("presenced-role").environment.items():
            monkeypatch.setenv(name, value)
        yield server


def examined(server: AwsServer, source: str) -> tuple[Report, list[str]]:
    overrides: dict[str, Any] = {
        "source": source,
        "aws.region": "eu-west-1",
        "aws.iot_url": server.http_url,
        "aws.data_url": server.http_url,
        "sqs.queue_url": f"http://127.0.0.1:{free_port()}/000000000000/presenced",
        "kafka.bootstrap_servers": [f"127.0.0.1:{free_port()}"],
        "kafka.security.protocol": "PLAINTEXT",
    }
    settings = load_settings(None, environ={}, overrides=overrides)
    reconcile = settings.reconcile.model_copy(update={"enabled": True})
    settings = settings.model_copy(update={"reconcile": reconcile})
    lines: list[str] = []
    report = asyncio.run(examine(settings, message_timeout=1, write_line=lines.append))
    return report, lines


@pytest.mark.parametrize("source", ["sqs", "kafka"])
def test_each_request_is_made_whatever_the_source(server: AwsServer, source: str) -> None:
    report, lines = examined(server, source)
    found: dict[str, Finding] = dict(report.aws)
    assert list(found) == STEPS
    assert {finding.status for finding in found.values()} == {Status.OK}, lines
    assert found["GetThingConnectivityData"].detail == "pump-1 is connected"
    assert found["event types"].detail == "all that IoT rules can select are enabled"
    assert any(line.startswith("AWS IoT in eu-west-1") for line in lines)
    (steps,) = report.connections.values()
    assert Status.FAILED in {finding.status for _, finding in steps}, "the source is dead"


@pytest.mark.parametrize("source", ["sqs", "kafka"])
def test_what_is_wrong_at_aws_is_told_whatever_the_source(
    server: AwsServer, fleet: Fleet, source: str
) -> None:
    fleet.account.events["THING"] = False
    server.faults.denied = {"SearchIndex"}
    found: dict[str, Finding] = dict(examined(server, source)[0].aws)
    assert found["SearchIndex"].status is Status.FAILED
    assert "iot:SearchIndex" in found["SearchIndex"].remedy
    assert found["event types"].status is Status.WARNING
    assert "which IoT rules can select: THING" in found["event types"].detail
