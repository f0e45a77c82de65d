"""How often connections of each client ended or were refused in the last hour, in bounded memory.

Times are wall-clock seconds since the epoch.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

WINDOW = 3600.0
"""What counts as recent, in seconds: the present slot of ten minutes and the five before it."""

MAX_COUNTED = 10_000
"""How many clients have counts in a slot. If there are more, the lower half loses theirs."""

_SLOTS = 6
SLOT_SECONDS = WINDOW / _SLOTS
"""The length of a slot: how exactly it is known when something began."""

# The counts of a client are one number: a million disconnects must cost little.
_FLAP, _TAKEOVER, _SHORT_SESSION, _REFUSED = 1, 1 << 32, 1 << 64, 1 << 96
_MASK = (1 << 32) - 1

Kind = Literal["takeovers", "refused"]
_SHIFTS: Mapping[Kind, int] = {"takeovers": 32, "refused": 96}
_GOES_ON: Mapping[Kind, int] = {"takeovers": 2, "refused": 1}
"""From how many in a slot on it goes on: one takeover is a device that changed networks."""
_PART_OF_HIGHEST = 0.2
"""It began with the first slot that has so much of the highest number in a slot."""


class Counts(NamedTuple):
    """The counts of one client.

    `flaps` are connections that ended, but not by a takeover, `takeovers` those that another one
    with the same client ID replaced, `short_sessions` those of either kind that were short.
    `refused` are connects that the broker refused.
    """

    flaps: int
    takeovers: int
    short_sessions: int
    refused: int = 0

    @property
    def ended(self) -> int:
        """How many connections ended."""
        return self.flaps + self.takeovers


class Spell(NamedTuple):
    """Since when something happens again and again, and when it last did: the start of slots."""

    first: float
    last: float


class RecentCounts:
    """Counts of clients in slots of ten minutes, each of at most `limit` clients.

    A queue without order may deliver an event long after later ones. So the time at which an event
    was received does not move the window back; the time at which the counts are read does.
    """

    def __init__(self, limit: int = MAX_COUNTED) -> None:
        self._limit = limit
        self._slots: dict[int, dict[str, int]] = {}
        self._present = 0
        self._at_least: tuple[int, dict[str, Counts]] | None = None
        # The slot in which it began, of clients with which it has gone on since before the window.
        self._began: dict[Kind, dict[str, int]] = {kind: {} for kind in _SHIFTS}

    def count(self, client_id: str, at: float, now: float, *, takeover: bool, short: bool) -> None:
        """Count that a connection ended `at` a time, if that is recent."""
        added = (_TAKEOVER if takeover else _FLAP) + (_SHORT_SESSION if short else 0)
        self._add(client_id, at, now, added)

    def count_refused(self, client_id: str, at: float, now: float) -> None:
        """Count that a connect was refused `at` a time, if that is recent."""
        self._add(client_id, at, now, _REFUSED)

    def _add(self, client_id: str, at: float, now: float, added: int) -> None:
        if _slot_of(now) > self._present:
            self._expire(now)
        number = _slot_of(at)
        slot = self._slots.get(number)
        if slot is None:
            if not self._is_recent(number):
                return
            slot = self._slots[number] = {}
        slot[client_id] = slot.get(client_id, 0) + added
        if len(slot) > self._limit:
            self._slots[number] = _higher_half(slot)
            self._at_least = None
        elif self._at_least is not None:
            least, found = self._at_least
            total = self._total(client_id)
            if _reaches(total, least):
                found[client_id] = _unpacked(total)

    def remove(self, client_id: str) -> None:
        """Remove the counts of a client."""
        for slot in self._slots.values():
            slot.pop(client_id, None)
        if self._at_least is not None:
            self._at_least[1].pop(client_id, None)
        for began in self._began.values():
            began.pop(client_id, None)

    def spell(self, client_id: str, kind: Kind, now: float) -> Spell | None:
        """Return since when takeovers or refusals of a client go on; None if there are not enough.

        Pauses of less than the window do not end it. The memory is that of the counts: a client
        that loses these is taken for one that begins.
        """
        self._expire(now)
        counted = {
            number: _number(slot.get(client_id, 0), kind)
            for number, slot in sorted(self._slots.items())
        }
        slots = [number for number, each in counted.items() if each >= _GOES_ON[kind]]
        if not slots:
            return None
        # A few in slots before may have had another cause.
        enough = max(counted.values()) * _PART_OF_HIGHEST
        first = next(number for number in slots if counted[number] >= enough)
        if first == slots[0]:
            first = self._began[kind].get(client_id, first)
        return Spell(first * SLOT_SECONDS, slots[-1] * SLOT_SECONDS)

    def of(self, client_id: str, now: float) -> Counts:
        """Return the counts of a client."""
        self._expire(now)
        return _unpacked(self._total(client_id))

    def at_least(self, least: int, now: float) -> Mapping[str, Counts]:
        """Return the counts of clients of which so many connections ended, or were refused.

        The result is kept up to date until a slot begins or is full: it takes tens of milliseconds
        to make if all slots are full of different clients.
        """
        self._expire(now)
        if self._at_least is None or self._at_least[0] != least:
            totals: dict[str, int] = {}
            for slot in self._slots.values():
                for client_id, number in slot.items():
                    totals[client_id] = totals.get(client_id, 0) + number
            found = {each: _unpacked(n) for each, n in totals.items() if _reaches(n, least)}
            self._at_least = least, found
        return self._at_least[1]

    def _total(self, client_id: str) -> int:
        return sum(slot.get(client_id, 0) for slot in self._slots.values())

    def _is_recent(self, slot: int) -> bool:
        """Return whether a slot is in the window, or the one after it.

        Events may come in another order than their times; after a slot that is further ahead, the
        clock was set back.
        """
        return self._present - _SLOTS < slot <= self._present + 1

    def _expire(self, now: float) -> None:
        present = _slot_of(now)
        if present != self._present:
            self._present = present
            kept = {n: slot for n, slot in self._slots.items() if self._is_recent(n)}
            self._remember_begins(kept)
            self._slots = kept
            self._at_least = None

    def _remember_begins(self, kept: Mapping[int, dict[str, int]]) -> None:
        """Remember of the slots that go when what still goes on in those that are kept began."""
        gone = sorted(self._slots.keys() - kept.keys())
        for kind, began in self._began.items():
            for number in gone:
                if number < self._present:  # else the clock was set back
                    for client_id, counted in self._slots[number].items():
                        if _goes_on(counted, kind):
                            began.setdefault(client_id, number)
            for client_id in list(began):
                if not any(_goes_on(slot.get(client_id, 0), kind) for slot in kept.values()):
                    del began[client_id]


def _goes_on(number: int, kind: Kind) -> bool:
    return _number(number, kind) >= _GOES_ON[kind]


def _number(number: int, kind: Kind) -> int:
    return number >> _SHIFTS[kind] & _MASK


def _slot_of(at: float) -> int:
    return int(at // SLOT_SECONDS)


def _ended(number: int) -> int:
    return (number & _MASK) + (number >> 32 & _MASK)


def _reaches(number: int, least: int) -> bool:
    return number >= least * _REFUSED or _ended(number) >= least


def _unpacked(number: int) -> Counts:
    return Counts(number & _MASK, number >> 32 & _MASK, number >> 64 & _MASK, number >> 96)


def _higher_half(slot: dict[str, int]) -> dict[str, int]:
    """Return the clients with the highest counts; of equal ones those that came last."""
    ranked = sorted(slot.items(), key=lambda each: _ended(each[1]) + (each[1] >> 96))
    return dict(ranked[len(ranked) // 2 :])
