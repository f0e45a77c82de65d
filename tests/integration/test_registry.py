"""Presence by the registry, asked of a real Prometheus; promtool reads what is scraped."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
from presenced.metrics.catalog import CATALOG, PER_CLIENT
from prometheus_server import Prometheus, tool
from waiting import wait_for

EVENTS = "$aws/events"
NOW = 1_700_000_000_000
HOSTILE = 'hall "7"\\ \n \N{SNOWMAN}'
ATTRIBUTES = {
    "site": "north",
    "firmware.version": "1",
    "firmware-version": "2",
    "thing_type": "taken",
    "client_id": 'quote" and \\',
}

Publication = tuple[str, bytes]


def told(topic: str, **payload: Any) -> Publication:
    return f"{EVENTS}/{topic}", json.dumps({"timestamp": NOW, **payload}).encode()


def connected(client_id: str, **fields: Any) -> Publication:
    return told(
        f"presence/connected/{client_id}",
        clientId=client_id,
        versionNumber=1,
        sessionIdentifier="s",
        **fields,
    )


def thing(name: str, kind: str, attributes: dict[str, str]) -> Publication:
    return told(
        f"thing/{name}/created",
        eventType="THING_EVENT",
        operation="CREATED",
        thingName=name,
        thingId=f"id of {name}",
        versionNumber=1,
        thingTypeName=kind,
        attributes=attributes,
    )


def member(group: str, name: str) -> Publication:
    return told(
        f"thingGroupMembership/thingGroup/g/thing/{name}/added",
        eventType="THING_GROUP_MEMBERSHIP_EVENT",
        operation="ADDED",
        groupArn=f"arn:aws:iot:eu-central-1:123456789012:thinggroup/{group}",
        thingArn=f"arn:aws:iot:eu-central-1:123456789012:thing/{name}",
    )


REGISTRY = [
    thing("pump", "pump", ATTRIBUTES),
    thing("valve-7", "valve", {"site": "south"}),
    thing("spare", "valve", {}),
    member("hall", "pump"),
    member(HOSTILE, "spare"),
    told(
        "thingGroupHierarchy/thingGroup/plants/childThingGroup/hall/added",
        eventType="THING_GROUP_HIERARCHY_EVENT",
        operation="ADDED",
        thingGroupName="plants",
        childThingGroupName="hall",
        childGroupName="hall",
    ),
    connected("pump"),
    connected("valve/7", thingName="valve-7"),
    told("subscriptions/subscribed/new", clientId="new", topics=["t"]),
    told("job/j/completed", eventType="JOB", operation="completed", jobId="j"),
    told("jobExecution/j/failed", eventType="JOB_EXECUTION", operation="failed", jobId="j"),
    told("certificates/registered/ca", certificateId="c", caCertificateId="ca"),
    told("commandExecution/c/SUCCEEDED", eventType="COMMAND_EXECUTION", executionId="c"),
]


@pytest.fixture
def daemon(broker_of: Any, daemon_of: Any) -> Daemon:
    broker: Mosquitto = broker_of()
    made: Daemon = daemon_of(
        broker=broker,
        metrics={
            "thing_attributes": list(ATTRIBUTES),
            "client_id_pattern": "^(?P<kind>[a-z]+)",
        },
    )
    made.wait_until_ready()
    broker.publish(REGISTRY)
    wait_for(lambda: made.value("iot_command_executions_total", status="succeeded") == 1)
    return made


@pytest.fixture
def prometheus(daemon: Daemon, tmp_path: Path) -> Iterator[Prometheus]:
    made = Prometheus(tmp_path, daemon.port)
    wait_for(lambda: made.query("iot_things") == 3, what="the registry in Prometheus")
    yield made
    made.stop()


def test_promtool_finds_no_fault_with_the_registry(daemon: Daemon) -> None:
    text = daemon.get("/metrics")[1]
    assert 'thing_group="hall \\"7\\"\\\\ \\n \N{SNOWMAN}"' in text
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_presence_by_type_and_group(prometheus: Prometheus) -> None:
    for query, value in {
        'iot_thing_type_clients{thing_type="valve",state="online"}': 1,
        'iot_thing_type_clients{thing_type="valve",state="unknown"}': 1,
        'iot_thing_group_clients{thing_group="plants",state="online"}': 1,
        'iot_clients{state="unknown"}': 1,
        'iot_clients{state="online"}': 3,
        'iot_class_clients{kind="valve",state="online"}': 1,
        "iot_clients_supposed_online_total": 1,
        'iot_job_executions_total{status="failed"}': 1,
        "iot_certificates_registered_total": 1,
    }.items():
        assert prometheus.query(query) == value, query


def test_labels_of_attributes_are_valid_and_do_not_collide(daemon: Daemon) -> None:
    labels = {
        "client_id": "pump",
        "kind": "pump",
        "thing_type": "pump",
        "site": "north",
        "firmware_version": "2",
        "firmware_version_2": "1",
        "thing_type_2": "taken",
        "client_id_2": 'quote" and \\',
    }
    assert daemon.value("iot_client_info", **labels) == 1


def test_joins(prometheus: Prometheus) -> None:
    join = "iot_client_connected * on(client_id) group_left({}) iot_client_info"
    assert prometheus.query(f"{join.format('thing_type')} == 1 and on() vector(1)") == 1
    assert prometheus.query(f"sum by (site) ({join.format('site')}) > 0") is not None
    by_type = f"sum by (thing_type) ({join.format('thing_type')})"
    assert prometheus.query(f"{by_type} and on(thing_type) iot_thing_type_clients == 1") == 1
    page = (Path(__file__).parents[2] / "docs/how-to/break-down-presence.md").read_text()
    examples = re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
    (example,) = (each for each in examples if "group_left" in each)
    query = example.splitlines()[-1].replace("== 0", "== 1")
    assert sorted(prometheus.values(query) or ()) == [1, 1, 1]


@pytest.mark.parametrize("name", list(CATALOG | PER_CLIENT))
def test_the_examples_name_their_metric(name: str) -> None:
    assert name in (CATALOG | PER_CLIENT)[name].query


def test_every_example_of_the_documentation_is_answered(prometheus: Prometheus) -> None:
    for metric in (CATALOG | PER_CLIENT).values():
        assert prometheus.values(metric.query) is not None, metric.query
    assert prometheus.values("no such thing(") is None, "a wrong query has no answer"
