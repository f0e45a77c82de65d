import random
from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator import devices as plants
from presenced_emulator.events import Event
from presenced_emulator.registry import Registry
from presenced_emulator.upkeep import Change, Upkeep

NOW = 1_700_000_000.0
DEVICES = 20


class Site:
    """A fleet whose devices are all installed, and who of them runs."""

    def __init__(self, seed: int = 1, devices: int = DEVICES) -> None:
        self.registry = Registry(random.Random(seed))
        self.upkeep = Upkeep(self.registry, random.Random(seed), devices)
        self.events: list[Event] = self.upkeep.found(NOW)
        for client_id in (*self.upkeep.spares, *self.upkeep.devices):
            self.events += self.upkeep.install(client_id, NOW)
        self.running = set(self.upkeep.devices)
        self._clock = count(1)

    def change(self, away: frozenset[str] = frozenset()) -> Change:
        change = self.upkeep.change(NOW + next(self._clock), self.running - away)
        self.events += change.events
        assert self.running.issuperset(change.stop)
        assert not self.running.intersection(change.start)
        self.running = (self.running - set(change.stop)) | set(change.start)
        return change

    @property
    def topics(self) -> Counter[tuple[str, str]]:
        """How many events of each family and operation there were."""
        levels = (event.topic.split("/") for event in self.events)
        return Counter((each[2], each[-1]) for each in levels)


def check(site: Site) -> None:
    """What holds of every fleet: whoever runs is a thing in a hall at its site."""
    registry = site.registry
    assert len(registry.types) == 3
    for client_id in (*site.running, *site.upkeep.spares):
        thing = registry.things[plants.thing(client_id)]
        assert thing.kind == plants.TYPES[plants.kind_of(client_id)]
        assert thing.attributes["model"] in plants.MODELS[plants.kind_of(client_id)]
        groups = registry.groups_of(thing.name)
        (hall,) = thing.groups
        assert groups == {hall, plants.site_group(thing.attributes["site"]), plants.TOP}
        exclusive = thing.name if "/" in client_id else None
        assert registry.exclusive_thing(client_id) == exclusive


def test_a_fleet_is_founded() -> None:
    site = Site()
    check(site)
    assert len(site.registry.things) == DEVICES + 2
    assert set(site.upkeep.spares).isdisjoint(site.upkeep.devices)
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
    started = [change.start for change in changes if change.start]
    stopped = [client_id for change in changes for client_id in change.stop]
    assert len(started) == len(stopped) == 2
    assert "sensor-0001" in stopped
    assert not {client_id for each in started for client_id in each} & set(site.upkeep.spares)


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
    assert again[0] in {plants.thing(client_id) for client_id in site.running}


@given(st.integers(0, 999), st.lists(st.sampled_from(Site().upkeep.devices)), st.integers(1, 60))
def test_changes_keep_the_fleet_in_order(seed: int, away: list[str], changes: int) -> None:
    site = Site(seed)
    for _ in range(changes):
        site.change(frozenset(away))
    while len(site.registry.things) < DEVICES + 2:  # a replacement is still owed
        site.change(frozenset(away))
    check(site)
    assert len(site.running) == DEVICES


@pytest.mark.parametrize("devices", [1, 3])
def test_nobody_to_change_is_no_trouble(devices: int) -> None:
    site = Site(devices=devices)
    for _ in range(30):
        site.change(frozenset(site.running))
    assert len(site.running) == devices


def test_nothing_is_installed_yet() -> None:
    registry = Registry(random.Random(1))
    upkeep = Upkeep(registry, random.Random(1), DEVICES)
    upkeep.found(NOW)
    for _ in range(20):
        change = upkeep.change(NOW, frozenset())
        assert not change.start
        assert not change.stop
