"""Moving from MQTT to SQS and to Kafka while both see the events: no transition that is wrong."""

import json
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from brokers import Mosquitto
from daemons import Daemon
from kafka_config import settings_of
from kafka_fleet import Publisher, Worker, lifecycle
from kafka_server import Kafka
from sqs_server import SqsServer
from waiting import wait_for

FLAPPING = [f"flapping-{number}" for number in range(60)]
"""They come back from each disconnect at once."""
LEAVING = [f"leaving-{number}" for number in range(60)]
"""They disconnect once, for good, one after the other."""
PRESENCE = {"offline_delay": "3s", "ignore_clients": ["presenced", "presenced-*"]}

Event = dict[str, Any]
Rule = Callable[[list[Event]], None]


class Fleet:
    """Publishes the events of clients to MQTT, and as a rule does to what `rules` deliver to."""

    def __init__(self, broker: Mosquitto) -> None:
        self.rules: list[Rule] = []
        self.gone: list[str] = []
        self._broker = broker
        self._versions = dict.fromkeys(FLAPPING + LEAVING, 1)
        self._leavers, self._pause = 0, 0.1
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def report(self, *events: tuple[str, bool]) -> None:
        """Publish that clients connect (True) or disconnect."""
        made = []
        for client_id, connected in events:
            event = lifecycle(client_id, connected=connected, version=self._versions[client_id])
            topic = f"$aws/events/presence/{event['eventType']}/{client_id}"
            made.append(event | {"topic": topic})
            if not connected:
                self._versions[client_id] += 1
        with self._lock:
            self._broker.publish([(each["topic"], json.dumps(each).encode()) for each in made])
            for rule in self.rules:
                rule(made)

    def __enter__(self) -> "Fleet":
        self.report(*((client_id, True) for client_id in FLAPPING + LEAVING))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _live(self) -> None:
        left_at = 0.0
        for client_id in cycle(FLAPPING):
            if self._ended.wait(0.02):
                return
            self.report((client_id, False))
            self.report((client_id, True))
            if len(self.gone) < self._leavers and time.monotonic() >= left_at + self._pause:
                left_at = time.monotonic()
                leaver = LEAVING[len(self.gone)]
                self.report((leaver, False))
                self.gone.append(leaver)

    def wait_for_more(self, leavers: int = 5, pause: float = 0.1) -> None:
        """Until so many more clients have left, and others were away and back meanwhile.

        At least `pause` seconds are between one that leaves and the next.
        """
        self._leavers, self._pause = len(self.gone) + leavers, pause
        wait_for(lambda: len(self.gone) == self._leavers, 180, "the fleet lives")


def states(daemon: Daemon) -> dict[str, bool]:
    """Who is connected, by client ID."""
    return {
        dict(labels)["client_id"]: value == 1
        for (name, labels), value in daemon.scrape().items()
        if name == "iot_client_connected"
    }


def transitions(daemon: Daemon) -> list[tuple[str, str, str]]:
    """Client ID, state before and state after, of the transitions in the log."""
    return [
        (line["client_id"], line["previous"], line["event"].removeprefix("client went "))
        for line in daemon.log
        if line["event"].startswith("client went ")
    ]


def stop(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(15) == 0


@pytest.fixture
def old(broker_of: Callable[..., Mosquitto], tmp_path: Path) -> Iterator[tuple[Daemon, Fleet]]:
    """A daemon on MQTT with a state file, and the fleet that it has followed for a while."""
    broker = broker_of()
    directory = tmp_path / "old"
    directory.mkdir()
    daemon = Daemon(
        directory,
        broker=broker,
        presence=PRESENCE,
        state={"path": str(directory / "presenced.db")},
    )
    daemon.start()
    daemon.wait_until_ready()
    try:
        with Fleet(broker) as fleet:
            fleet.wait_for_more()
            yield daemon, fleet
    finally:
        daemon.stop()


def finish(old: Daemon, new: Daemon, fleet: Fleet) -> None:
    """Let both run for a minute, then the new one alone."""
    fleet.wait_for_more(30, pause=2)
    stop(old)
    for rule in fleet.rules:  # AWS tells of the old daemon too
        topic = {"topic": "$aws/events/presence/disconnected/presenced"}
        rule([lifecycle("presenced", connected=False) | topic])
    fleet.wait_for_more()
    fleet.__exit__()


def test_from_mqtt_to_sqs(
    old: tuple[Daemon, Fleet],
    sqs: SqsServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    daemon, fleet = old
    queue = sqs.create_queue(f"presenced-{uuid4().hex[:8]}")
    fleet.rules.append(lambda events: sqs.send(queue, map(json.dumps, events)))
    wait_for(lambda: sqs.counts(queue)["visible"], what="messages in the queue")
    directory = tmp_path / "new"
    directory.mkdir()
    copy = directory / "presenced.db"
    source = f"file:{daemon.settings['state']['path']}?mode=ro"
    with closing(sqlite3.connect(source, uri=True)) as state:
        state.execute("VACUUM INTO ?", [str(copy)])
    new = Daemon(
        directory,
        sqs={"queue_url": queue},
        aws={"region": "eu-west-1"},
        presence=PRESENCE,
        state={"path": str(copy)},
    )
    new.settings["source"] = "sqs"
    del new.settings["mqtt"]
    new.write()
    try:
        new.start()
        new.wait_until_ready()
        known = states(new)
        assert known.keys() >= set(FLAPPING + LEAVING), "what the copy had"
        finish(daemon, new, fleet)
        truth = {name: name not in fleet.gone for name in FLAPPING + LEAVING}
        wait_for(lambda: states(new) == truth, 40, "the true states")
        log = transitions(new)
        assert {name for name, _, _ in log} <= set(fleet.gone)
        assert {(before, after) for _, before, after in log} == {("online", "offline")}
        assert len({name for name, _, _ in log}) == len(log), "each one once"
    finally:
        new.stop()


def test_from_mqtt_to_kafka(old: tuple[Daemon, Fleet], kafka: Kafka, tmp_path: Path) -> None:
    daemon, fleet = old
    section = settings_of(kafka)
    new = Worker(tmp_path / "new", kafka, kafka=section, presence=PRESENCE)
    new.create_topics(6)
    publisher = Publisher(kafka, section["topic"])

    def produce(events: list[dict[str, Any]]) -> None:
        for event in events:
            publisher.publish(event["clientId"], event)

    fleet.rules.append(produce)
    before = list(fleet.gone)
    try:
        new.start()
        new.wait_until_ready()
        # They reconnect; others are unknown as long as they stay.
        fleet.report(*((client_id, True) for client_id in LEAVING[-20:]))
        known = FLAPPING + LEAVING[-20:]
        wait_for(
            lambda: {name for name, up in states(new).items() if up} >= set(known),
            40,
            "the fleet is known, and online",
        )
        before_the_end = len(transitions(new))
        finish(daemon, new, fleet)
        publisher.flush()
        truth = {name: name not in fleet.gone for name in known}
        gone = set(fleet.gone) - set(before)

        def is_true() -> bool:
            shown = states(new)
            return {name: shown.get(name) for name in known} == truth and not any(
                shown[name] for name in gone & shown.keys()
            )

        wait_for(is_true, 40, "the true states")
        log = transitions(new)
        first: dict[str, list[str]] = {}
        for name, *change in log:
            first.setdefault(name, change)
        wrong = {name for name, *change in log if change == ["online", "offline"]} - gone
        assert wrong == set()
        # Of a client that is not known yet the disconnect may come first, and has no delay.
        from_unknown = {name for name, *change in log if change == ["unknown", "offline"]}
        assert all(first[name] == ["unknown", "offline"] for name in from_unknown)
        assert all(change[0] == "unknown" for change in first.values())
        late = {name for name, *_ in log[before_the_end:]}
        assert late <= gone, "nothing but the last to leave, once the fleet is known"
    finally:
        new.stop()
