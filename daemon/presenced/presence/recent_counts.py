"""How often the connections of each client ended within the last hour, in bounded memory.

Times are wall-clock seconds since the epoch.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

WINDOW = 3600.0
"""What counts as recent, in seconds: the present slot of ten minutes and the five before it."""

MAX_COUNTED = 10_000
"""How many clients have counts. If there are more, those with the lowest counts have none."""

_SLOTS = 6
_SLOT_SECONDS = WINDOW / _SLOTS


class Interruption(StrEnum):
    """What is counted."""

    FLAP = "flap"
    """A connection that ended, but not by a takeover."""
    TAKEOVER = "takeover"
    """A connection that another one with the same client ID replaced."""
    SHORT_SESSION = "short_session"
    """A connection of either kind that lasted less than a minute."""


class Counts(NamedTuple):
    """The counts of one client."""

    flaps: int
    takeovers: int
    short_sessions: int

    @property
    def ended(self) -> int:
        """How many connections ended."""
        return self.flaps + self.takeovers


class RankedCounts:
    """A positive number for each client, with the clients in the order of their numbers."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._by_count: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._counts

    def get(self, client_id: str) -> int:
        """Return the number of a client, 0 for one that has none."""
        return self._counts.get(client_id, 0)

    def add(self, client_id: str, change: int) -> None:
        """Add to the number of a client. One whose number becomes 0 is removed."""
        before = self._counts.get(client_id, 0)
        after = before + change
        if before:
            equals = self._by_count[before]
            del equals[client_id]
            if not equals:
                del self._by_count[before]
        if after:
            self._counts[client_id] = after
            self._by_count.setdefault(after, {})[client_id] = None
        else:
            self._counts.pop(client_id, None)

    def highest(self) -> Iterator[tuple[str, int]]:
        """Yield clients with their numbers, the highest first."""
        # There are few different numbers: of n interruptions less than the square root of 2 n.
        for count in sorted(self._by_count, reverse=True):
            for client_id in self._by_count[count]:
                yield client_id, count

    def lowest(self) -> str:
        """Return the client with the lowest number; of several, the one that has had it longest."""
        return next(iter(self._by_count[min(self._by_count)]))


class RecentCounts:
    """The interruptions of at most `limit` clients in slots of ten minutes."""

    def __init__(self, limit: int = MAX_COUNTED) -> None:
        self._limit = limit
        self._slots: dict[int, dict[Interruption, dict[str, int]]] = {}
        self._ranked = {kind: RankedCounts() for kind in Interruption}
        self._ended = RankedCounts()
        self._present = 0

    def __len__(self) -> int:
        return len(self._ended)

    def count(self, client_id: str, at: float, now: float, *, takeover: bool, short: bool) -> None:
        """Count that a connection ended `at` a time, if that is recent."""
        self._expire(now)
        slot = int(at // _SLOT_SECONDS)
        if not self._is_recent(slot):
            return
        if client_id not in self._ended and len(self._ended) >= self._limit:
            self.remove(self._ended.lowest())
        kinds = [Interruption.TAKEOVER if takeover else Interruption.FLAP]
        if short:
            kinds.append(Interruption.SHORT_SESSION)
        counts = self._slots.setdefault(slot, {kind: {} for kind in Interruption})
        for kind in kinds:
            counts[kind][client_id] = counts[kind].get(client_id, 0) + 1
            self._change(client_id, kind, 1)

    def remove(self, client_id: str) -> None:
        """Remove the counts of a client."""
        if client_id not in self._ended:
            return
        for slot in self._slots.values():
            for kind, counts in slot.items():
                self._change(client_id, kind, -counts.pop(client_id, 0))

    def of(self, client_id: str, now: float) -> Counts:
        """Return the counts of a client."""
        self._expire(now)
        return Counts(*(self._ranked[kind].get(client_id) for kind in Interruption))

    def highest(self, kind: Interruption, now: float) -> Iterator[tuple[str, int]]:
        """Yield clients with their counts of a kind, the highest first."""
        self._expire(now)
        return self._ranked[kind].highest()

    def most_ended(self, now: float) -> Iterator[tuple[str, int]]:
        """Yield clients with the numbers of their connections that ended, the highest first."""
        self._expire(now)
        return self._ended.highest()

    def _change(self, client_id: str, kind: Interruption, change: int) -> None:
        if change:
            self._ranked[kind].add(client_id, change)
            if kind is not Interruption.SHORT_SESSION:
                self._ended.add(client_id, change)

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
        for slot in [each for each in self._slots if not self._is_recent(each)]:
            for kind, counts in self._slots.pop(slot).items():
                for client_id, count in counts.items():
                    self._change(client_id, kind, -count)
