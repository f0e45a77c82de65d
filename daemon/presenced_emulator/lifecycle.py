"""Lifecycle events: version numbers, sessions and messages of connections, as in AWS IoT Core.

The fields are those of the page "Lifecycle events" in the AWS IoT developer guide. Pure: the time
and the randomness are arguments.
"""

import random
import uuid
from enum import StrEnum
from typing import Any, NamedTuple

from presenced_emulator.events import EventMessage

TIMESTAMP_ERROR_MS = 1000
SKIPPED_VERSION_RATE = 0.1


class DisconnectReason(StrEnum):
    """Values of `disconnectReason`."""

    CLIENT_INITIATED_DISCONNECT = "CLIENT_INITIATED_DISCONNECT"
    CONNECTION_LOST = "CONNECTION_LOST"
    DUPLICATE_CLIENTID = "DUPLICATE_CLIENTID"
    MQTT_KEEP_ALIVE_TIMEOUT = "MQTT_KEEP_ALIVE_TIMEOUT"
    SERVER_INITIATED_DISCONNECT = "SERVER_INITIATED_DISCONNECT"


class Connection(NamedTuple):
    """One connect and its one disconnect, identified by `(session, version)`.

    `thing_name` is the thing of the client by the exclusive thing feature, None without it.
    """

    client_id: str
    session: str
    version: int
    principal: str
    ip_address: str
    thing_name: str | None


class ConnectionLedger:
    """Numbers the connections of a fleet and writes their messages.

    Versions rise with each connection of a client ID and sometimes skip a value; the first is
    `first_version` or one more. A session identifier is new for every clean session and stays for a
    persistent one. Event times are wrong by up to a second; `now` is in seconds since the epoch.
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
        """Number a new connection."""
        skipped = int(self._rng.random() < SKIPPED_VERSION_RATE)
        version = self._versions.get(client_id, self._before_first) + 1 + skipped
        self._versions[client_id] = version
        session = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        if clean_session:
            self._persistent.pop(client_id, None)
        else:
            session = self._persistent.setdefault(client_id, session)
        return Connection(client_id, session, version, principal, ip_address, thing_name)

    def connected(self, connection: Connection, now: float) -> EventMessage:
        """Return the message of a connect."""
        extra = {"ipAddress": connection.ip_address, "versionNumber": connection.version}
        return self._message(connection, "presence/connected", now, extra)

    def disconnected(
        self, connection: Connection, reason: DisconnectReason, now: float
    ) -> EventMessage:
        """Return the message of a disconnect."""
        extra = {
            "clientInitiatedDisconnect": reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT,
            "disconnectReason": reason.value,
            "versionNumber": connection.version,
        }
        return self._message(connection, "presence/disconnected", now, extra)

    def connect_failed(self, connection: Connection, now: float) -> EventMessage:
        """Return the message of a refused connect, in a session of its own."""
        session = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        extra = {
            "connectFailureReason": "AUTHORIZATION_FAILED",
            "ipAddress": connection.ip_address,
            "sessionIdentifier": session,
        }
        return self._message(connection, "presence/connect_failed", now, extra)

    def subscription(
        self, connection: Connection, verb: str, topic_filter: str, now: float
    ) -> EventMessage:
        """Return the message that a topic filter was subscribed or unsubscribed: the `verb`."""
        extra = {"topics": [topic_filter]}
        return self._message(connection, f"subscriptions/{verb}", now, extra)

    def _message(
        self, connection: Connection, kind: str, now: float, extra: dict[str, Any]
    ) -> EventMessage:
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
        clients = frozenset({client_id} if kind.startswith("presence/") else ())
        return EventMessage(f"$aws/events/{kind}/{client_id}", fields, clients=clients)
