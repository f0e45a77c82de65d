"""Groups and types taken over from another inventory, as with Kafka from partition 0."""

from random import Random

from hypothesis import given, settings

from presenced.events.model import (
    RegistryEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingTypeEvent,
)
from presenced.registry import Inventory
from registries import group, link, member, thing, thing_type
from registry.census import Census
from registry.life import seen, truth
from registry.test_convergence import RANDOMS, life, shuffled

_GLOBAL = (ThingGroupEvent, ThingGroupHierarchyEvent, ThingTypeEvent)


def author(*events: RegistryEvent) -> Inventory:
    """The inventory that applies the events of groups and types."""
    inventory = Inventory()
    for event in events:
        assert event.timestamp is not None
        inventory.apply(event, event.timestamp)
    return inventory


def take_over(census: Census, source: Inventory, names: set[str]) -> None:
    """Replace groups and types of these names."""
    for name in names:
        if (kind := source.types.get(name)) is not None:
            census.inventory.replace_type(kind)
        if (one := source.groups.get(name)) is not None:
            census.note(census.inventory.replace_group(one))


def everything(source: Inventory) -> set[str]:
    stores = (source.types, source.groups)
    return {name for store in stores for name in (*store.live, *store.tombstones)}


@settings(max_examples=500, deadline=None)
@given(RANDOMS)
def test_things_here_and_groups_there_make_the_true_registry(random: Random) -> None:
    registry = life(random)
    source, census = Inventory(), Census()
    for event in shuffled(random, registry.events):
        if isinstance(event, _GLOBAL):
            assert event.timestamp is not None
            source.apply(event, event.timestamp)
        else:
            census.learn([event])
        if random.random() < 0.3:
            take_over(census, source, {random.choice(sorted(everything(source) or {""}))})
    take_over(census, source, everything(source))
    assert seen(census.inventory) == truth(registry)
    assert +census.counted == census.recount()


def test_a_deletion_there_ends_memberships_here() -> None:
    census = Census()
    census.learn([thing("a", at=1), member("hall", "a", 2)])
    source = author(group("hall", at=1), group("hall", at=3, type="deleted", version=2))
    take_over(census, source, {"hall"})
    assert census.inventory.things.live["a"].groups == []
    assert "hall" not in census.inventory.groups.live


def test_a_link_there_moves_things_here() -> None:
    census = Census()
    census.learn([thing("a", at=1), member("hall", "a", 2)])
    take_over(census, author(link("site", "hall", 3)), {"hall"})
    inventory = census.inventory
    assert inventory.groups_of(inventory.things.live["a"]) == {"hall", "site"}
    assert +census.counted == census.recount()


def test_what_is_the_same_here_changes_nothing() -> None:
    census = Census()
    source = author(group("hall", "site", 1), thing_type("pump", 1, deprecated=True))
    take_over(census, source, {"hall", "pump"})
    census.inventory.take_changed()
    take_over(census, source, {"hall", "pump"})
    assert census.inventory.take_changed() == (set(), set(), set())
    assert census.inventory.types.live["pump"].deprecated
