"""What follows from single registry events."""

import gc

import pytest

from presenced.events.model import RegistryEvent
from presenced.registry import Inventory, Outcome
from presenced.registry.objects import ObjectStamp, Relation, compare
from registries import association, group, link, member, thing, thing_type
from registry.census import Census

APPLIED, DUPLICATE, STALE = Outcome.APPLIED, Outcome.DUPLICATE, Outcome.STALE


def learned(*events: RegistryEvent) -> Census:
    census = Census()
    census.learn(events)
    assert +census.counted == census.recount()
    return census


def groups_of(census: Census, name: str) -> set[str]:
    return census.inventory.groups_of(census.inventory.things.live[name])


def test_a_lower_registry_version_is_stale() -> None:
    census = learned(thing("a", "pump", 5, version=2), thing("a", "valve", 9, version=1))
    assert census.inventory.things.live["a"].type == "pump"


@pytest.mark.parametrize(
    ("event", "last", "outcome"),
    [
        (ObjectStamp("x", 2, 0, deleted=False), None, APPLIED),
        (ObjectStamp("x", 2, 5, deleted=False), ObjectStamp("x", 1, 9, deleted=False), APPLIED),
        (ObjectStamp("x", 2, 5, deleted=False), ObjectStamp("x", 2, 9, deleted=False), DUPLICATE),
        (ObjectStamp("x", 1, 9, deleted=False), ObjectStamp("x", 2, 5, deleted=False), STALE),
        (ObjectStamp("x", 2, 5, deleted=True), ObjectStamp("x", 9, 9, deleted=False), APPLIED),
        (ObjectStamp("x", 9, 9, deleted=False), ObjectStamp("x", 2, 5, deleted=True), STALE),
        (ObjectStamp("x", 9, 9, deleted=True), ObjectStamp("x", 2, 5, deleted=True), DUPLICATE),
        (ObjectStamp("y", 1, 9, deleted=False), ObjectStamp("x", 7, 5, deleted=True), APPLIED),
        (ObjectStamp("y", 1, 4, deleted=False), ObjectStamp("x", 7, 5, deleted=True), STALE),
        (ObjectStamp("x", 7, 5, deleted=True), ObjectStamp("y", 1, 9, deleted=False), STALE),
        (ObjectStamp("y", 1, 5, deleted=False), ObjectStamp("x", 7, 5, deleted=True), APPLIED),
        (ObjectStamp("x", 7, 5, deleted=True), ObjectStamp("y", 1, 5, deleted=False), STALE),
        (ObjectStamp(None, 3, 5, deleted=False), ObjectStamp("x", 2, 9, deleted=False), APPLIED),
        (ObjectStamp(None, 3, 5, deleted=True), ObjectStamp("x", 2, 9, deleted=False), STALE),
        (ObjectStamp(None, None, 9, deleted=False), ObjectStamp("x", 2, 9, deleted=False), APPLIED),
        (ObjectStamp("x", None, 8, deleted=False), ObjectStamp("x", None, 9, deleted=False), STALE),
    ],
)
def test_which_of_two_events_about_one_name_is_later(
    event: ObjectStamp, last: ObjectStamp | None, outcome: Outcome
) -> None:
    assert compare(event, last) is outcome


def test_a_tie_of_a_type_goes_to_the_later_received() -> None:
    census = learned(
        thing_type("pump", 7, deprecated=True), thing_type("pump", 7, deprecated=False)
    )
    assert not census.inventory.types.live["pump"].deprecated
    assert census.learn([thing_type("pump", 7, deprecated=False)]) == {DUPLICATE: 1}
    assert census.learn([thing_type("pump", 6, deprecated=True)]) == {STALE: 1}


def test_a_tie_of_a_membership_goes_to_the_later_received() -> None:
    census = learned(member("g", "a", 7), member("g", "a", 7, added=False), thing("a"))
    assert groups_of(census, "a") == set()
    census.learn([member("g", "a", 7)])
    assert groups_of(census, "a") == {"g"}


def test_what_other_events_name_exists() -> None:
    census = learned(member("hall", "a", 1), association("b", "pump", 1), link("site", "hall", 1))
    inventory = census.inventory
    assert set(inventory.things.live) == {"a", "b"}
    assert set(inventory.groups.live) == {"hall", "site"}
    assert set(inventory.types.live) == {"pump"}
    assert groups_of(census, "a") == {"hall", "site"}


def test_names_that_nothing_refers_to_any_more_are_gone() -> None:
    census = learned(
        member("hall", "a", 1),
        member("hall", "a", 2, added=False),
        association("b", "pump", 1),
        association("b", "pump", 2, added=False),
        link("site", "yard", 1),
        link("site", "yard", 2, added=False),
    )
    inventory = census.inventory
    assert not inventory.things.live
    assert not inventory.groups.live
    assert not inventory.types.live


def test_a_moved_group_takes_its_things_along() -> None:
    census = learned(
        group("north", at=1),
        group("south", at=1),
        group("hall", "north", at=1),
        member("hall", "a", 2),
    )
    assert groups_of(census, "a") == {"hall", "north"}
    census.learn([link("north", "hall", 3, added=False), link("south", "hall", 3)])
    assert groups_of(census, "a") == {"hall", "south"}
    assert census.counted["group", "north"] == 0
    assert census.counted["group", "south"] == 1


def test_a_group_deleted_with_things_and_groups_inside() -> None:
    census = learned(
        group("site", at=1),
        group("hall", "site", at=1),
        group("row", "hall", at=1),
        thing("a", at=1),
        thing("b", at=1),
        member("hall", "a", 2),
        member("row", "b", 2),
        group("hall", at=3, type="deleted", version=1),
    )
    assert groups_of(census, "a") == set()
    assert groups_of(census, "b") == {"row"}
    assert census.inventory.groups.live["row"].parent == ""
    assert census.inventory.groups.live["site"].children == set()


def test_a_groups_event_names_all_groups_above_it() -> None:
    census = learned(
        group("hall", "site", 5, ancestors=["country", "site"]), member("hall", "a", 6)
    )
    assert groups_of(census, "a") == {"hall", "site", "country"}
    assert census.inventory.groups.live["country"].parent == ""
    assert set(census.inventory.groups.live) == {"hall", "site", "country"}


def test_what_a_groups_event_says_of_those_above_it_holds_for_its_moment() -> None:
    """A later event of the ancestor itself, its link or its deletion counts, in any order."""
    seen_at_5 = [
        group("hall", "site", 5, ancestors=["country", "site"]),
        member("hall", "a", 6),
    ]
    for later, above in [
        (group("site", "region", 7), {"site", "region"}),
        (group("site", None, 7), {"site"}),
        (link("country", "site", 7, added=False), {"site"}),
        (link("region", "site", 7), {"site", "region"}),
        (group("country", at=7, type="deleted"), {"site"}),
        (group("site", at=7, type="deleted"), set()),
        (group("site", "region", 4), {"site", "country"}),
        (link("region", "site", 4), {"site", "country"}),
        (link("world", "country", 4), {"site", "country"}),
        (link("world", "country", 7), {"site", "country", "world"}),
        (group("site", at=4, type="deleted"), {"site", "country"}),
        (group("row", "site", 7, ancestors=["region", "site"]), {"site", "region"}),
        (group("row", "site", 4, ancestors=["region", "site"]), {"site", "country"}),
    ]:
        for events in ([*seen_at_5, later], [later, *seen_at_5]):
            assert groups_of(learned(*events), "a") == {"hall", *above}, later


def test_an_outdated_event_of_a_group_still_tells_of_those_above_it() -> None:
    census = learned(group("hall", at=9, version=3), member("hall", "a", 9))
    late = group("hall", "site", 5, version=2, ancestors=["country", "site"])
    assert census.learn([late]) == {APPLIED: 1}
    assert census.learn([late]) == {STALE: 1}
    census.learn([member("site", "a", 9)])
    assert groups_of(census, "a") == {"hall", "site", "country"}


def test_an_ancestor_whose_name_is_not_known_ends_the_chain_there() -> None:
    census = learned(
        group("row", "hall", 5, ancestors=["country", "", "hall"]), member("row", "a", 6)
    )
    assert groups_of(census, "a") == {"row", "hall"}
    assert "" not in census.inventory.groups.live


def test_a_late_link_to_a_group_deleted_since_still_ends_the_older_link() -> None:
    """Otherwise a child would stay with its former parent if the deletion came first."""
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    events = [link("old", "hall", 1), link("new", "hall", 2), group("new", at=3, type="deleted")]
    for order in orders:
        census = learned(*(events[index] for index in order))
        assert not census.inventory.groups.live, order


def test_a_thing_that_is_created_again_has_nothing_of_the_one_before() -> None:
    before = [
        thing("a", "pump", 1, attributes={"site": "north"}),
        member("hall", "a", 2),
        group("hall", at=1),
    ]
    deleted = thing("a", at=3, type="deleted", version=2)
    again = thing("a", at=4, thing_id="another", version=1)
    for events in ([*before, deleted, again], [again, deleted, *before]):
        census = learned(*events)
        one = census.inventory.things.live["a"]
        assert (one.type, dict(one.attributes), one.groups) == ("", {}, [])
        assert census.inventory.groups.live["hall"].members == set()


def test_an_association_applies_on_top_of_the_type_in_the_thing_event() -> None:
    census = learned(thing("a", "pump", 5))
    assert census.learn([association("a", "pump", 4, added=False)]) == {STALE: 1}
    assert census.learn([association("a", "pump", 6, added=False)]) == {APPLIED: 1}
    assert census.inventory.things.live["a"].type == ""
    census.learn([association("a", "valve", 7)])
    assert census.inventory.things.live["a"].type == "valve"
    assert census.inventory.types.live.keys() == {"valve"}


def test_of_one_moment_the_association_decides() -> None:
    moved = [
        thing("a", "pump", 5, version=2, type="updated"),
        association("a", "pump", 5, added=False),
        association("a", "valve", 5),
    ]
    for events in (moved, moved[::-1]):
        census = learned(*events)
        assert census.inventory.things.live["a"].type == "valve"


def test_events_without_id_and_version_stand_by_their_time() -> None:
    plain = {"thing_id": None, "version": None}
    census = learned(thing("a", "pump", 5, **plain), thing("a", "valve", 4, **plain))
    assert census.inventory.things.live["a"].type == "pump"
    census.learn([thing("a", at=6, type="deleted", **plain)])
    assert not census.inventory.things.live


def test_things_can_be_read_in_slices_while_they_change() -> None:
    inventory = Inventory()

    def apply(*events: RegistryEvent) -> None:
        for event in events:
            inventory.apply(event, event.timestamp or 0)

    apply(*(thing(f"t{number}", at=1) for number in range(10)))
    slices = inventory.things.slices(4)
    read = [each.name for each in next(slices)]
    apply(thing("new", at=2), thing("t9", at=2, type="deleted"))
    read += [each.name for each in next(slices)]
    apply(thing("newer", at=3))
    read += [each.name for some in slices for each in some]
    assert read == [*(f"t{number}" for number in range(9)), "new", "newer"]
    assert list(Inventory().things.slices(4)) == []


def test_the_garbage_collector_does_not_traverse_things() -> None:
    """A full collection would hold the event loop for half a second at a million things."""
    inventory = Inventory()
    inventory.apply(thing("pump-7", "pump", at=1), 1)
    inventory.apply(member("hall", "pump-7", at=2), 2)
    pump = inventory.things.live["pump-7"]
    gc.collect()  # which untracks tuples of what is not tracked
    assert pump.stamp is not None
    assert isinstance(pump.memberships[0], Relation)
    kept = (pump, pump.stamp, pump.memberships, pump.memberships[0])
    assert not any(map(gc.is_tracked, kept))
