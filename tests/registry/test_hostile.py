"""Input that AWS never sends costs bounded memory and time, and leaves the counts right."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.events.model import RegistryEvent
from presenced.registry import Inventory, Outcome
from presenced.registry.objects import ObjectStore, Thing
from registries import association, group, link, member, thing, thing_type
from registry.census import Census

NAMES = ["a", "b", "c", "d"]


def nonsense(random: Random) -> RegistryEvent:
    """An event that contradicts the others as it likes."""
    one, other = random.choice(NAMES), random.choice(NAMES)
    at = random.randrange(20)
    added = random.random() < 0.7
    fields = {
        "type": random.choice(["created", "updated", "updated", "deleted"]),
        "version": random.choice([None, 1, 2, 3]),
    }
    made: list[RegistryEvent] = [
        thing(
            one, random.choice([None, *NAMES]), at, thing_id=random.choice([None, "x"]), **fields
        ),
        group(
            one,
            random.choice([None, *NAMES]),
            at,
            thing_group_id=random.choice([None, "x"]),
            ancestors=random.choices(["", *NAMES], k=random.randrange(4)),
            **fields,
        ),
        thing_type(one, at, type=fields["type"]),
        association(one, other, at, added=added),
        member(one, other, at, added=added),
        link(one, other, at, added=added),
        link(one, other, at, added=added),
    ]
    return random.choice(made)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=True))
def test_contradictions_and_cycles_leave_the_counts_right(random: Random) -> None:
    census = Census()
    for _ in range(100):
        census.learn([nonsense(random)])
        assert +census.counted == census.recount()
    groups = census.inventory.groups.live
    for name, one in groups.items():
        assert all(groups[child].parent == name for child in one.children)
        assert not one.parent or name in groups[one.parent].children
    for kind, one_type in census.inventory.types.live.items():
        of_it = [t for t in census.inventory.things.live.values() if t.type == kind]
        assert one_type.things == len(of_it)


def test_a_cycle_of_groups_holds_everybody_of_it() -> None:
    census = Census()
    census.learn(link(f"g{number}", f"g{(number + 1) % 5}", 1) for number in range(5))
    census.learn([member("g3", "a", 1), link("g0", "g0", 1)])
    assert census.counted == {("group", f"g{number}"): 1 for number in range(5)}
    census.learn([link("g0", "g1", 2, added=False)])
    assert +census.counted == census.recount()
    assert {name for kind, name in +census.counted if kind == "group"} == {"g3", "g2", "g1"}


def test_a_chain_of_groups_without_end_counts_so_far_up_as_aws_can_build() -> None:
    census = Census()
    census.learn(link(f"g{number}", f"g{number + 1}", 1) for number in range(5_000))
    census.learn([member("g5000", "a", 2)])
    assert +census.counted == census.recount()
    assert len(census.counted) == 32


def test_ten_thousand_things_in_one_group() -> None:
    census = Census()
    census.learn(member("hall", f"t{number}", 1) for number in range(10_000))
    assert census.counted["group", "hall"] == 10_000
    census.learn([group("hall", "site", 2)])
    assert census.counted["group", "site"] == 10_000
    census.learn([group("hall", at=3, type="deleted", version=2)])
    assert not +census.counted


def test_a_thing_in_more_groups_than_there_is_room_for() -> None:
    census = Census()
    outcomes = census.learn(member(f"g{number}", "a", 1) for number in range(100))
    assert outcomes == {Outcome.APPLIED: 64, Outcome.EXCESS: 36}
    census.learn([member("g0", "a", 2, added=False)])
    assert census.learn([member("g99", "a", 3)]) == {Outcome.APPLIED: 1}
    assert len(census.inventory.things.live["a"].memberships) == 64


def test_only_the_last_tombstones_are_kept() -> None:
    things = ObjectStore(Thing, limit=2)
    changed = []
    for name in "abc":
        things.put(things.get_or_create(name))
        changed.append(things.take_changed())
    assert changed == [{"a"}, {"b"}, {"a", "c"}], "the dropped one has changed"
    assert list(things.tombstones) == ["b", "c"]
    assert things.get("a") is None
    assert things.get("c") is not None


def test_deletions_of_unknown_things_cost_bounded_memory() -> None:
    inventory = Inventory()
    for number in range(150_000):
        inventory.apply(thing(f"t{number}", at=1, type="deleted"), 1)
    assert not inventory.things.live
    assert len(inventory.things.tombstones) == 100_000
