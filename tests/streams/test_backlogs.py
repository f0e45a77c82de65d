"""A daemon that stands still while many records enter: deadlines wait for all of them."""

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daemons import Daemon
from kafka_config import settings_of
from kafka_fleet import Publisher, Worker, lifecycle
from kafka_server import Kafka
from sqs_server import SqsServer
from waiting import wait_for

DELAY = 2
CLIENTS = [f"client-{number}" for number in range(1000)]
GROUP = 50
BACK, AWAY = CLIENTS[::2], CLIENTS[1::2]
Record = dict[str, Any]


def others(count: int) -> list[Record]:
    """Events of other clients, four each: they make the backlog long."""
    return [
        lifecycle(f"other-{number // 4}", connected=not number % 2, version=number % 4 // 2 + 1)
        for number in range(count)
    ]


def stand_still(
    daemon: Daemon, write: Callable[[list[Record]], None], backlog: int
) -> tuple[float, float]:
    """Stop the daemon while clients go and half of them return; return between when they went.

    They do so in groups, with a part of the backlog before each return: that is in time on a slow
    machine too.
    """
    events = others(backlog)
    part = backlog * GROUP // len(CLIENTS)
    daemon.signal(signal.SIGSTOP)
    before = time.time()
    for first in range(0, len(CLIENTS), GROUP):
        group = CLIENTS[first : first + GROUP]
        write([lifecycle(each, connected=False) for each in group])
        after = time.time()
        write(events[:part])
        del events[:part]
        write([lifecycle(each, connected=True, version=2) for each in group if each in BACK])
    wait_for(lambda: time.time() > after + 2 * DELAY, what="a standstill longer than the delay")
    daemon.signal(signal.SIGCONT)
    return before, after


def assert_settled(daemon: Daemon, before: float, after: float) -> None:
    """Who stayed away is offline since then, and who came back never was."""
    wait_for(lambda: offline(daemon) >= set(AWAY), 240, "those that stayed away are offline")
    daemon.wait_until_ready()
    assert offline(daemon) & set(CLIENTS) == set(AWAY)
    since = last_transitions(daemon)
    assert all(before - 0.001 <= since[client_id] <= after for client_id in AWAY)
    gone = {line["client_id"] for line in daemon.log if line["event"] == "client went offline"}
    assert gone & set(CLIENTS) == set(AWAY)


def offline(daemon: Daemon) -> set[str]:
    return {each for each, value in by_client(daemon, "iot_client_connected").items() if not value}


def last_transitions(daemon: Daemon) -> dict[str, float]:
    return by_client(daemon, "iot_client_last_transition_timestamp_seconds")


def by_client(daemon: Daemon, name: str) -> dict[str, float]:
    return {
        dict(labels)["client_id"]: value
        for (each, labels), value in daemon.scrape().items()
        if each == name
    }


def test_kafka(kafka: Kafka, tmp_path: Path) -> None:
    section = settings_of(kafka)
    worker = Worker(
        tmp_path / "worker", kafka, kafka=section, presence={"offline_delay": f"{DELAY}s"}
    )
    worker.create_topics(6)
    publisher = Publisher(kafka, section["topic"])

    def write(records: list[Record]) -> None:
        for record in records:
            publisher.publish(record["clientId"], record)
        publisher.flush()

    try:
        worker.start()
        write([lifecycle(each, connected=True) for each in CLIENTS])
        wait_for(lambda: last_transitions(worker).keys() == set(CLIENTS), 60, "all are online")
        before, after = stand_still(worker, write, 100_000 - 2500)
        assert_settled(worker, before, after)
    finally:
        worker.stop()


def test_sqs(sqs: SqsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    queue = sqs.create_queue(f"presenced-{uuid4().hex[:8]}")
    daemon = Daemon(
        tmp_path,
        sqs={"queue_url": queue},
        aws={"region": "eu-west-1"},
        presence={"offline_delay": f"{DELAY}s"},
        state={"path": str(tmp_path / "presenced.db")},
        metrics={"max_clients": 100_000},
    )
    daemon.settings["source"] = "sqs"
    del daemon.settings["mqtt"]
    daemon.write()

    def write(records: list[Record]) -> None:
        bodies = [
            json.dumps(
                each | {"topic": f"$aws/events/presence/{each['eventType']}/{each['clientId']}"}
            )
            for each in records
        ]
        with ThreadPoolExecutor(4) as sending:
            parts = [bodies[first : first + 500] for first in range(0, len(bodies), 500)]
            list(sending.map(lambda part: sqs.send(queue, part), parts))

    try:
        daemon.start()
        write([lifecycle(each, connected=True) for each in CLIENTS])
        wait_for(lambda: last_transitions(daemon).keys() == set(CLIENTS), 60, "all are online")
        before, after = stand_still(daemon, write, 100_000 - 2500)
        assert_settled(daemon, before, after)
    finally:
        daemon.stop()
