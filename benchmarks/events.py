"""Lifecycle events as AWS IoT Core sends them, the same for the same seed."""

import json
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from random import Random
from typing import NamedTuple
from uuid import UUID

__all__ = ["Event", "Lives", "client_id", "random_events"]

_REASONS = ("CLIENT_INITIATED_DISCONNECT", "CONNECTION_LOST", "MQTT_KEEP_ALIVE_TIMEOUT")


class Event(NamedTuple):
    """One message."""

    topic: str
    payload: bytes


def client_id(number: int) -> str:
    """The ID of one of the clients, in no order."""
    return f"device-{number * 7919 % 10_000_019:08d}"


class Lives:
    """Connects and disconnects clients in turns, each with its version and session.

    `timestamp` is the event time of the first event in milliseconds; each is a millisecond later.
    """

    def __init__(self, seed: int = 1, timestamp: int | None = None) -> None:
        self._seed = seed
        self._timestamp = time.time_ns() // 1_000_000 if timestamp is None else timestamp
        self._connections: dict[int, int] = {}
        self._online: set[int] = set()

    def connect(self, clients: Iterable[int]) -> Iterator[Event]:
        """A connect of each of these clients."""
        for number in clients:
            self._connections[number] = self._connections.get(number, -1) + 1
            self._online.add(number)
            yield self._event(number, "connected", {})

    def disconnect(self, clients: Iterable[int]) -> Iterator[Event]:
        """A disconnect of each of these clients, for one reason or another."""
        for number in clients:
            self._online.discard(number)
            reason = _REASONS[number % len(_REASONS)]
            details: dict[str, str | bool] = {
                "clientInitiatedDisconnect": reason == "CLIENT_INITIATED_DISCONNECT",
                "disconnectReason": reason,
            }
            yield self._event(number, "disconnected", details)

    def turn(self, clients: Iterable[int]) -> Iterator[Event]:
        """What comes next for each of these clients: a disconnect if online, else a connect."""
        for number in clients:
            yield from (self.disconnect if number in self._online else self.connect)((number,))

    def _event(self, number: int, kind: str, details: dict[str, str | bool]) -> Event:
        name, version = client_id(number), self._connections[number]
        self._timestamp += 1
        fields = {
            "clientId": name,
            "timestamp": self._timestamp,
            "eventType": kind,
            **details,
            "sessionIdentifier": str(UUID(int=(self._seed << 96) + (number << 48) + version)),
            "principalIdentifier": "c" + sha256(name.encode()).hexdigest()[1:],
            "ipAddress": f"192.0.2.{number % 254 + 1}",
            "versionNumber": version,
        }
        return Event(f"$aws/events/presence/{kind}/{name}", json.dumps(fields).encode())


def random_events(
    count: int, clients: int, seed: int = 1, timestamp: int | None = None
) -> list[Event]:
    """Events of clients at random, each of which connects and disconnects in turns."""
    random = Random(seed)
    return list(Lives(seed, timestamp).turn(random.randrange(clients) for _ in range(count)))
