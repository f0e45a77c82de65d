"""Workers of a consumer group as processes, and the fleet whose events they read."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import Producer

from daemons import Daemon
from kafka_server import Kafka

TOPIC, GLOBAL_TOPIC = "presenced.events", "presenced.global"
DELAY = 20
"""The offline delay, in seconds: longer than a broker needs to come back."""

_SAMPLE = re.compile(
    rb'^iot_client_connected\{client_id="([^"]*)",partition="(\d+)"\} ([01])$', re.MULTILINE
)
_CLIENTS = re.compile(rb'^iot_clients\{partition="(\d+)",state="(\w+)"\} (\S+)$', re.MULTILINE)
_OWNED = re.compile(rb'^presenced_partition_owned\{partition="(\d+)"\} 1', re.MULTILINE)


class Worker(Daemon):
    """`presenced run` with `source: kafka`, one member of the group."""

    def __init__(self, directory: Path, kafka: Kafka, **sections: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, **sections)
        del self.settings["mqtt"]
        self.settings["source"] = "kafka"
        self.settings.setdefault("kafka", {}).update(
            {"bootstrap_servers": [kafka.bootstrap], "security": {"protocol": "PLAINTEXT"}}
        )
        self.settings["kafka"].setdefault("lease", "4s")
        self.settings.setdefault("presence", {}).setdefault("offline_delay", f"{DELAY}s")
        self.settings["metrics"].setdefault("max_clients", 1_000_000)
        self.write()

    def create_topics(self, partitions: int) -> None:
        """Create the topics as the user does."""
        command = [sys.executable, "-m", "presenced", "kafka", "create-topics"]
        subprocess.run(
            [*command, "--config", str(self.config), "--partitions", str(partitions)],
            check=True,
            timeout=60,
        )

    def view(self) -> "View | None":
        """What a scrape shows now; None if it does not answer."""
        try:
            status, text = self.get("/metrics")
        except (OSError, TimeoutError):
            return None
        return View.of(text.encode()) if status == 200 else None

    def pause(self) -> None:
        """Stop the process as a machine does that hangs."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)


@dataclass
class View:
    """A scrape: clients by partition and state, and whether each client is connected."""

    clients: dict[tuple[int, str], float] = field(default_factory=dict)
    connected: dict[str, tuple[int, bool]] = field(default_factory=dict)
    owned: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, text: bytes) -> "View":
        return cls(
            {
                (int(partition), state.decode()): float(value)
                for partition, state, value in _CLIENTS.findall(text)
            },
            {
                client_id.decode(): (int(partition), value == b"1")
                for client_id, partition, value in _SAMPLE.findall(text)
            },
            set(map(int, _OWNED.findall(text))),
        )

    @property
    def partitions(self) -> set[int]:
        """The partitions whose clients it shows."""
        return {partition for partition, _ in self.clients}


def fleet_by_state(views: list[View]) -> dict[str, float]:
    """`sum by (state) (max by (partition, state) (iot_clients))` over scrapes of all workers."""
    largest: dict[tuple[int, str], float] = defaultdict(float)
    for view in views:
        for key, value in view.clients.items():
            largest[key] = max(largest[key], value)
    sums: dict[str, float] = defaultdict(float)
    for (_, state), value in largest.items():
        sums[state] += value
    return dict(sums)


@dataclass
class Life:
    """The events of a fleet as they are published, each a few places early or late, some twice.

    Clients of an even number come back from each disconnect within the offline delay; the others
    are as their last event left them.
    """

    random: Random
    clients: int
    connections: int
    truth: dict[str, bool] = field(default_factory=dict)

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Client ID and payload, in the order of publication."""
        ordered = []
        for number in range(self.clients):
            for version in range(1, self.connections + 1):
                at = self.clients * (version + self.random.random())
                if version > 1:  # soon after the disconnect
                    away = self.random.uniform(1, 0.15 * self.clients)
                    ordered.append((at - away, number, version - 1, False))
                ordered.append((at, number, version, True))
            if number % 2 and self.random.random() < 0.5:
                ordered.append((at + 1, number, version, False))
        ordered.sort()
        # The first connect of a client stays the first of its events: a client whose first event is
        # a disconnect is offline at once.
        shuffled = [
            (at if each[1:] == [1, True] else at + self.random.uniform(0, 200), each)
            for at, *each in ordered
        ]
        shuffled += [
            (at + self.random.uniform(0, 2000), each)
            for at, each in self.random.sample(shuffled, len(shuffled) * 2 // 5)
        ]
        shuffled.sort()
        for _, (number, version, connected) in shuffled:
            client_id = f"device-{number}"
            yield (
                client_id,
                {
                    "eventType": "connected" if connected else "disconnected",
                    "clientId": client_id,
                    "sessionIdentifier": f"s{version}",
                    "versionNumber": version,
                    "timestamp": round(time.time() * 1000),
                },
            )
        lasts: dict[int, tuple[int, bool]] = {}
        for _, number, version, connected in ordered:
            lasts[number] = max(lasts.get(number, (0, False)), (version, not connected))
        self.truth = {f"device-{number}": not gone for number, (_, gone) in lasts.items()}


class Publisher:
    """Publishes lifecycle events as an IoT rule does: keyed by client ID, the topic beside it."""

    def __init__(self, kafka: Kafka) -> None:
        self.failed = 0
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "partitioner": "murmur2_random",
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 120_000,
            }
        )

    def publish(self, client_id: str, payload: dict[str, Any]) -> None:
        kind = payload["eventType"]
        record = payload | {"topic": f"$aws/events/presence/{kind}/{client_id}"}
        while True:
            try:
                self._producer.produce(
                    TOPIC, json.dumps(record), key=client_id, on_delivery=self._delivered
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(120) == 0
        assert not self.failed

    def _delivered(self, error: object, _: object) -> None:
        if error is not None:
            self.failed += 1
