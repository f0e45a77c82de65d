"""How many things are online: of the fleet, by thing type and by thing group."""

from collections import Counter
from collections.abc import Iterable

from presenced.presence import State
from presenced.presence.counts import StateCounts
from presenced.presence.things import ThingPresence
from presenced.registry import Inventory
from presenced.registry.inventory import ThingChange


class ThingCounts:
    """Totals that are updated with every change of a thing, of its presence or its description.

    A thing counts if it has clients, and if the registry has it or a client names it. `states` are
    the totals of all things. Things by type and by group are those of the registry.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.states = dict.fromkeys(State, 0)
        self.types = StateCounts()
        self.groups = StateCounts()
        self._inventory = inventory

    def count(self, name: str, before: ThingPresence, after: ThingPresence) -> None:
        """Count that a thing changed its presence."""
        if before == after:
            return
        thing = self._inventory.things.live.get(name)
        groups = self._inventory.groups_of(thing) if thing is not None else ()
        for (state, named), step in ((before, -1), (after, 1)):
            if state is None:
                continue
            if thing is not None or named:
                self.states[state] += step
            if thing is not None:
                self._count_parts(thing.type, groups, state, step)

    def change(self, change: ThingChange, presence: ThingPresence) -> None:
        """Count that the registry changed a thing, which has this presence."""
        thing, (state, named) = change.thing, presence
        if state is None:
            return
        if not named:
            self.states[state] += thing.exists - change.existed
        groups = self._inventory.groups_of(thing)
        if (thing.type, groups) != (change.type, change.groups):
            self._count_parts(change.type, change.groups, state, -1)
            self._count_parts(thing.type, groups, state, 1)

    def recount(self, things: Iterable[tuple[str, ThingPresence]]) -> None:
        """Count these things in place of all that were counted."""
        self.states.update(dict.fromkeys(State, 0))
        self.types.clear()
        self.groups.clear()
        # Many things share their type and groups: each combination is looked up once.
        alike: Counter[tuple[str, tuple[str, ...], State]] = Counter()
        for name, (state, named) in things:
            thing = self._inventory.things.live.get(name)
            if state is None or (thing is None and not named):
                continue
            self.states[state] += 1
            if thing is not None:
                alike[thing.type, tuple(thing.groups), state] += 1
        for (kind, groups, state), number in alike.items():
            self._count_parts(kind, self._inventory.with_ancestors(groups), state, number)

    def _count_parts(self, thing_type: str, groups: Iterable[str], state: State, step: int) -> None:
        if thing_type:
            self.types.count(thing_type, state, step)
        for group in groups:
            self.groups.count(group, state, step)
