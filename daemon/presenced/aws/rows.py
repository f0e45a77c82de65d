"""What a page of AWS's fleet index says about clients, and about things."""

from collections.abc import Iterable, Iterator

from presenced.aws.answers import Connectivity, ThingGroup, ThingRow
from presenced.aws.operations import SEARCH_INDEX
from presenced.events.model import (
    RegistryEvent,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupMembershipEvent,
    ThingTypeEvent,
)
from presenced.fleet import Fleet
from presenced.presence.record import Row
from presenced.registry import Thing


def presence_rows(
    things: Iterable[ThingRow], fleet: Fleet, *, asked: float, epoch: int, settles: bool
) -> list[Row]:
    """Return what a page says about clients, to be merged.

    `asked` is when it was asked for, in seconds since the epoch, and `epoch` how many gaps there
    had been then. A thing that an event reported as deleted gives no row.
    """
    return [
        Row(
            thing.name,
            seen.connected,
            seen.timestamp,
            asked,
            epoch,
            SEARCH_INDEX.name,
            seen.reason,
            settles=settles,
        )
        for thing in things
        if (seen := thing.connectivity) is not None and not _is_deleted(thing, fleet)
    ]


def lookup_row(
    client_id: str, seen: Connectivity, *, asked: float, epoch: int, operation: str
) -> Row:
    """Return what the answer to a lookup says about its client, to be merged."""
    return Row(
        client_id,
        seen.connected,
        seen.timestamp,
        asked,
        epoch,
        operation,
        seen.reason,
        is_answer=True,
    )


def registry_events(
    things: Iterable[ThingRow], fleet: Fleet, *, asked: float
) -> list[RegistryEvent]:
    """Return what a page, whose things have thing groups only, says about them, as events."""
    at = _registry_event_time(asked, fleet)
    return [event for thing in things for event in _events_of(thing, fleet, at)]


def group_event(group: ThingGroup, fleet: Fleet, *, asked: float) -> ThingGroupEvent:
    """Return what AWS says about a thing group, as an event."""
    return ThingGroupEvent(
        type="updated",
        timestamp=_registry_event_time(asked, fleet),
        thing_group=group.name,
        thing_group_id=group.group_id,
        version=group.version,
        parent=group.parent,
    )


def type_events(things: Iterable[ThingRow], fleet: Fleet, *, asked: float) -> list[ThingTypeEvent]:
    """Return that the types of things exist, as events; of those that no event has told."""
    names = sorted({thing.thing_type for thing in things if thing.thing_type})
    at, types = _registry_event_time(asked, fleet), fleet.inventory.types
    return [
        ThingTypeEvent(type="updated", timestamp=at, thing_type=name)
        for name in names
        if (known := types.get(name)) is None or known.stamp is None
    ]


def _registry_event_time(asked: float, fleet: Fleet) -> int:
    """Return the event time of what AWS says about the registry: T before it was asked for."""
    return round(asked * 1000) - fleet.presence.rules.ordering.timestamp_accuracy


def _events_of(thing: ThingRow, fleet: Fleet, at: int) -> Iterator[RegistryEvent]:
    known_thing = fleet.inventory.things.live.get(thing.name)
    if known_thing is None or not _is_as_known(thing, known_thing):
        yield ThingEvent(
            type="updated",
            timestamp=at,
            thing_name=thing.name,
            thing_id=thing.thing_id,
            thing_type=thing.thing_type,
            attributes=dict(thing.attributes),
        )
    present = set(thing.groups)
    known = set(known_thing.groups) if known_thing else set()
    for type_, groups in (("added", present - known), ("removed", known - present)):
        for group in sorted(groups):
            yield ThingGroupMembershipEvent(
                type=type_, timestamp=at, thing_group=group, thing_name=thing.name
            )


def _is_as_known(thing: ThingRow, known: Thing) -> bool:
    """Return whether a row says of a thing what its own events have said."""
    return (
        known.stamp is not None
        and known.stamp.object_id == thing.thing_id
        and known.type == (thing.thing_type or "")
        and known.attributes == thing.attributes
    )


def _is_deleted(thing: ThingRow, fleet: Fleet) -> bool:
    """Return whether an event reported the deletion of this thing, by its ID."""
    known = fleet.inventory.things.get(thing.name)
    if known is None or not known.deleted or known.stamp is None:
        return False
    return known.stamp.object_id == thing.thing_id
