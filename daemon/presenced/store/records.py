"""Clients, things, types and groups as rows of the state file, and back.

Times that run on the monotonic clock are stored as wall-clock times, or as the time that the daemon
had run in all; `Offsets` are what turns the one into the others.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from presenced.presence import Client, PresenceRules, State
from presenced.presence.client import AmbiguousOrder, ConnectionKey, pack
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.registry.objects import NO_ATTRIBUTES, Attributes, ObjectStamp, Relation, Relations
from presenced.store.schema import ClientRow, ThingGroupRow, ThingRow, ThingTypeRow

_STATES = {state.value: state for state in State}
_Awaited = tuple[int | None, str | None, int, float]


class Offsets(NamedTuple):
    """What to add to monotonic time, in seconds.

    `wall` makes it wall-clock time, but for what that clock was set by while the daemon ran: each
    deadline of the file has the same offset, whenever it was written. `lived` makes it the time
    that the daemon has run in all, over its restarts. A client is forgotten by the latter: no clock
    that is set makes that come early.
    """

    wall: float
    lived: float


class _Extra(msgspec.Struct, omit_defaults=True, gc=False):
    """What few clients have."""

    awaited: list[_Awaited] = []
    doubts: AmbiguousOrder | None = None


_EXTRA = msgspec.json.Decoder(_Extra)
_FACTS = msgspec.json.Decoder(tuple[Relation, ...])
_ATTRIBUTES = msgspec.json.Decoder(dict[str, str | None])
_NAMES = msgspec.json.Decoder(list[str])


def client_row(client: Client, offsets: Offsets, *, departed: bool) -> ClientRow:
    """A client as a row; `departed` where only what orders its events is to be kept."""
    return ClientRow(
        client.client_id,
        client.state.value,
        client.since,
        client.transition,
        client.reason,
        client.thing_name,
        client.connected,
        client.timestamp,
        client.version,
        client.session,
        None if client.deadline is None else client.deadline + offsets.wall,
        client.gap_epoch,
        departed,
        _extra(client, offsets.wall),
        None if client.offline_at is None else client.offline_at + offsets.lived,
    )


def unknown_row(client: Client, forgotten: Client, offsets: Offsets) -> ClientRow:
    """An unknown client as a row that also holds what orders its late events.

    Those are of the time before it was forgotten; it is known again because there is its thing.
    """
    row = client_row(forgotten, offsets, departed=False)
    return row._replace(
        state=State.UNKNOWN.value,
        since=None,
        transition=None,
        reason=None,
        thing_name=None,
        gaps=client.gap_epoch,
    )


def client_of(row: ClientRow, interned: dict[str | None, str | None]) -> Client:
    """The client of a row, still without deadlines; `interned` holds what many have alike."""
    client = Client(
        row.client_id,
        _STATES[row.state],
        row.since,
        # One float of two that are equal: a fleet of a million has a million less.
        row.since if row.transition == row.since else row.transition,
        interned.setdefault(row.reason, row.reason),
        row.thing_name,
        row.event_time,
        row.version,
        pack(row.session),
        gap_epoch=row.gaps,
    )
    if row.extra is not None:
        extra = _EXTRA.decode(row.extra)
        client.ambiguous = extra.doubts
    return client


def deadline_of(row: ClientRow, rules: PresenceRules, now: float, offsets: Offsets) -> float | None:
    """When a pending client goes offline or an offline one did, on the monotonic clock; else None.

    A client goes offline no later than the rules would have it from now on: the wall clock may have
    been set back meanwhile. The reason may be that of a later disconnect than the one that it waits
    for. Where it is not known when it did, it did just now.
    """
    if row.state == State.PENDING:
        latest = now + rules.longest_delay
        return latest if row.deadline is None else min(row.deadline - offsets.wall, latest)
    if row.state == State.OFFLINE:
        return now if row.offline_at is None else min(row.offline_at - offsets.lived, now)
    return None


def awaited_of(
    row: ClientRow, rules: PresenceRules, now: float, offsets: Offsets
) -> list[tuple[ConnectionKey, float]]:
    """Connections whose disconnect is awaited, and until when on the monotonic clock."""
    if row.extra is None:
        return []
    latest = now + rules.offline_delay
    return [
        (ConnectionKey(version, session, timestamp), min(until - offsets.wall, latest))
        for version, session, timestamp, until in _EXTRA.decode(row.extra).awaited
    ]


def thing_row(thing: Thing) -> ThingRow:
    """A thing as a row."""
    object_id, version, at, deleted = _mark_columns(thing.stamp)
    return ThingRow(
        thing.name,
        object_id,
        version,
        at,
        deleted,
        thing.deleted_at,
        thing.own_type,
        _json(dict(thing.attributes)),
        _json(thing.type_relations),
        _json(thing.memberships),
    )


def thing_of(row: ThingRow) -> Thing:
    """The thing of a row."""
    thing = Thing(row.name)
    thing.stamp = _mark(row.thing_id, row.version, row.event_time, row.deleted)
    thing.deleted_at = row.ended
    thing.own_type = row.told_type
    thing.attributes = _attributes(row.attributes)
    thing.type_relations = _facts(row.type_facts)
    thing.memberships = _facts(row.memberships)
    return thing


def thing_group_row(group: ThingGroup) -> ThingGroupRow:
    """A thing group as a row; who is in it and below it follows from others."""
    object_id, version, at, deleted = _mark_columns(group.stamp)
    return ThingGroupRow(
        group.name,
        object_id,
        version,
        at,
        deleted,
        group.deleted_at,
        group.own_parent,
        _json(dict(group.attributes)),
        _json(group.parent_relations),
    )


def thing_group_of(row: ThingGroupRow) -> ThingGroup:
    """The thing group of a row."""
    group = ThingGroup(row.name)
    group.stamp = _mark(row.group_id, row.version, row.event_time, row.deleted)
    group.deleted_at = row.ended
    group.own_parent = row.told_parent
    group.attributes = _attributes(row.attributes)
    group.parent_relations = _facts(row.parent_facts)
    return group


def thing_type_row(kind: ThingType) -> ThingTypeRow:
    """A thing type as a row."""
    object_id, version, at, deleted = _mark_columns(kind.stamp)
    return ThingTypeRow(
        kind.name,
        object_id,
        version,
        at,
        deleted,
        kind.deleted_at,
        kind.deprecated,
        _json(kind.searchable),
        _json(kind.propagating),
    )


def thing_type_of(row: ThingTypeRow) -> ThingType:
    """The thing type of a row."""
    kind = ThingType(row.name)
    kind.stamp = _mark(row.type_id, row.version, row.event_time, row.deleted)
    kind.deleted_at = row.ended
    kind.deprecated = bool(row.deprecated)
    kind.searchable = _names(row.searchable)
    kind.propagating = _names(row.propagating)
    return kind


def _extra(client: Client, offset: float) -> str | None:
    if client.rare is None:
        return None
    awaited = [
        (*replaced.key, replaced.deadline + offset)
        for replaced in client.replaced.values()
        if replaced.deadline is not None
    ]
    doubts = client.ambiguous
    return _encode(_Extra(awaited, doubts))


def _mark_columns(mark: ObjectStamp | None) -> tuple[str | None, int | None, int | None, bool]:
    if mark is None:
        return None, None, None, False
    return mark.object_id, mark.version, mark.timestamp, mark.deleted


def _mark(
    object_id: str | None, version: int | None, at: int | None, deleted: int
) -> ObjectStamp | None:
    return None if at is None else ObjectStamp(object_id, version, at, deleted=bool(deleted))


def _json(value: Mapping[str, Any] | Iterable[Any]) -> str | None:
    return _encode(value) if value else None


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _attributes(text: str | None) -> Attributes:
    return NO_ATTRIBUTES if text is None else _ATTRIBUTES.decode(text)


def _facts(text: str | None) -> Relations:
    return () if text is None else _FACTS.decode(text)


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(_NAMES.decode(text))
