import random
from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.devices import kind_of, thing_name
from presenced_emulator.events import EventMessage
from presenced_emulator.provisioning import TOP_GROUP, FleetChange, Provisioner
from presenced_emulator.registry import Registry

NOW = 1_700_000_000.0
DEVICES = 20


class Site:
    """A fleet whose devices are all installed, and which of them run."""

    def __init__(self, seed: int = 1, devices: int = DEVICES) -> None:
        self.registry = Registry(random.Random(seed))
        self.provisioner = Provisioner(self.registry, random.Random(seed), devices)
        self.events: list[EventMessage] = self.provisioner.create_groups(NOW)
        for client_id in (*self.provisioner.spares, *self.provisioner.devices):
            self.events += self.provisioner.install(client_id, NOW)
        self.running = set(self.provisioner.devices)
        self._clock = count(1)

    def change(self, away: frozenset[str] = frozenset()) -> FleetChange:
        change = self.provisioner.change(NOW + next(self._clock), self.running - away)
        self.events += change.messages
        assert change.removed is None or change.removed in self.running
        assert change.added not in self.running
        self.running -= {str(change.removed)}
        self.running |= {change.added} if change.added else set()
        return change

    @property
    def topics(self) -> Counter[tuple[str, str]]:
        """How many events of each family and operation there were."""
        levels = (event.topic.split("/") for event in self.events)
        return Counter((each[2], each[-1]) for each in levels)


def check(site: Site) -> None:
    """Every running device has a thing in a hall at its site."""
    registry = site.registry
    assert len(registry.types) == 3
    for client_id in (*site.running, *site.provisioner.spares):
        thing = registry.things[thing_name(client_id)]
        assert thing.thing_type == kind_of(client_id).thing_type
        assert thing.attributes["model"] in kind_of(client_id).models
        groups = registry.groups_of(thing.name)
        (hall,) = thing.groups
        assert groups == {hall, f"site-{thing.attributes['site']}", TOP_GROUP}
        exclusive = thing.name if "/" in client_id else None
        assert registry.exclusive_thing(client_id) == exclusive


def test_first_registry() -> None:
    site = Site()
    check(site)
    assert len(site.registry.things) == DEVICES + 2
    assert set(site.provisioner.spares).isdisjoint(site.provisioner.devices)
    assert site.topics == {
        ("thingType", "created"): 3,
        ("thingGroup", "created"): 7,
        ("thingGroupHierarchy", "added"): 6,
        ("thing", "created"): 22,
        ("thingTypeAssociation", "added"): 22,
        ("thingGroupMembership", "added"): 22,
    }


def test_all_sorts_of_changes_come_in_turn() -> None:
    site = Site()
    before = Counter(site.topics)
    away = frozenset({"sensor-0001"})
    changes = [site.change(away) for _ in range(9)]
    happened = site.topics - before
    assert happened["thing", "deleted"] == happened["thing", "created"] == 3
    assert happened["thing", "updated"] >= 1
    assert happened["thingGroupMembership", "removed"] == 1
    assert happened["thingGroup", "deleted"] == happened["thingGroup", "created"] == 1
    assert happened["thingGroupHierarchy", "removed"] == 1
    added = {change.added for change in changes if change.added}
    removed = {change.removed for change in changes if change.removed}
    assert len(added) == len(removed) == 2
    assert "sensor-0001" in removed
    assert not added & set(site.provisioner.spares)


def test_one_deleted_device_goes_on_as_a_new_thing_of_the_same_name() -> None:
    site = Site()
    for _ in range(9):
        site.change()
    created = Counter(
        event.fields["thingName"]
        for event in site.events
        if event.topic.startswith("$aws/events/thing/") and event.topic.endswith("/created")
    )
    again = [name for name, times in created.items() if times > 1]
    assert len(again) == 1
    assert again[0] in {thing_name(client_id) for client_id in site.running}


@given(
    st.integers(0, 999), st.lists(st.sampled_from(Site().provisioner.devices)), st.integers(1, 60)
)
def test_changes_keep_the_fleet_in_order(seed: int, away: list[str], changes: int) -> None:
    site = Site(seed)
    for _ in range(changes):
        site.change(frozenset(away))
    while len(site.registry.things) < DEVICES + 2:  # a replacement is still owed
        site.change(frozenset(away))
    check(site)
    assert len(site.running) == DEVICES


@pytest.mark.parametrize("devices", [1, 3])
def test_a_fleet_without_candidates_for_a_change(devices: int) -> None:
    site = Site(devices=devices)
    for _ in range(30):
        site.change(frozenset(site.running))
    assert len(site.running) == devices


def test_nothing_is_installed_yet() -> None:
    registry = Registry(random.Random(1))
    provisioner = Provisioner(registry, random.Random(1), DEVICES)
    provisioner.create_groups(NOW)
    for _ in range(20):
        change = provisioner.change(NOW, frozenset())
        assert change.added is None
        assert change.removed is None


@pytest.mark.parametrize(("devices", "spares", "halls"), [(1, 1, 4), (20, 2, 4), (3000, 300, 132)])
def test_spares_and_halls_grow_with_the_fleet(devices: int, spares: int, halls: int) -> None:
    registry = Registry(random.Random(1))
    provisioner = Provisioner(registry, random.Random(1), devices)
    provisioner.create_groups(NOW)
    assert len(provisioner.spares) == spares
    assert sum(name.startswith("hall-") for name in registry.groups) == halls
