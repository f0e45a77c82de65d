"""Status messages that a rule put into a queue or a topic, by docs/how-to/plain-mosquitto.md.

The rules engine of AWS cannot be run: the records are what the documented SQL makes of a message.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from daemons import Daemon
from documentation import PROJECT
from emulator_aws import Fleet, in_thread
from kafka_config import settings_of
from kafka_fleet import Worker, lifecycle
from kafka_server import Kafka
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue
from sqs_server import SqsServer
from waiting import wait_for

PAGE = PROJECT / "docs/how-to/plain-mosquitto.md"
OF_JSON = "SELECT *, topic() AS topic FROM 'devices/+/status'"
OF_TEXT = "SELECT encode(*, 'base64') AS payload, topic() AS topic FROM 'devices/+/status'"

# For 30 s after the start, a queue may hide messages that an earlier process received; no deadline
# fires before.
PROVED = 60.0

Start = Callable[..., tuple[Daemon, Callable[[str, dict[str, Any]], None]]]


def of_text(client_id: str, text: str) -> dict[str, Any]:
    """The record of a message, by the SQL for text."""
    payload = base64.b64encode(text.encode()).decode()
    return {"payload": payload, "topic": f"devices/{client_id}/status"}


def of_json(client_id: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The record of a message, by the SQL for JSON."""
    return payload | {"topic": f"devices/{client_id}/status"}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Fleet, AwsServer]]:
    fleet = Fleet()
    with in_thread(AwsServer(fleet.account, issue(tmp_path).aws, seed=1)) as server:
        credentials = server.issue("presenced-role")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
        monkeypatch.setenv("AWS_SESSION_TOKEN", credentials.session_token)
        yield fleet, server


def through_sqs(sqs: SqsServer, path: Path, **sections: Any) -> Any:
    """A daemon on a queue, and what sends a record there."""
    queue = sqs.create_queue(f"presenced-{uuid.uuid4().hex[:8]}")
    daemon = Daemon(path, sqs={"queue_url": queue}, **sections)
    daemon.settings["source"] = "sqs"
    del daemon.settings["mqtt"]
    daemon.write()
    return daemon, lambda _, record: sqs.send(queue, [json.dumps(record)])


def through_kafka(kafka: Kafka, path: Path, **sections: Any) -> Any:
    """A worker on topics of its own, and what sends a record there."""
    section = settings_of(kafka)
    worker = Worker(path, kafka, kafka=dict(section), **sections)
    worker.create_topics(2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})

    def send(client_id: str, record: dict[str, Any]) -> None:
        producer.produce(section["topic"], json.dumps(record), key=client_id)
        assert producer.flush(30) == 0

    return worker, send


@pytest.fixture(params=["sqs", "kafka"])
def start(
    request: pytest.FixtureRequest, account: tuple[Fleet, AwsServer], tmp_path: Path
) -> Iterator[Start]:
    """Starts the daemon with one status topic, and returns it and what sends it a record."""
    through = {"sqs": through_sqs, "kafka": through_kafka}[request.param]
    _, server = account
    daemons: list[Daemon] = []

    def run(**topic: str) -> Any:
        daemon, send = through(
            request.getfixturevalue(request.param),
            tmp_path,
            presence={
                "offline_delay": "1s",
                "timestamp_accuracy": "1s",
                "status_topics": [
                    {"filter": "devices/+/status", "client_id": "{1}"}
                    | {"online": "online", "offline": "offline"}
                    | topic
                ],
            },
            aws={
                "region": "eu-west-1",
                "iot_url": server.http_url,
                "data_url": server.http_url,
            },
            reconcile={"enabled": True},
        )
        daemons.append(daemon)
        daemon.start()
        daemon.wait_until_ready()
        return daemon, send

    yield run
    for daemon in daemons:
        daemon.stop()


def total(daemon: Daemon, name: str, **labels: str) -> float:
    """The sum of a metric over all its other labels."""
    wanted = frozenset(labels.items())
    return sum(
        value for (each, has), value in daemon.scrape().items() if each == name and has >= wanted
    )


def is_connected(daemon: Daemon, client_id: str) -> bool | None:
    """What the series of a client says; None if it has none."""
    for (name, labels), value in daemon.scrape().items():
        if name == "iot_client_connected" and ("client_id", client_id) in labels:
            return value == 1
    return None


def test_the_page_has_the_sql_of_these_records() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"`{OF_JSON}`" in text
    assert f"`{OF_TEXT}`" in text


def test_text(start: Start) -> None:
    """Without lifecycle events the messages decide, with the offline delay."""
    daemon, send = start()
    send("pump", of_text("pump", "online"))
    wait_for(lambda: is_connected(daemon, "pump") is True, what="the device online")
    assert total(daemon, "iot_client_transitions_total", to="online") == 1
    send("pump", of_text("pump", "offline"))
    send("pump", of_text("pump", "online"))
    wait_for(lambda: total(daemon, "iot_client_flaps_suppressed_total") == 1, what="a flap")
    send("pump", of_text("pump", "offline"))
    wait_for(lambda: is_connected(daemon, "pump") is False, PROVED, "the device offline")
    assert total(daemon, "iot_client_transitions_total", to="offline") == 1
    send("pump", of_text("pump", "asleep"))
    wait_for(
        lambda: total(daemon, "iot_events_rejected_total", reason="invalid_payload") == 1,
        what="the rejection of another text",
    )
    assert total(daemon, "iot_events_total", family="status") == 4


def test_json_hastens_what_lifecycle_events_have_lost(
    start: Start, account: tuple[Fleet, AwsServer]
) -> None:
    """A Last Will makes a client doubtful whose disconnect was lost, and AWS is asked at once."""
    fleet, _ = account
    daemon, send = start(pointer="/state")
    send("quiet", of_json("quiet", {"state": "online"}))
    wait_for(lambda: is_connected(daemon, "quiet") is True, what="a device without events")
    now = time.time()
    fleet.now = now - 60
    fleet.connect("pump")
    event = lifecycle("pump", connected=True) | {"timestamp": round(fleet.now * 1000)}
    send("pump", event | {"topic": "$aws/events/presence/connected/pump"})
    wait_for(lambda: is_connected(daemon, "pump") is True, what="the connect")
    fleet.now = now - 30
    fleet.disconnect("pump")
    send("pump", of_json("pump", {"state": "offline"}))
    wait_for(lambda: is_connected(daemon, "pump") is False, PROVED, "AWS's answer")
    assert total(daemon, "iot_status_contradictions_total", status="offline") == 1
    requests = {"operation": "GetConnection", "result": "ok"}
    assert total(daemon, "presenced_aws_requests_total", **requests) == 1
    assert is_connected(daemon, "quiet") is True
