"""Things counted by the changes that the inventory returns, and from scratch."""

from collections import Counter
from collections.abc import Iterable

from presenced.events.model import RegistryEvent
from presenced.registry import Inventory, Outcome
from presenced.registry.inventory import ThingChange


class Census:
    """Counts the things of an inventory by type and group."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.inventory = Inventory()

    def learn(self, events: Iterable[RegistryEvent]) -> Counter[Outcome]:
        """Apply events; how many had which outcome."""
        outcomes: Counter[Outcome] = Counter()
        for event in events:
            assert event.timestamp is not None
            outcome, changes = self.inventory.apply(event, event.timestamp)
            outcomes[outcome] += 1
            self.note(changes)
        return outcomes

    def note(self, changes: Iterable[ThingChange]) -> None:
        """Count the things that have changed."""
        for change in changes:
            self._count(change.type, change.groups, -1)
            thing = change.thing
            self._count(thing.type, self.inventory.groups_of(thing), 1)

    def recount(self) -> Counter[tuple[str, str]]:
        """The counts as they must be."""
        counted: Counter[tuple[str, str]] = Counter()
        for thing in self.inventory.things.live.values():
            counted.update(_keys(thing.type, self.inventory.groups_of(thing)))
        return counted

    def _count(self, kind: str, groups: Iterable[str], step: int) -> None:
        for key in _keys(kind, groups):
            self.counted[key] += step
            assert self.counted[key] >= 0


def _keys(kind: str, groups: Iterable[str]) -> list[tuple[str, str]]:
    return [*([("type", kind)] if kind else []), *(("group", group) for group in sorted(groups))]
