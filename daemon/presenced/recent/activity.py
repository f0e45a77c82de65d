"""The recent activity of a fleet: its transitions, mass events and trend, from one observer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from heapq import merge
from itertools import dropwhile, islice
from operator import itemgetter
from typing import NamedTuple

from presenced.fleet import Fleet
from presenced.presence import ClientChange, State, Transition
from presenced.recent.mass_events import SLOT, Ancestors, MassEvent, MassEvents
from presenced.recent.transitions import RecentTransitions
from presenced.recent.trend import MINUTE, Trend, TrendMinute

_SAVE_EVERY = 5.0


class EntryKind(StrEnum):
    """What an entry is."""

    TRANSITION = "transition"
    MASS = "mass"


class Entry(NamedTuple):
    """A transition or a mass event, and its number; later ones have higher numbers."""

    number: int
    what: Transition | MassEvent


class RecentActivity:
    """What happened in the last hours in a fleet, or in the partitions of it that a worker has.

    A transition is kept alone until it turns out to be part of a mass event, which takes its place:
    a million clients that go offline displace no other transition. Nothing is noted as unsaved
    before `keep` is called.
    """

    def __init__(self) -> None:
        self.transitions = RecentTransitions()
        self.mass_events = MassEvents()
        self.trend = Trend()
        self._number = 0
        # Those of the transitions of each run, by state, that is no mass event yet.
        self._alone: dict[State, list[int]] = {State.ONLINE: [], State.OFFLINE: []}
        self._saved_at = 0.0

    def keep(self) -> None:
        """Note from now on what is to be saved."""
        self.transitions.unsaved = set()
        self.mass_events.unsaved = set()
        self.trend.unsaved = set()

    def restore(
        self,
        transitions: Iterable[tuple[int, Transition]],
        mass_events: Iterable[MassEvent],
        minutes: Iterable[TrendMinute],
    ) -> None:
        """Take over what an earlier process kept, each in its order, before anything happens."""
        for number, transition in transitions:
            self.transitions.add(number, transition)
            self._number = max(self._number, number)
        for event in mass_events:
            self.mass_events.keep(event, event.number)
            self._number = max(self._number, event.number)
        self.trend.restore(minutes)

    def observe(self, fleet: Fleet, changes: Sequence[ClientChange]) -> None:
        """Note changes of a fleet that are transitions."""
        self.trend.count([each.transition for each in changes if each.transition is not None])
        runs, things = self.mass_events.runs, fleet.inventory.things.live
        grown: dict[State, list[ClientChange]] = {}
        for change in changes:
            transition = change.transition
            if transition is None:
                continue
            state = transition.state
            run = runs.get(state)
            if run is not None and run.number and run.takes(transition):
                # As for nearly all of many transitions: they are counted together.
                run.latest = max(run.latest, transition.time)
                grown.setdefault(state, []).append(change)
                continue
            if run is not None and (members := grown.pop(state, None)):
                run.add(members, things)
            if run is None or not run.takes(transition):
                usual = self.trend.usual(state, transition.time) * SLOT / MINUTE
                ancestors = fleet.inventory.with_ancestors
                run = self.mass_events.begin(transition, usual, ancestors)
            run.add([change], things)
            if run.number == 0:
                self._note_alone(run, transition)
        for state, members in grown.items():
            runs[state].add(members, things)

    def _note_alone(self, run: MassEvent, transition: Transition) -> None:
        """Keep a transition by itself, or keep its run if that has become a mass event with it."""
        self._number += 1
        alone = self._alone[transition.state]
        if run.count == 1:
            alone.clear()
        if run.is_mass_event:
            self.transitions.remove(alone)
            self.mass_events.keep(run, self._number)
        else:
            alone.append(self._number)
            self.transitions.add(self._number, transition)

    def check(self, now: float, clients: Mapping[State, int], ancestors: Ancestors) -> None:
        """End mass events and add to the trend, as is due at a wall-clock time.

        `clients` are those of now by state.
        """
        self.trend.sample(now, clients)
        self.mass_events.end_before(now, ancestors)
        if abs(now - self._saved_at) >= _SAVE_EVERY:
            self._saved_at = now
            self.mass_events.note_growing()

    def entries(self, before: int | None = None, kind: EntryKind | None = None) -> Iterator[Entry]:
        """Yield what happened, newest first.

        With `before` only what has a lower number, with `kind` only that.
        """
        found: Iterator[tuple[int, Transition | MassEvent]] = merge(
            *self._of(kind), key=itemgetter(0), reverse=True
        )
        if before is not None:
            found = dropwhile(lambda each: each[0] >= before, found)
        return (Entry(number, what) for number, what in found)

    def _of(self, kind: EntryKind | None) -> Iterator[Iterator[tuple[int, Transition | MassEvent]]]:
        if kind is not EntryKind.MASS:
            yield iter(self.transitions)
        if kind is not EntryKind.TRANSITION:
            yield ((event.number, event) for event in self.mass_events)

    def page(
        self, limit: int, before: int | None, kind: EntryKind | None = None
    ) -> tuple[list[Entry], int | None]:
        """Return at most `limit` entries, and what to pass as `before` for the next ones."""
        entries = list(islice(self.entries(before, kind), limit + 1))
        return entries[:limit], entries[limit - 1].number if len(entries) > limit else None
