"""Things counted as the inventory tells of changes, and from scratch."""

from collections import Counter
from collections.abc import Iterable

from presenced.events.model import RegistryEvent
from presenced.registry import Inventory, Outcome, Thing


class Census:
    """Counts the things of an inventory by type and group."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.inventory = Inventory(
            on_leave=lambda thing: self._count(thing, -1),
            on_enter=lambda thing: self._count(thing, 1),
        )

    def learn(self, events: Iterable[RegistryEvent]) -> Counter[Outcome]:
        """Apply events; how many had which outcome."""
        outcomes: Counter[Outcome] = Counter()
        for event in events:
            assert event.timestamp is not None
            outcomes[self.inventory.apply(event, event.timestamp)] += 1
        return outcomes

    def recount(self) -> Counter[tuple[str, str]]:
        """The counts as they must be."""
        counted: Counter[tuple[str, str]] = Counter()
        for thing in self.inventory.things.live.values():
            counted.update(self._keys(thing))
        return counted

    def _count(self, thing: Thing, change: int) -> None:
        if thing.exists:
            for key in self._keys(thing):
                self.counted[key] += change
                assert self.counted[key] >= 0

    def _keys(self, thing: Thing) -> list[tuple[str, str]]:
        groups = self.inventory.groups_of(thing)
        return [("type", thing.type), *(("group", group) for group in sorted(groups))]
