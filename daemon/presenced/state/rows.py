"""The tables of the state file as Python sees them: one tuple per row, columns in order."""

from typing import Any, NamedTuple

__all__ = [
    "TABLES",
    "ClientRow",
    "CounterRow",
    "DisconnectRow",
    "ForgetRow",
    "MetaRow",
    "Row",
    "Table",
    "ThingGroupRow",
    "ThingRow",
    "ThingTypeRow",
]


class ClientRow(NamedTuple):
    """A client: its presence and its last accepted lifecycle event.

    `since`, `transition` and `deadline` are wall-clock seconds since the epoch; `deadline` is when
    a pending client goes offline, but for `clock_set_by` of the table `meta`, which is to be added.
    `offline_at` is when an offline one did, in seconds that the daemon had run in all: see `lived`
    of `meta`. `gaps` is how many gaps there had been when it was last heard of: an online or
    pending client is unverified where the `gaps` of `meta` are more. `connected`, `event_time`
    (milliseconds), `version` and `session` are those of the event; `event_time` is -1 before there
    was one. `departed` is 1 where the client was forgotten and only what orders its events is kept.
    `extra` is a JSON object of what few clients have, None for others.
    """

    client_id: str
    state: str
    since: float | None
    transition: float | None
    reason: str | None
    thing_name: str | None
    connected: int
    event_time: int
    version: int | None
    session: str | None
    deadline: float | None
    gaps: int
    departed: int
    extra: str | None
    offline_at: float | None = None


class ThingRow(NamedTuple):
    """A thing. Its own last event is `thing_id`, `version`, `event_time` (ms) and `deleted`.

    `event_time` is None before there was one. `ended` is the event time of the last deletion under
    the name, -1 before there was one. `attributes` is a JSON object; `type_facts` and
    `memberships` are JSON arrays of [name, event time, present].
    """

    name: str
    thing_id: str | None
    version: int | None
    event_time: int | None
    deleted: int
    ended: int
    told_type: str | None
    attributes: str | None
    type_facts: str | None
    memberships: str | None


class ThingGroupRow(NamedTuple):
    """A thing group; columns as those of a thing, `parent_facts` an array like `memberships`."""

    name: str
    group_id: str | None
    version: int | None
    event_time: int | None
    deleted: int
    ended: int
    told_parent: str | None
    attributes: str | None
    parent_facts: str | None


class ThingTypeRow(NamedTuple):
    """A thing type; `searchable` and `propagating` are JSON arrays of attribute names."""

    name: str
    type_id: str | None
    version: int | None
    event_time: int | None
    deleted: int
    ended: int
    deprecated: int
    searchable: str | None
    propagating: str | None


class CounterRow(NamedTuple):
    """A total that goes on after a restart; `labels` is a JSON object with sorted keys."""

    name: str
    labels: str
    value: float


class DisconnectRow(NamedTuple):
    """A disconnect that has been counted: numbers rise, and `digest` tells it from others."""

    number: int
    digest: int


class MetaRow(NamedTuple):
    """A single fact about the file or the daemon that wrote it."""

    key: str
    value: str


class ForgetRow(NamedTuple):
    """An operator's request to forget a client, made at `requested` (seconds since the epoch)."""

    id: int
    client_id: str
    requested: float


Row = (
    ClientRow
    | ThingRow
    | ThingGroupRow
    | ThingTypeRow
    | CounterRow
    | DisconnectRow
    | MetaRow
    | ForgetRow
)


class Table(NamedTuple):
    """A table: its name, the type of its rows, and how many of the first columns are its key."""

    name: str
    row: type[Any]
    key_width: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in order."""
        fields: tuple[str, ...] = self.row._fields
        return fields

    @property
    def key(self) -> tuple[str, ...]:
        """The names of the key's columns."""
        return self.columns[: self.key_width]


TABLES = (
    Table("clients", ClientRow),
    Table("things", ThingRow),
    Table("thing_groups", ThingGroupRow),
    Table("thing_types", ThingTypeRow),
    Table("counters", CounterRow, key_width=2),
    Table("counted_disconnects", DisconnectRow),
    Table("meta", MetaRow),
    Table("forget_requests", ForgetRow),
)
"""All tables. Names are those of the attributes of `Changes` too."""
