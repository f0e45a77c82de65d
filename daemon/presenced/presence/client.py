"""What is kept about one client."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from presenced.presence.sessions import PackedSession, pack, unpack

if TYPE_CHECKING:
    from presenced.presence.doubts import Doubts

__all__ = ["Client", "ConnectionKey", "LooseEnds", "Replaced", "State"]


_NO_EVENT = -1
_NONE_REPLACED: Mapping[ConnectionKey, Replaced] = MappingProxyType({})


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
        self.deadline: float | None = None

    @property
    def key(self) -> ConnectionKey:
        """What tells it from the other connections of its client."""
        return ConnectionKey(self.version, self.session, self.timestamp)


class LooseEnds:
    """What is still open about few clients, and about most of those for seconds only.

    `replaced` are the connections whose disconnect is awaited.
    """

    __slots__ = ("doubts", "replaced")

    def __init__(self) -> None:
        self.replaced: dict[ConnectionKey, Replaced] = {}
        self.doubts: Doubts | None = None

    def __bool__(self) -> bool:
        return bool(self.replaced) or self.doubts is not None


# A fleet of a million has a million of these: a struct that the garbage collector does not follow
# takes less memory than a class with slots, and no time of a collection; what few have is a struct
# of its own (`benchmarks/restart.py`). Cycles, through `replaced`, are undone where the client is
# dropped.
class Client(msgspec.Struct, gc=False, eq=False):
    """One client: its presence, and its last accepted lifecycle event.

    `timestamp` (milliseconds), `version` and `session` are those of the event.
    `since` is when the present state began, by received time, in seconds since the epoch: for a
    pending client its disconnect, for an online one its last transition. `transition` is the time
    of the last transition, None until there was one. `deadline` is the monotonic time at which a
    pending client goes offline, `offline_at` that at which an offline one did. `thing_name` is the
    thing that it belongs to where lifecycle events name one, None where its client ID is the
    thing's name. `gaps` is how many gaps in what was received there had been when it was last heard
    of.
    """

    client_id: str
    state: State = State.UNKNOWN
    since: float | None = None
    transition: float | None = None
    reason: str | None = None
    thing_name: str | None = None
    timestamp: int = _NO_EVENT
    version: int | None = None
    packed_session: PackedSession = None
    deadline: float | None = None
    offline_at: float | None = None
    loose_ends: LooseEnds | None = None
    gaps: int = 0

    @property
    def connected(self) -> bool:
        """Whether its last accepted event was a connect."""
        return self.state is State.ONLINE and self.is_known

    @property
    def replaced(self) -> Mapping[ConnectionKey, Replaced]:
        """Its connections that others took the place of, and whose disconnect is awaited."""
        return _NONE_REPLACED if self.loose_ends is None else self.loose_ends.replaced

    @property
    def doubts(self) -> Doubts | None:
        """What its events do not tell by themselves; None where they tell all."""
        return None if self.loose_ends is None else self.loose_ends.doubts

    @doubts.setter
    def doubts(self, doubts: Doubts | None) -> None:
        if doubts is not None or self.loose_ends is not None:
            self.opened.doubts = doubts
            self.tidy()

    @property
    def opened(self) -> LooseEnds:
        """Its loose ends, made if there are none; see `tidy`."""
        if self.loose_ends is None:
            self.loose_ends = LooseEnds()
        return self.loose_ends

    def tidy(self) -> None:
        """Keep no loose ends where none is open any more."""
        if not self.loose_ends:
            self.loose_ends = None

    @property
    def session(self) -> str | None:
        """The session identifier."""
        return unpack(self.packed_session)

    @session.setter
    def session(self, session: str | None) -> None:
        self.packed_session = pack(session)

    @property
    def key(self) -> ConnectionKey:
        """What tells the connection of its last accepted event from its others."""
        return ConnectionKey(self.version, self.session, self.timestamp)

    @property
    def thing(self) -> str:
        """The name of the thing that it is, if there is such a thing."""
        return self.thing_name or self.client_id

    @property
    def is_known(self) -> bool:
        """Whether a lifecycle event of it has been accepted, so that ordering has a say.

        Else it is unknown, or taken for online because of something else that was heard of it.
        """
        return self.timestamp != _NO_EVENT
