"""What is kept about one client."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from presenced.presence.deadlines import Deadline
    from presenced.presence.doubts import Doubts

__all__ = ["Client", "ConnectionKey", "Replaced", "State"]


class State(StrEnum):
    """The presence of a client."""

    ONLINE = "online"
    PENDING = "pending"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class ConnectionKey(NamedTuple):
    """What the connect and the disconnect of one connection share.

    Where there is no version and no session to share, the event time stands in.
    """

    version: int | None
    session: str | int | None


class Replaced:
    """A connection that another one took the place of, and whose disconnect is still to come."""

    __slots__ = ("client", "deadline", "key")

    def __init__(self, client: Client, key: ConnectionKey) -> None:
        self.client = client
        self.key = key
        self.deadline: Deadline[Client | Replaced] | None = None


class Client:
    """One client: its presence, and its last accepted lifecycle event.

    `connected`, `timestamp` (milliseconds), `version` and `session` are those of the event.
    `since` is when the present state began, by received time, in seconds since the epoch: for a
    pending client its disconnect, for an online one its last transition. `online_since` and
    `transition` are None until there was one.
    """

    __slots__ = (
        "client_id",
        "connected",
        "deadline",
        "disconnects",
        "doubts",
        "reason",
        "replaced",
        "session",
        "since",
        "state",
        "timestamp",
        "transition",
        "version",
    )

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.state = State.UNKNOWN
        self.since: float | None = None
        self.transition: float | None = None
        self.reason: str | None = None
        self.connected = False
        self.timestamp = 0
        self.version: int | None = None
        self.session: str | None = None
        self.deadline: Deadline[Client | Replaced] | None = None
        self.disconnects: tuple[ConnectionKey, ...] = ()
        self.replaced: list[Replaced] | None = None
        self.doubts: Doubts | None = None

    @property
    def key(self) -> ConnectionKey:
        """The connection that the last accepted event tells of."""
        return ConnectionKey(self.version, self.session)
