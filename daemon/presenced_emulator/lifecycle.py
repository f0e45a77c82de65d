"""What AWS IoT Core says about a connection: version numbers, sessions and event messages.

Pure: the moment and the randomness are arguments. The fields are those of the page "Lifecycle
events" in the AWS IoT developer guide.

How late and how often AWS delivers an event message. Pure: the randomness is an argument.
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from presenced_emulator.events import Event

TIMESTAMP_ERROR_MS = 1000
SKIPPED_VERSION_RATE = 0.1


class DisconnectReason(StrEnum):
    """Why a connection ended, in the words of `disconnectReason`."""

    CLIENT_INITIATED_DISCONNECT = "CLIENT_INITIATED_DISCONNECT"
    CONNECTION_LOST = "CONNECTION_LOST"
    DUPLICATE_CLIENTID = "DUPLICATE_CLIENTID"
    MQTT_KEEP_ALIVE_TIMEOUT = "MQTT_KEEP_ALIVE_TIMEOUT"
    SERVER_INITIATED_DISCONNECT = "SERVER_INITIATED_DISCONNECT"


@dataclass(frozen=True, slots=True)
class Connection:
    """One connect and its one disconnect, known by `(session, version)`.

    `thing_name` is the thing that the client is by the exclusive thing feature, None without it.
    """

    client_id: str
    session: str
    version: int
    principal: str
    ip_address: str
    thing_name: str | None = None


def has_lifecycle_events(client_id: str) -> bool:
    """Whether AWS publishes lifecycle events for this client ID: wildcards in it forbid that."""
    return not {"#", "+"} & set(client_id)


class Ledger:
    """Numbers the connections of a fleet and writes their event messages.

    Versions rise by connection of a client ID and now and then skip a value. A session identifier
    is new for every clean session and stays for a persistent one. Event times are off by up to a
    second. `first_version` is that of a client ID's first connection, or one less.
    """

    def __init__(self, rng: random.Random, *, first_version: int = 0) -> None:
        self._rng = rng
        self._before_first = first_version - 1
        self._versions: dict[str, int] = {}
        self._persistent: dict[str, str] = {}

    def open(
        self,
        client_id: str,
        *,
        principal: str,
        ip_address: str,
        clean_session: bool = True,
        thing_name: str | None = None,
    ) -> Connection:
        """Enter a new connection; its version is above all earlier ones of the client ID."""
        skipped = int(self._rng.random() < SKIPPED_VERSION_RATE)
        version = self._versions.get(client_id, self._before_first) + 1 + skipped
        self._versions[client_id] = version
        session = self._session(client_id, clean_session=clean_session)
        return Connection(client_id, session, version, principal, ip_address, thing_name)

    def connected(self, connection: Connection, now: float) -> Event:
        """Write the event that says that the client connected; `now` is in seconds."""
        return self._event(
            connection,
            "presence/connected",
            now,
            ipAddress=connection.ip_address,
            versionNumber=connection.version,
        )

    def disconnected(self, connection: Connection, reason: DisconnectReason, now: float) -> Event:
        """Write the event that says that the connection ended, and why."""
        by_client = reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT
        return self._event(
            connection,
            "presence/disconnected",
            now,
            clientInitiatedDisconnect=by_client,
            disconnectReason=reason.value,
            versionNumber=connection.version,
        )

    def subscribed(self, connection: Connection, topics: Sequence[str], now: float) -> Event:
        """Write the event that says that the client subscribed to these topic filters."""
        return self._event(connection, "subscriptions/subscribed", now, topics=list(topics))

    def unsubscribed(self, connection: Connection, topics: Sequence[str], now: float) -> Event:
        """Write the event that says that the client unsubscribed from these topic filters."""
        return self._event(connection, "subscriptions/unsubscribed", now, topics=list(topics))

    def _session(self, client_id: str, *, clean_session: bool) -> str:
        new = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        if clean_session:
            self._persistent.pop(client_id, None)
            return new
        return self._persistent.setdefault(client_id, new)

    def _event(self, connection: Connection, kind: str, now: float, **extra: Any) -> Event:
        error = self._rng.randint(-TIMESTAMP_ERROR_MS, TIMESTAMP_ERROR_MS)
        client_id, thing_name = connection.client_id, connection.thing_name
        fields = {
            "clientId": client_id,
            **({"thingName": thing_name} if thing_name else {}),
            "timestamp": round(now * 1000) + error,
            "eventType": kind.rpartition("/")[2],
            "sessionIdentifier": connection.session,
            "principalIdentifier": connection.principal,
            **extra,
        }
        told = frozenset({client_id} if kind.startswith("presence/") else ())
        return Event(f"$aws/events/{kind}/{client_id}", fields, clients=told)


SHORTEST_DELAY = 0.2
LONGEST_DELAY = 1.5


@dataclass(frozen=True, slots=True)
class Manners:
    """Which share of messages is late and which comes twice, and how late; delays in seconds."""

    late_rate: float = 0.05
    taken_over_late_rate: float = 0.75
    duplicate_rate: float = 0.05
    shortest_delay: float = SHORTEST_DELAY
    longest_delay: float = LONGEST_DELAY

    def some_delay(self, rng: random.Random) -> float:
        """A delay of a message that is late."""
        return rng.uniform(self.shortest_delay, self.longest_delay)


_AWS = Manners()


def delays(event: Event, rng: random.Random, manners: Manners = _AWS) -> tuple[float, ...]:
    """After how many seconds each copy of the message is delivered; the first is the original.

    Most come at once. Now and then one is late, so that the next ones overtake it, and now and
    then one comes twice. The disconnect of a connection that was taken over mostly comes after the
    connect that took over: AWS drops the old connection in its own time.
    """
    taken_over = event.fields.get("disconnectReason") == DisconnectReason.DUPLICATE_CLIENTID
    late_rate = manners.taken_over_late_rate if taken_over else manners.late_rate
    first = manners.some_delay(rng) if rng.random() < late_rate else 0.0
    if rng.random() >= manners.duplicate_rate:
        return (first,)
    return (first, manners.some_delay(rng))
