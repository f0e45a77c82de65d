"""How often the connections of each client ended within the last hour, in bounded memory.

Times are wall-clock seconds since the epoch.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import islice
from operator import add
from typing import NamedTuple

WINDOW = 3600.0
"""What counts as recent, in seconds: the present slot of ten minutes and the five before it."""

MAX_COUNTED = 10_000
"""How many clients have counts. If there are more, those with the lowest lose theirs."""

_SLOTS = 6
_SLOT_SECONDS = WINDOW / _SLOTS


class Interruption(IntEnum):
    """What is counted, as the number of its field in `Counts`."""

    FLAP = 0
    """A connection that ended, but not by a takeover."""
    TAKEOVER = 1
    """A connection that another one with the same client ID replaced."""
    SHORT_SESSION = 2
    """A connection of either kind that lasted less than a minute."""


# As globals: see `State`.
_FLAP, _TAKEOVER, _SHORT_SESSION = Interruption

_NONE = (0, 0, 0)


class Counts(NamedTuple):
    """The counts of one client."""

    flaps: int
    takeovers: int
    short_sessions: int

    @property
    def ended(self) -> int:
        """How many connections ended."""
        return self.flaps + self.takeovers


class Ranking:
    """Clients in the order of a number that each has; one whose number is 0 is not in it."""

    def __init__(self) -> None:
        self._by_number: dict[int, dict[str, None]] = {}

    def move(self, client_id: str, before: int, after: int) -> None:
        """Give a client another number than `before`."""
        by_number = self._by_number
        if before:
            equals = by_number[before]
            del equals[client_id]
            if not equals:
                del by_number[before]
        if after:
            by_number.setdefault(after, {})[client_id] = None

    def highest(self) -> Iterator[tuple[str, int]]:
        """Yield clients with their numbers, the highest first."""
        # There are few different numbers: of n interruptions less than the square root of 2 n.
        for number in sorted(self._by_number, reverse=True):
            for client_id in self._by_number[number]:
                yield client_id, number

    def lowest(self, limit: int) -> list[str]:
        """Return clients that have the lowest number, those that have had it longest first."""
        return list(islice(self._by_number[min(self._by_number)], limit))


class RecentCounts:
    """The interruptions of at most `limit` clients in slots of ten minutes."""

    def __init__(self, limit: int = MAX_COUNTED) -> None:
        self._limit = limit
        # Of each client the numbers of `Counts`, by slot and in all.
        self._slots: dict[int, dict[str, list[int]]] = {}
        self._totals: dict[str, list[int]] = {}
        self._rankings = [Ranking() for _ in Interruption]
        self._by_ended = Ranking()
        self._present = 0

    def __len__(self) -> int:
        return len(self._totals)

    def count(self, client_id: str, at: float, now: float, *, takeover: bool, short: bool) -> None:
        """Count that a connection ended `at` a time, if that is recent."""
        self._expire(now)
        number = int(at // _SLOT_SECONDS)
        if not self._is_recent(number):
            return
        if len(self._totals) >= self._limit and client_id not in self._totals:
            # Several, because to find one takes as long as to find them all.
            for each in self._by_ended.lowest(1 + self._limit // 16):
                self.remove(each)
        added = [0] * len(Interruption)
        added[_TAKEOVER if takeover else _FLAP] = 1
        added[_SHORT_SESSION] = int(short)
        self._add(client_id, added)
        slot = self._slots.setdefault(number, {})
        counts = slot.get(client_id)
        slot[client_id] = added if counts is None else [*map(add, counts, added)]

    def remove(self, client_id: str) -> None:
        """Remove the counts of a client."""
        totals = self._totals.get(client_id)
        if totals is not None:
            self._add(client_id, [-each for each in totals])
            for slot in self._slots.values():
                slot.pop(client_id, None)

    def of(self, client_id: str, now: float) -> Counts:
        """Return the counts of a client."""
        self._expire(now)
        return Counts(*self._totals.get(client_id, _NONE))

    def highest(self, kind: Interruption, now: float) -> Iterator[tuple[str, int]]:
        """Yield clients with their counts of a kind, the highest first."""
        self._expire(now)
        return self._rankings[kind].highest()

    def most_ended(self, now: float) -> Iterator[tuple[str, int]]:
        """Yield clients with the numbers of their connections that ended, the highest first."""
        self._expire(now)
        return self._by_ended.highest()

    def _add(self, client_id: str, added: list[int]) -> None:
        """Add to the totals of a client, which is removed when they are 0."""
        before: Sequence[int] = self._totals.get(client_id, _NONE)
        after = [*map(add, before, added)]
        for kind, change in enumerate(added):
            if change:
                self._rankings[kind].move(client_id, before[kind], after[kind])
        ended = after[_FLAP] + after[_TAKEOVER]
        self._by_ended.move(client_id, before[_FLAP] + before[_TAKEOVER], ended)
        if ended:
            self._totals[client_id] = after
        else:
            del self._totals[client_id]

    def _is_recent(self, slot: int) -> bool:
        """Return whether a slot is in the window, or the one after it.

        Events may come in another order than their times; after a slot that is further ahead, the
        clock was set back.
        """
        return self._present - _SLOTS < slot <= self._present + 1

    def _expire(self, now: float) -> None:
        present = int(now // _SLOT_SECONDS)
        if present == self._present:
            return
        self._present = present
        for number in [each for each in self._slots if not self._is_recent(each)]:
            for client_id, counts in self._slots.pop(number).items():
                self._add(client_id, [-each for each in counts])
