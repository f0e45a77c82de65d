"""What is kept about one client.

What is remembered of a client whose events do not tell their order by themselves.

Few clients need it: those whose events carry no version, and those whose last two disconnects
could stand either way round. For all others `order` alone decides, from the last accepted event.

What becomes of a client, as others are told it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from presenced.presence.ordering import (
    Ordering,
    OrderingRules,
    PackedSession,
    Stamp,
    in_doubt,
    order,
    pack,
    unpack,
)

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


# The name of a module costs a fifth of what a member of an enumeration does.
_ONLINE, _PENDING, _OFFLINE = State.ONLINE, State.PENDING, State.OFFLINE
_MOST_SEEN = 64
_MOST_LOSERS = 8


class _Mark(NamedTuple):
    """An event as far as ordering looks at it; equal marks are the same message delivered twice."""

    connected: bool
    timestamp: int
    version: int | None
    session: str | None


class Memory(NamedTuple):
    """All that doubts hold, in a form that can be written down: see `Doubts`.

    `newest` is in milliseconds.
    """

    seen: list[_Mark]
    newest: int
    losers: list[_Mark]


def follows(event: Stamp, client: Client, session: PackedSession) -> bool:
    """Whether an event follows upon a client's last one as in ordinary life.

    That is a connect with a higher version and no earlier event time, of a client that is not
    online, or the disconnect of the very connection by which it is; nearly all events are. `judge`
    finds each of them later, by any rules of which R is more than 2A, and it leaves no doubt.
    `session` is the event's, packed.
    """
    version, before = event.version, client.version
    if version is None or before is None or client.loose_ends is not None:
        return False
    if event.connected:
        if version <= before or event.timestamp < client.timestamp:
            return False
        return client.state is _PENDING or client.state is _OFFLINE
    return client.state is _ONLINE and version == before and session == client.packed_session


def judge(event: Stamp, client: Client, rules: OrderingRules) -> Ordering:
    """How an event stands to all that is known of a client that has had events before.

    Where doubts are settled against an event that seemed later, the client's last accepted event
    is set right on the way.
    """
    doubts = client.doubts
    if doubts is None:
        if not _doubtful(event, client, rules):
            return order(event, client, rules)
        doubts = client.doubts = Doubts(Memory([_mark(client)], client.timestamp, []))
    ordering = doubts.judge(event, client, rules)
    if doubts.settled:
        client.doubts = None
    return ordering


class Doubts:
    """The messages seen, and the disconnects that lost where their place was in doubt.

    Seen messages make a duplicate a duplicate even where order of receipt decided between two
    events; else each repetition would turn the decision round.

    Disconnects that lost are heard again as if they were delivered again, which is always sound,
    because any message may be. It matters when the connect of such a connection arrives after its
    disconnect: that connection is over already.
    """

    __slots__ = ("_losers", "_newest", "_seen", "settled")

    def __init__(self, memory: Memory) -> None:
        self._seen = dict.fromkeys(memory.seen)
        self._newest = memory.newest
        self._losers = list(memory.losers)
        self.settled = False

    @property
    def memory(self) -> Memory:
        """All that they hold."""
        return Memory(list(self._seen), self._newest, list(self._losers))

    def judge(self, event: Stamp, client: Client, rules: OrderingRules) -> Ordering:
        """As the function `judge`. Afterwards `settled` tells whether no doubt is left."""
        mark = _mark(event)
        if mark in self._seen:
            return Ordering.DUPLICATE
        ordering = order(event, client, rules)
        if event.version is None or client.version is None:
            ordering = self._bounded(ordering, event, rules)
        elif in_doubt(event, client, rules):
            self._lose(_mark(client) if ordering.is_later else mark)
        elif ordering.is_later:
            ordering = self._again(ordering, event, client, rules)
            self.settled = ordering.is_later and not self._losers and _differ(event, client)
        self._remember(mark, rules)
        return ordering

    def _bounded(self, ordering: Ordering, event: Stamp, rules: OrderingRules) -> Ordering:
        """Event times further apart than they can be wrong decide, against all accepted events."""
        if event.timestamp < self._newest - 2 * rules.timestamp_accuracy:
            return Ordering.STALE
        if ordering.is_later:
            self._newest = max(self._newest, event.timestamp)
            self._losers = []
        return ordering

    def _lose(self, mark: _Mark) -> None:
        self._losers = [*(m for m in self._losers if m != mark), mark][-_MOST_LOSERS:]

    def _again(
        self, ordering: Ordering, event: Stamp, client: Client, rules: OrderingRules
    ) -> Ordering:
        """What becomes of an event that seemed later, once those that lost are heard again."""
        unsettled = [mark for mark in self._losers if in_doubt(mark, event, rules)]
        for mark in self._losers:
            if mark not in unsettled and order(mark, event, rules).is_later:
                # A disconnect as the other one: the state stays what it is.
                _, client.timestamp, client.version, client.session = mark
                return Ordering.STALE
        self._losers = unsettled
        return ordering

    def _remember(self, mark: _Mark, rules: OrderingRules) -> None:
        """Remember a message; those too old to be taken for the later one need not be known."""
        oldest = self._newest - 2 * rules.timestamp_accuracy
        kept = [seen for seen in self._seen if seen.timestamp >= oldest]
        self._seen = dict.fromkeys([*kept, mark][-_MOST_SEEN:])


def _doubtful(event: Stamp, client: Client, rules: OrderingRules) -> bool:
    if event.version is None or client.version is None:
        return True
    return not _differ(event, client) or in_doubt(event, client, rules)


def _differ(event: Stamp, last: Stamp) -> bool:
    """Whether more than the order of receipt tells two events of different sessions apart."""
    return (
        event.version != last.version
        or event.timestamp != last.timestamp
        or event.session == last.session
    )


def _mark(event: Stamp) -> _Mark:
    return _Mark(event.connected, event.timestamp, event.version, event.session)


ForgetReason = Literal["expired", "thing_deleted", "requested"]


class Transition(msgspec.Struct, frozen=True, gc=False):
    """A client went online or offline.

    `since` is the received time of the event that led to it, `time` the moment at which it was
    confirmed, both in seconds since the epoch.
    """

    time: float
    since: float
    client_id: str
    previous: State
    state: State
    reason: str | None
