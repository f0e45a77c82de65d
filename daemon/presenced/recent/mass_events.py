"""Mass events: many clients that went offline, or online, in short succession."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil, sqrt

import msgspec

from presenced.presence import ClientChange, State, Transition
from presenced.presence.counts import reason_key
from presenced.registry import Thing

MIN_COUNT = 10
"""How many transitions are a mass event."""
MAX_PAUSE = 20.0
"""How many seconds apart they may be."""
MAX_LENGTH = 300.0
"""After how many seconds another mass event begins."""
SLOT = 20.0
"""In how many seconds transitions must be more than usual, and how long a mass event goes on."""
MAX_EVENTS = 200
MAX_CLIENTS = 100
"""How many clients of a mass event are kept by name: the first ones."""
MAX_NAMES = 20
"""How many thing types and thing groups are kept of a mass event that is over: the largest."""
MAX_COMBINATIONS = 1000
"""How many combinations of type and groups are counted while it lasts: the first ones."""
SAMPLE = 16
MAX_EXACT = 64 * SAMPLE
"""Of how many clients of a mass event the thing type and groups are counted. Then those of every
16th client count sixteen times, so that each of a million clients costs little."""

Ancestors = Callable[[Iterable[str]], set[str]]
"""Returns groups together with those above them."""

_OFFLINE = State.OFFLINE  # as a global: see `State`


class Counts(msgspec.Struct):
    """How many transitions of a mass event were of each thing type, and of each group or below."""

    thing_types: dict[str, int]
    thing_groups: dict[str, int]


def more_than_usual(usual: float) -> int:
    """Return how many transitions in a slot are more than usual, if `usual` is their number.

    A fleet has transitions all the time. Twice as many are not chance in a large number, and four
    standard deviations of the Poisson distribution not in a small one. Where none is usual, any is.
    """
    return max(1, ceil(max(2 * usual, usual + 4 * sqrt(usual))))


def began(transition: Transition) -> float:
    """Return when the state of a transition began: before the offline delay, as lists show it.

    Of one whose state began more than `MAX_LENGTH` before, as after a backlog, that is when it took
    effect: a few such ones must not stretch a mass event.
    """
    is_delayed = 0 <= transition.time - transition.since <= MAX_LENGTH
    return transition.since if is_delayed else transition.time


class MassEvent(msgspec.Struct):
    """Transitions to one state that follow each other by at most `MAX_PAUSE`.

    It goes on while each slot has `enough`. `number` is 0 until it is a mass event. `first` and
    `last` are when the states began, `earliest` and `latest` when the first and the last transition
    took effect, in seconds since the epoch; the latter are 0 after a restart. `reasons` are those
    of clients that went offline, as `PresenceCounts.offline_by_reason` names them. `ended` has the
    counts of things once it is over.
    """

    number: int
    state: State
    count: int
    first: float
    last: float
    reasons: dict[str, int]
    clients: list[str]
    ended: Counts | None = None
    combinations: dict[tuple[str, tuple[str, ...]], int] = {}
    enough: int = 1
    earliest: float = 0.0
    latest: float = 0.0
    slot: float = 0.0
    before_slot: int = 0

    def takes(self, transition: Transition) -> bool:
        """Return whether a transition, to the same state, belongs to it."""
        at = transition.time
        if abs(at - self.latest) > MAX_PAUSE or at - self.earliest > MAX_LENGTH:
            return False
        return at - self.slot <= SLOT or self.exceeds_usual

    @property
    def exceeds_usual(self) -> bool:
        """Whether it has enough transitions in the slot."""
        return self.count - self.before_slot >= self.enough

    @property
    def is_mass_event(self) -> bool:
        """Whether it is one, or becomes one now."""
        return self.number > 0 or (self.count >= MIN_COUNT and self.exceeds_usual)

    def add(self, changes: Sequence[ClientChange], things: Mapping[str, Thing]) -> None:
        """Count changes that are transitions; `things` are those of the registry."""
        transitions = [change.transition for change in changes if change.transition is not None]
        before = self.count
        self.count += len(changes)
        self.latest = max(self.latest, *(transition.time for transition in transitions))
        times = [began(transition) for transition in transitions]
        self.first, self.last = min(self.first, *times), max(self.last, *times)
        if self.latest - self.slot > SLOT:
            self.slot, self.before_slot = self.latest, before
        if self.state is _OFFLINE:
            for reason, count in Counter([each.reason for each in transitions]).items():
                key = reason_key(reason)
                self.reasons[key] = self.reasons.get(key, 0) + count
        if (room := MAX_CLIENTS - len(self.clients)) > 0:
            self.clients += [each.client_id for each in transitions[:room]]
        exact = max(0, MAX_EXACT - before)
        self._count_things(changes[:exact], things, 1)
        # Of the others each that makes the count a multiple of SAMPLE.
        first = exact + -(before + exact + 1) % SAMPLE
        self._count_things(changes[first::SAMPLE], things, SAMPLE)

    def _count_things(
        self, changes: Sequence[ClientChange], things: Mapping[str, Thing], weight: int
    ) -> None:
        combinations = self.combinations
        for change in changes:
            thing = things.get(change.client.thing)
            if thing is None:
                continue
            key = thing.type, tuple(thing.groups)
            counted = combinations.get(key)
            if counted is not None or len(combinations) < MAX_COMBINATIONS:
                combinations[key] = (counted or 0) + weight

    def counts(self, ancestors: Ancestors) -> Counts:
        """Return how many transitions were of the largest thing types and groups."""
        if self.ended is not None:
            return self.ended
        types: Counter[str] = Counter()
        groups: Counter[str] = Counter()
        for (thing_type, direct), count in self.combinations.items():
            if thing_type:
                types[thing_type] += count
            for group in ancestors(direct):
                groups[group] += count
        return Counts(_largest(types), _largest(groups))


def _largest(counts: Counter[str]) -> dict[str, int]:
    return dict(heapq.nlargest(MAX_NAMES, counts.items(), key=lambda item: (item[1], item[0])))


class MassEvents:
    """The last mass events, and `runs`: what may become one, or is one and goes on, by state.

    `unsaved` has the numbers of those that changed, as in `RecentTransitions`.
    """

    def __init__(self, limit: int = MAX_EVENTS) -> None:
        self.unsaved: set[int] | None = None
        self._limit = limit
        self._events: dict[int, MassEvent] = {}
        self.runs: dict[State, MassEvent] = {}
        # Of each run its count, and when that was first seen.
        self._seen: dict[State, tuple[MassEvent, int, float]] = {}

    def __iter__(self) -> Iterator[MassEvent]:
        """Yield the mass events, newest first."""
        return reversed(self._events.values())

    def get(self, number: int) -> MassEvent | None:
        """Return the mass event of a number; None if it is not kept any more."""
        return self._events.get(number)

    def begin(self, transition: Transition, usual: float, ancestors: Ancestors) -> MassEvent:
        """Return what a transition begins, which may become a mass event; it has no transition yet.

        So many transitions to its state are usual in a slot. What there was before of the same
        state is over.
        """
        state, at = transition.state, transition.time
        if (run := self.runs.get(state)) is not None:
            self._end(run, ancestors)
        shown, enough = began(transition), more_than_usual(usual)
        run = MassEvent(0, state, 0, shown, shown, {}, [], None, {}, enough, at, at, at)
        self.runs[state] = run
        return run

    def keep(self, event: MassEvent, number: int) -> None:
        """Keep what has become a mass event, under a number higher than all before."""
        event.number = number
        self._events[number] = event
        self._note(number)
        if len(self._events) > self._limit:
            oldest = next(iter(self._events))
            del self._events[oldest]
            self._note(oldest)

    def end_before(self, now: float, ancestors: Ancestors) -> None:
        """End what has had no transition for `MAX_PAUSE` at a wall-clock time.

        The times of its transitions do not tell: after a backlog they are all long ago.
        """
        for run in list(self.runs.values()):
            seen = self._seen.get(run.state)
            if seen is None or seen[0] is not run or seen[1] != run.count:
                self._seen[run.state] = run, run.count, now
            elif abs(now - seen[2]) > MAX_PAUSE:
                self._end(run, ancestors)

    def note_growing(self) -> None:
        """Let those be saved again that are not over."""
        for run in self.runs.values():
            if run.number in self._events:
                self._note(run.number)

    def _end(self, run: MassEvent, ancestors: Ancestors) -> None:
        del self.runs[run.state]
        run.ended = run.counts(ancestors)
        run.combinations = {}
        if run.number in self._events:
            self._note(run.number)

    def _note(self, number: int) -> None:
        if self.unsaved is not None:
            self.unsaved.add(number)
