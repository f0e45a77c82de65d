"""What is remembered of a client whose events do not tell their order by themselves.

Few clients need it: those whose events carry no version, and those whose last two disconnects
could stand either way round. For all others `order` alone decides, from the last accepted event.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.presence.client import Client, State
from presenced.presence.ordering import Ordering, OrderingRules, Stamp, in_doubt, order
from presenced.presence.sessions import PackedSession

__all__ = ["Doubts", "Memory", "follows", "judge"]

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
