"""Clients, the registry and single facts as rows of the state file, and back.

Monotonic times are stored as wall-clock times, or as the total running time of the daemon;
`Offsets` convert them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from presenced.presence import Client, PresenceRules, State
from presenced.presence.client import AmbiguousOrder, EventStamp, pack
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.registry.objects import ObjectStamp, Relation
from presenced.sources.mqtt.gap_detector import MqttSession
from presenced.store.schema import (
    MAX_SECONDS,
    ClientRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)

_CLOCK_SET_BY = "clock_set_by"
_SESSION, _FILTERS = "session ", "filters "

_STATES = {state.value: state for state in State}
_Awaited = tuple[int | None, str | None, int, float]


class Offsets(NamedTuple):
    """What to add to monotonic time, in seconds.

    `wall` gives wall-clock time, less what that clock was set by while the daemon ran: all
    deadlines of the file have the same offset, whenever they were written. `lived` gives the total
    running time of the daemon, over all restarts. Clients are forgotten by that time, so that
    setting the clock forgets none early.
    """

    wall: float
    lived: float


class _Extra(msgspec.Struct, omit_defaults=True, gc=False):
    """What only few clients have."""

    awaited: list[_Awaited] = []
    doubts: AmbiguousOrder | None = None
    adopted: bool = False
    status_at: float | None = None


_EXTRA = msgspec.json.Decoder(_Extra)


def client_row(
    client: Client, offsets: Offsets, *, departed: bool, arrival: int | None = None
) -> ClientRow:
    """Return a client as a row; `departed` means that only what orders its events is kept."""
    extra = None
    if client.replaced or client.ambiguous or client.adopted or client.status_at is not None:
        awaited = [
            (each.version, each.session, each.timestamp, replaced.deadline + offsets.wall)
            for each, replaced in (client.replaced or {}).items()
            if replaced.deadline is not None
        ]
        status_at = None if client.status_at is None else client.status_at + offsets.wall
        extra = _encoded(_Extra(awaited, client.ambiguous, client.adopted, status_at))
    values = (
        client.client_id,
        client.state.value,
        client.since,
        client.transition,
        client.reason,
        client.thing_name,
        1 if client.connected else 0,
        client.timestamp,
        client.version,
        client.session,
        None if client.deadline is None else client.deadline + offsets.wall,
        client.gap_epoch,
        1 if departed else 0,
        extra,
        None if client.offline_at is None else client.offline_at + offsets.lived,
        arrival,
    )
    # Half the time of ClientRow(...), which is a function of Python.
    return tuple.__new__(ClientRow, values)


def unknown_row(client: Client, forgotten: Client, offsets: Offsets) -> ClientRow:
    """Return an unknown client as a row that also holds what orders its late events.

    They are from before it was forgotten. It is known because its thing exists.
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
    """Return the client of a row, without deadlines; `interned` holds values that many share."""
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
        client.ambiguous, client.adopted = extra.doubts, extra.adopted
    return client


def deadline_of(row: ClientRow, rules: PresenceRules, now: float, offsets: Offsets) -> float | None:
    """Return when a pending client goes offline or an offline one did, in monotonic time.

    A client goes offline after the longest delay of the rules at the latest: the wall clock may
    have been set back, and its reason may be that of a later disconnect than the one it waits for.
    If it is not known when a client went offline, `now` is assumed. None in all other states.
    """
    if row.state == State.PENDING:
        latest = now + rules.longest_delay
        return latest if row.deadline is None else min(row.deadline - offsets.wall, latest)
    if row.state == State.OFFLINE:
        return now if row.offline_at is None else min(row.offline_at - offsets.lived, now)
    return None


def status_of(row: ClientRow, now: float, offsets: Offsets) -> float | None:
    """Return the monotonic time of the last status message, None if none decides."""
    status_at = None if row.extra is None else _EXTRA.decode(row.extra).status_at
    return None if status_at is None else min(status_at - offsets.wall, now)


def awaited_of(
    row: ClientRow, rules: PresenceRules, now: float, offsets: Offsets
) -> list[tuple[EventStamp, float]]:
    """Return the connections whose disconnect is awaited, and until which monotonic time."""
    if row.extra is None:
        return []
    latest = now + rules.offline_delay
    return [
        (EventStamp(True, timestamp, version, session), min(until - offsets.wall, latest))  # noqa: FBT003
        for version, session, timestamp, until in _EXTRA.decode(row.extra).awaited
    ]


def awaited_count(row: ClientRow) -> int:
    """Return the number of connections whose disconnect is awaited."""
    return 0 if row.extra is None else len(_EXTRA.decode(row.extra).awaited)


_attributes = msgspec.json.Decoder(dict[str, str | None]).decode
_relations = msgspec.json.Decoder(tuple[Relation, ...]).decode
_names = msgspec.json.Decoder(tuple[str, ...]).decode
_FIELDS: dict[type, dict[str, Callable[[Any], Any] | None]] = {
    ThingRow: {
        "own_type": None,
        "attributes": _attributes,
        "type_relations": _relations,
        "memberships": _relations,
    },
    ThingGroupRow: {"own_parent": None, "attributes": _attributes, "parent_relations": _relations},
    ThingTypeRow: {"deprecated": bool, "searchable": _names, "propagating": _names},
}
"""The attributes that the columns after `ended` hold, in order, and the decoder of each.

The columns before are the same for all objects: the name, the last event (see `ObjectStamp`) and
`ended`. NULL stands for the value of a new object.
"""

ObjectRow = TypeVar("ObjectRow", ThingRow, ThingGroupRow, ThingTypeRow)
RegistryObject = TypeVar("RegistryObject", Thing, ThingGroup, ThingType)


def object_row(item: Thing | ThingGroup | ThingType, row_type: type[ObjectRow]) -> ObjectRow:
    """Return a thing, group or type as a row."""
    last_event: tuple[Any, ...] = (None, None, None, 0)
    if (stamp := item.stamp) is not None:
        last_event = (stamp.object_id, stamp.version, stamp.timestamp, int(stamp.deleted))
    fields: list[Any] = [_column(getattr(item, name)) for name in _FIELDS[row_type]]
    return row_type._make((item.name, *last_event, item.deleted_at, *fields))


def restored_object(
    item: RegistryObject, row: ThingRow | ThingGroupRow | ThingTypeRow
) -> RegistryObject:
    """Return a new thing, group or type, filled from its row."""
    _, object_id, version, timestamp, deleted, item.deleted_at = row[:6]
    if timestamp is not None:
        item.stamp = ObjectStamp(object_id, version, timestamp, bool(deleted))
    for (name, decode), value in zip(_FIELDS[type(row)].items(), row[6:], strict=True):
        if value is not None:
            setattr(item, name, value if decode is None else decode(value))
    return item


def check_texts(row: tuple[Any, ...]) -> None:
    """Raise ValueError for a row with texts that presenced never wrote; its columns are right."""
    if isinstance(row, ClientRow):
        if row.extra is not None:
            _EXTRA.decode(row.extra)
    elif isinstance(row, MetaRow):
        Notes.of([row])
    elif isinstance(row, ThingRow):
        restored_object(Thing(row.name), row)
    elif isinstance(row, ThingGroupRow):
        restored_object(ThingGroup(row.name), row)
    elif isinstance(row, ThingTypeRow):
        restored_object(ThingType(row.name), row)


def _column(value: Any) -> str | int | None:
    """Return the value of a column: text unchanged, flags as 0 or 1, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return int(value)
    return _encoded(dict(value) if isinstance(value, Mapping) else value) if value else None


class Notes(NamedTuple):
    """Single facts, each a row of `meta`; durations in seconds, times by the wall clock.

    `gap_epoch` is the number of gaps, `last_gap_at` the time of the last one, `lived` the total
    running time of the daemon, `clock_set_by` by how much the wall clock was set while it ran.
    `sessions` are the MQTT sessions of the connections.
    """

    gap_epoch: int = 0
    last_gap_at: float = 0.0
    lived: float = 0.0
    clock_set_by: float = 0.0
    sessions: tuple[MqttSession, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[MetaRow]) -> "Notes":
        """Return the facts of the rows of `meta`. Raises ValueError and MsgspecError."""
        noted = {row.key: row.value for row in rows}
        return cls(
            int(noted.get("gaps", 0)),
            _seconds(noted.get("doubted_at", "0")),
            _seconds(noted.get("lived", "0")),
            _seconds(noted.get(_CLOCK_SET_BY, "0")),
            tuple(_sessions(noted)),
        )

    def encoded(self) -> dict[str, str]:
        """Return all facts by key.

        Of a session: when it was last in use and since when it missed something, in whole seconds.
        Its topic filters, with their QoS, have a key of their own.
        """
        encoded = {
            "gaps": str(self.gap_epoch),
            "doubted_at": repr(self.last_gap_at),
            "lived": repr(self.lived),
            _CLOCK_SET_BY: repr(self.clock_set_by),
        }
        for session in self.sessions:
            times = [session.alive_at]
            if session.missing_since is not None:
                times.append(session.missing_since)
            # Without `round` whole seconds that a restart took over would be one less.
            texts = [str(math.floor(round(at, 2))) for at in times]
            encoded[_SESSION + session.client_id] = " ".join(texts)
            if session.subscribed is not None:
                encoded[_FILTERS + session.client_id] = _encoded(session.subscribed)
        return encoded


def _sessions(noted: Mapping[str, str]) -> Iterator[MqttSession]:
    for key, value in noted.items():
        if key.startswith(_SESSION):
            client_id = key.removeprefix(_SESSION)
            alive_at, _, missing_since = value.partition(" ")
            filters = noted.get(_FILTERS + client_id)
            yield MqttSession(
                client_id,
                _seconds(alive_at),
                None if filters is None else msgspec.json.decode(filters, type=dict[str, int]),
                _seconds(missing_since) if missing_since else None,
            )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not -MAX_SECONDS <= seconds <= MAX_SECONDS:  # also for what is not a number
        raise ValueError(f"{text} is not a time")
    return seconds


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
