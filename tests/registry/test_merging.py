"""What two processes have heard of a registry, merged, is as if one had heard it all."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.events.model import RegistryEvent
from presenced.registry import Inventory
from registries import association, group, link, member, thing, thing_type
from registry.census import Census
from registry.life import Registry, seen, truth

RANDOMS = st.randoms(use_true_random=True)


def heard(*events: RegistryEvent) -> Census:
    census = Census()
    census.learn(events)
    return census


def merge(earlier: Inventory, later: Inventory) -> None:
    """As from a state file: all groups first, each object once, those that are no more, too."""
    for name in (*earlier.groups.live, *earlier.groups.gone):
        later.merge_group(earlier.groups.take(name))
    for name in (*earlier.types.live, *earlier.types.gone):
        later.merge_type(earlier.types.take(name))
    for name in (*earlier.things.live, *earlier.things.gone):
        later.merge_thing(earlier.things.take(name))


def life(random: Random) -> list[RegistryEvent]:
    registry = Registry(random)
    for _ in range(random.randrange(1, 120)):
        registry.step()
    return registry.events


@settings(max_examples=500, deadline=None)
@given(RANDOMS)
def test_however_a_life_is_divided_both_together_know_the_truth(random: Random) -> None:
    registry = Registry(random)
    for _ in range(random.randrange(1, 120)):
        registry.step()
    first, second = Census(), Census()
    events = list(registry.events)
    random.shuffle(events)
    for event in events:
        random.choice([first, second]).learn([event])
    merge(first.inventory, second.inventory)
    assert seen(second.inventory) == truth(registry)
    assert +second.counted == second.recount()


@settings(max_examples=1000, deadline=None)
@given(RANDOMS)
def test_merging_is_hearing_one_after_the_other(random: Random) -> None:
    """Also where events were lost, and where both have heard the same one."""
    events = [event for event in life(random) if random.random() < 0.8]
    random.shuffle(events)
    cut = random.randrange(len(events) + 1)
    before, after = events[:cut], events[cut:]
    after += random.sample(before, min(len(before), 5))
    first, second, whole = heard(*before), heard(*after), heard(*before, *after)
    merge(first.inventory, second.inventory)
    assert seen(second.inventory) == seen(whole.inventory)
    assert +second.counted == second.recount()
    assert known(second.inventory) == known(whole.inventory), "also what later events meet"


def known(inventory: Inventory) -> dict[str, tuple[Any, ...]]:
    """What is kept of things and groups, facts in no certain order, without what is void."""
    kept: dict[str, tuple[Any, ...]] = {}
    for name in (*inventory.things.live, *inventory.things.gone):
        a = inventory.things.take(name)
        valid = [f for f in a.memberships if f.at > inventory.groups.take(f.name).ended]
        kept[f"thing {name}"] = (a.mark, a.ended, a.told_type, sorted(a.type_facts), sorted(valid))
    for name in (*inventory.groups.live, *inventory.groups.gone):
        g = inventory.groups.take(name)
        kept[f"group {name}"] = (g.mark, g.ended, g.told_parent, sorted(g.parent_facts))
    return {name: each for name, each in kept.items() if any(each[:1] + each[2:]) or each[1] >= 0}


def test_each_fact_stands_by_its_own_time() -> None:
    later = heard(
        member("hall", "a", 20),
        association("a", "pump", 20),
        link("site", "hall", 20),
        thing_type("pump", 20, deprecated=True),
    )
    earlier = heard(
        member("hall", "a", 10, added=False),
        member("yard", "a", 30),
        association("a", "valve", 30),
        link("campus", "site", 30),
        thing("a", at=5, attributes={"floor": "2"}),
        thing_type("pump", 10),
    )
    merge(earlier.inventory, later.inventory)
    things = later.inventory.things
    assert set(things.live["a"].groups) == {"hall", "yard"}
    assert things.live["a"].type == "valve"
    assert dict(things.live["a"].attributes) == {"floor": "2"}
    assert later.inventory.groups_of(things.live["a"]) == {"hall", "yard", "site", "campus"}
    assert later.inventory.types.live["pump"].deprecated
    assert +later.counted == later.recount()


def test_members_of_a_group_that_is_no_more_are_let_go() -> None:
    later = heard(group("hall", at=20, type="deleted"))
    merge(heard(member("hall", "a", 10), member("yard", "a", 10)).inventory, later.inventory)
    assert later.inventory.things.live["a"].groups == ["yard"]
    later = heard(member("hall", "a", 10), member("hall", "b", 30))
    merge(heard(group("hall", at=20, type="deleted")).inventory, later.inventory)
    assert "a" not in later.inventory.things.live
    assert later.inventory.groups.live["hall"].members == {"b"}


def test_what_adds_nothing_to_what_was_stored_is_not_written_again() -> None:
    later = heard(member("hall", "b", 20))
    changed: list[str] = []
    later.inventory.things.on_change = changed.append
    stored = heard(thing("a", "pump"), member("hall", "a", 10), member("hall", "b", 10))
    merge(stored.inventory, later.inventory)
    assert changed == ["b"]
