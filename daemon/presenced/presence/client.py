"""What is kept about one client."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from presenced.presence.deadlines import Deadline
    from presenced.presence.doubts import Doubts
    from presenced.presence.ordering import Stamp

__all__ = ["Client", "ConnectionKey", "Replaced", "State"]

_DIGEST = 8  # bytes
_REMEMBERED_DISCONNECTS = 16


class State(StrEnum):
    """The presence of a client."""

    ONLINE = "online"
    PENDING = "pending"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class ConnectionKey(NamedTuple):
    """What tells connections of a client apart; the same version may come back after a reset."""

    version: int | None
    session: str | None
    timestamp: int


class Replaced:
    """A connection that another one took the place of, and whose disconnect is still to come.

    It is the stamp of its connect, which `key` tells.
    """

    __slots__ = ("client", "deadline", "session", "timestamp", "version")

    connected = True

    def __init__(self, client: Client, key: ConnectionKey) -> None:
        self.client = client
        self.version, self.session, self.timestamp = key
        self.deadline: Deadline[Client | Replaced] | None = None

    @property
    def key(self) -> ConnectionKey:
        """What tells it from the other connections of its client."""
        return ConnectionKey(self.version, self.session, self.timestamp)


class Client:
    """One client: its presence, and its last accepted lifecycle event.

    `connected`, `timestamp` (milliseconds), `version` and `session` are those of the event.
    `since` is when the present state began, by received time, in seconds since the epoch: for a
    pending client its disconnect, for an online one its last transition. `transition` is the time
    of the last transition, None until there was one. `disconnects` are digests of those counted
    last, and `replaced` the connections whose disconnect is awaited. `supposed` says that it is
    taken for online though no lifecycle event of it is known. `thing_name` is the thing that it
    belongs to where lifecycle events name one, None where its client ID is the thing's name.
    `gaps` is how many gaps in what was received there had been when it was last heard of.
    """

    __slots__ = (
        "client_id",
        "connected",
        "deadline",
        "disconnects",
        "doubts",
        "gaps",
        "reason",
        "replaced",
        "session",
        "since",
        "state",
        "supposed",
        "thing_name",
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
        self.supposed = False
        self.thing_name: str | None = None
        self.connected = False
        self.timestamp = 0
        self.version: int | None = None
        self.session: str | None = None
        self.deadline: Deadline[Client | Replaced] | None = None
        self.disconnects = b""
        self.replaced: dict[ConnectionKey, Replaced] | None = None
        self.doubts: Doubts | None = None
        self.gaps = 0

    @property
    def key(self) -> ConnectionKey:
        """What tells the connection of its last accepted event from its others."""
        return ConnectionKey(self.version, self.session, self.timestamp)

    def remember_disconnect(self, event: Stamp) -> bool:
        """Remember a disconnect; False where it is among those remembered already.

        Digests are kept, and such as are the same in every process: the state file holds them.
        """
        told = f"{event.version}/{event.session}/{event.timestamp}"
        # A lone surrogate is nothing that UTF-8 has, but JSON may carry one.
        digest = blake2b(told.encode(errors="surrogatepass"), digest_size=_DIGEST).digest()
        known = self.disconnects
        if any(known.startswith(digest, at) for at in range(0, len(known), _DIGEST)):
            return False
        self.disconnects = (known + digest)[-_DIGEST * _REMEMBERED_DISCONNECTS :]
        return True

    @property
    def thing(self) -> str:
        """The name of the thing that it is, if there is such a thing."""
        return self.thing_name or self.client_id

    @property
    def is_known(self) -> bool:
        """Whether a lifecycle event of it has been accepted, so that ordering has a say."""
        return self.state is not State.UNKNOWN and not self.supposed
