"""The embedded broker's registry, and its events as the daemon decodes them."""

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from full_registry import FullRegistry
from presenced.events.decode import decode
from presenced.events.model import (
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)
from presenced_emulator.events import EventMessage

NOW = 1_700_000_000.0
AT = 1_700_000_000_000


def decoded(event: EventMessage) -> Any:
    """The event as the daemon decodes it; topic and payload agree."""
    result = decode(event.topic, event.payload, NOW)
    assert not result.topic_disagrees
    assert result.timestamp is not None
    assert result.timestamp >= AT
    return result


def new(seed: int = 1) -> FullRegistry:
    return FullRegistry(random.Random(seed))


def tree() -> FullRegistry:
    """Plants above north above hall, with one thing in the hall."""
    registry = new()
    registry.create_type("sensor", NOW, searchable=("site",))
    registry.create_group("plants", NOW, attributes={})
    registry.create_group("north", NOW, parent="plants", attributes={})
    registry.create_group("hall", NOW, parent="north", attributes={"floor": "1"})
    registry.create_thing("a", NOW, thing_type="sensor", attributes={"site": "north"})
    registry.regroup("a", NOW, into="hall")
    return registry


def test_a_thing_is_created_with_its_type() -> None:
    created, associated = tree().create_thing(
        "b", NOW, thing_type="sensor", attributes={"site": "x"}
    )
    event = decoded(created)
    assert isinstance(event, ThingEvent)
    assert (event.type, event.thing_name, event.version) == ("created", "b", 1)
    assert (event.thing_type, event.attributes) == ("sensor", {"site": "x"})
    assert created.topic == "$aws/events/thing/b/created"
    assert created.fields["billinGroupName"] is None
    event = decoded(associated)
    assert isinstance(event, ThingTypeAssociationEvent)
    assert (event.type, event.thing_name, event.thing_type) == ("added", "b", "sensor")
    assert created.things == associated.things == {"b"}
    assert associated.topic == "$aws/events/thingTypeAssociation/thing/b/thingType/sensor/added"


def test_a_thing_without_a_type_has_no_association() -> None:
    (created,) = new().create_thing("b", NOW, attributes={})
    assert decoded(created).thing_type is None
    assert created.fields["thingTypeName"] is None


def test_versions_rise_with_each_update_and_start_again_with_a_new_thing() -> None:
    registry = tree()
    first = [registry.update_thing("a", NOW, attributes={"site": site})[0].fields for site in "xyz"]
    assert [fields["versionNumber"] for fields in first] == [2, 3, 4]
    assert {fields["thingId"] for fields in first} == {registry.things["a"].thing_id}
    (deleted,) = registry.delete_thing("a", NOW)
    assert decoded(deleted).type == "deleted"
    assert decoded(deleted).version == 4
    again = registry.create_thing("a", NOW, attributes={})[0].fields
    assert again["versionNumber"] == 1
    assert again["thingId"] != first[0]["thingId"]


def test_an_update_keeps_what_it_does_not_name() -> None:
    (event,) = tree().update_thing("a", NOW, attributes={"model": "T"})
    assert decoded(event).attributes == {"site": "north", "model": "T"}
    assert decoded(event).thing_type == "sensor"


def test_another_type_has_an_event_of_the_thing_and_of_both_associations() -> None:
    registry = tree()
    updated, removed, added = map(decoded, registry.update_type("a", NOW, "gateway"))
    assert (updated.type, updated.thing_type) == ("updated", "gateway")
    assert (removed.type, removed.thing_type) == ("removed", "sensor")
    assert (added.type, added.thing_type) == ("added", "gateway")
    _, removed = map(decoded, registry.update_type("a", NOW, ""))
    assert (removed.type, removed.thing_type) == ("removed", "gateway")


def test_the_life_of_a_type() -> None:
    registry = new()
    events = [
        *registry.create_type("sensor", NOW, searchable=("site", "model")),
        *registry.deprecate_type("sensor", NOW),
        *registry.deprecate_type("sensor", NOW, undo=True),
        *registry.delete_type("sensor", NOW),
    ]
    found = [decoded(event) for event in events]
    assert all(isinstance(event, ThingTypeEvent) for event in found)
    assert [event.type for event in found] == ["created", "updated", "updated", "deleted"]
    assert [event.deprecated for event in found] == [False, True, False, False]
    assert found[0].searchable_attributes == ["site", "model"]
    assert events[1].fields["deprecationDate"] == events[1].fields["timestamp"]
    assert len({event.fields["thingTypeId"] for event in events}) == 1
    assert not registry.types


def test_a_group_below_another_has_two_events() -> None:
    registry = tree()
    created, linked = registry.create_group("yard", NOW, parent="north", attributes={"a": "b"})
    event = decoded(created)
    assert isinstance(event, ThingGroupEvent)
    assert (event.type, event.thing_group, event.parent) == ("created", "yard", "north")
    assert (event.version, event.attributes) == (1, {"a": "b"})
    assert created.fields["parentGroupId"] == registry.groups["north"].group_id
    path = created.fields["rootToParentThingGroups"]
    assert [each["groupArn"].rpartition("/")[2] for each in path] == ["plants", "north"]
    event = decoded(linked)
    assert isinstance(event, ThingGroupHierarchyEvent)
    assert (event.type, event.thing_group, event.child) == ("added", "north", "yard")


def test_a_group_at_the_top_has_no_parent() -> None:
    (created,) = new().create_group("plants", NOW, attributes={})
    for field in ("parentGroupName", "parentGroupId", "rootToParentThingGroups"):
        assert created.fields[field] is None


def test_a_group_is_updated_in_its_place() -> None:
    (event,) = tree().update_group("hall", NOW, attributes={"floor": "2"})
    assert decoded(event).parent == "north"
    assert decoded(event).version == 2
    assert decoded(event).attributes == {"floor": "2"}


def test_a_deleted_group_leaves_its_things_without_it() -> None:
    registry = tree()
    unlinked, deleted = registry.delete_group("hall", NOW)
    assert decoded(deleted).type == "deleted"
    assert (decoded(unlinked).type, decoded(unlinked).thing_group) == ("removed", "north")
    assert deleted.things == unlinked.things == {"a"}
    assert registry.groups_of("a") == set()


def test_a_thing_moves_from_group_to_group() -> None:
    registry = tree()
    registry.create_group("yard", NOW, parent="plants", attributes={})
    before = registry.things["a"].groups["hall"]
    assert registry.groups_of("a") == {"plants", "north", "hall"}
    events = registry.regroup("a", NOW, out_of="hall", into="yard")
    removed, added = map(decoded, events)
    assert isinstance(removed, ThingGroupMembershipEvent)
    assert (removed.type, removed.thing_group, removed.thing_name) == ("removed", "hall", "a")
    assert (added.type, added.thing_group, added.thing_name) == ("added", "yard", "a")
    assert events[0].fields["membershipId"] == before != events[1].fields["membershipId"]
    assert registry.groups_of("a") == {"plants", "yard"}
    assert registry.members_of("yard") == ["a"]


def test_the_deletion_of_a_thing_has_one_event() -> None:
    registry = tree()
    assert [event.topic for event in registry.delete_thing("a", NOW)] == [
        "$aws/events/thing/a/deleted"
    ]
    assert registry.members_of("hall") == []


def test_an_exclusive_thing_is_the_clients_until_it_is_deleted() -> None:
    registry = tree()
    registry.attach("plant/a", "a")
    assert registry.exclusive_thing("plant/a") == "a"
    assert registry.exclusive_thing("a") is None
    registry.delete_thing("a", NOW)
    assert registry.exclusive_thing("plant/a") is None


@given(st.lists(st.floats(0, 0.01), min_size=2, max_size=20))
def test_no_two_calls_share_a_moment(moments: list[float]) -> None:
    registry = new()
    times = [
        registry.create_group(f"g{number}", NOW + moment, attributes={})[0].fields["timestamp"]
        for number, moment in enumerate(moments)
    ]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[0] == round((NOW + moments[0]) * 1000)


def test_the_events_of_one_call_share_a_moment() -> None:
    events = tree().update_type("a", NOW + 1, "gateway")
    assert {event.fields["timestamp"] for event in events} == {AT + 1000}


def test_every_event_has_an_id_of_its_own() -> None:
    events = tree().update_type("a", NOW, "gateway")
    assert len({event.fields["eventId"] for event in events}) == 3
    assert all(len(event.fields["eventId"]) == 32 for event in events)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_events(seed: int) -> None:
    def story(number: int) -> list[bytes]:
        events = new(number).create_thing("a", NOW, thing_type="b", attributes={})
        return [event.payload for event in events]

    assert story(seed) == story(seed)
    assert story(seed) != story(seed + 1)
    assert list(json.loads(story(seed)[0]))[:4] == [
        "eventType",
        "eventId",
        "timestamp",
        "operation",
    ]
