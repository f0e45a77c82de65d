"""The tables of the state file: each is a type of rows, whose fields are the columns, in order.

The types also tell which values presenced writes; `read_rows` treats any other value as damage.
"""

from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from presenced.events.payloads import MAX_TIMESTAMP

MAX_SECONDS = MAX_TIMESTAMP // 1000
"""The last second of the year 9999."""

Json = Annotated[str, "JSON"]
"""Text that is JSON."""
_State = Annotated[str, "CHECK (state IN ('online', 'pending', 'offline', 'unknown'))"]
_Connectedness = Annotated[str, "CHECK (state IN ('online', 'offline'))"]
_Number = Annotated[int, Meta(ge=0), "PRIMARY KEY"]
# AUTOINCREMENT: an id is never used again, so that a new request is not mistaken for an old one.
_Id = Annotated[int, Meta(ge=0), "PRIMARY KEY AUTOINCREMENT"]
_Flag = Annotated[int, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0)]
# A client in doubt may have one less than no gap.
_Epoch = Annotated[int, Meta(ge=-1)]
_Seconds = Annotated[float, Meta(ge=-MAX_SECONDS, le=MAX_SECONDS)]
# In milliseconds; -1 for none.
_EventTime = Annotated[int, Meta(ge=-1, le=MAX_TIMESTAMP)]
# SQLite holds integers up to 63 bits.
_Total = Annotated[float, Meta(ge=0, le=2**62)]


class ClientRow(NamedTuple):
    """A client: its presence and its last accepted lifecycle event.

    `since`, `transition` and `deadline` are wall-clock seconds since the epoch. `deadline`, plus
    `clock_set_by` of the table `meta`, is when a pending client goes offline. `offline_at` is when
    an offline client went offline, in seconds of total running time (`lived` of `meta`). `gaps` is
    the number of gaps when the client was last verified: a client with another number than
    `gaps` of `meta` is unverified. `connected`, `event_time` (milliseconds; -1 before the first),
    `version` and `session` are those of the event. `departed` is 1 if the client was forgotten and
    only what orders its events is kept. `extra` is an object of what only few clients have.
    `arrival` numbers the clients in the order of their first transitions; a row without a number
    keeps the one that the file has.
    """

    client_id: str
    state: _State
    since: _Seconds | None
    transition: _Seconds | None
    reason: str | None
    thing_name: str | None
    connected: _Flag
    event_time: _EventTime
    version: _Count | None
    session: str | None
    deadline: _Seconds | None
    gaps: _Epoch
    departed: _Flag
    extra: Json | None
    offline_at: _Seconds | None = None
    arrival: _Count | None = None


class ThingRow(NamedTuple):
    """A thing. Its own last event is `thing_id`, `version`, `event_time` (ms) and `deleted`.

    `event_time` is None before the first. `ended` is the event time of the last deletion under the
    name, -1 before the first. `attributes` is an object; `type_facts` and `memberships` are arrays
    of [name, event time, present].
    """

    name: str
    thing_id: str | None
    version: _Count | None
    event_time: _EventTime | None
    deleted: _Flag
    ended: _EventTime
    told_type: str | None
    attributes: Json | None
    type_facts: Json | None
    memberships: Json | None


class ThingGroupRow(NamedTuple):
    """A thing group, with columns like those of a thing; `parent_facts` is like `memberships`."""

    name: str
    group_id: str | None
    version: _Count | None
    event_time: _EventTime | None
    deleted: _Flag
    ended: _EventTime
    told_parent: str | None
    attributes: Json | None
    parent_facts: Json | None


class ThingTypeRow(NamedTuple):
    """A thing type; `searchable` and `propagating` are arrays of attribute names."""

    name: str
    type_id: str | None
    version: _Count | None
    event_time: _EventTime | None
    deleted: _Flag
    ended: _EventTime
    deprecated: _Flag
    searchable: Json | None
    propagating: Json | None


class CounterRow(NamedTuple):
    """A total that continues after a restart; `labels` is an object with sorted keys."""

    name: str
    labels: Json
    value: _Total


class DisconnectRow(NamedTuple):
    """A disconnect that has been counted; numbers rise, the digest identifies it."""

    number: _Number
    digest: int


class MetaRow(NamedTuple):
    """A single fact about the daemon that wrote the file."""

    key: str
    value: str


class ForgetRow(NamedTuple):
    """An operator's request to forget a client, made at `requested` (seconds since the epoch)."""

    id: _Id
    client_id: str
    requested: _Seconds


class RecentTransitionRow(NamedTuple):
    """A transition of the last hours; later ones have higher numbers, as those of mass events do.

    `time` is when it took effect, `since` when its new state began.
    """

    number: _Number
    time: _Seconds
    since: _Seconds
    client_id: str
    previous: str
    state: _Connectedness
    reason: str | None


class MassEventRow(NamedTuple):
    """Transitions in short succession, which are not in `recent_transitions`.

    `total` is their number, `first` and `last` are when the states began. `reasons`, `thing_types`
    and `thing_groups` are objects of counts, `client_ids` is the array of the first clients.
    """

    number: _Number
    state: _Connectedness
    total: _Count
    first: _Seconds
    last: _Seconds
    reasons: Json
    thing_types: Json
    thing_groups: Json
    client_ids: Json


class TrendMinuteRow(NamedTuple):
    """The clients by state at the beginning of a minute, and the transitions since the last one.

    `reasons` is an object of the reasons of those to offline.
    """

    at: _Number
    online: _Count
    pending: _Count
    offline: _Count
    to_online: _Count
    to_offline: _Count
    reasons: Json


_SQL_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}


class _Column:
    """A column, from the type of a field: `Annotated` may add a constraint of SQL, or "JSON"."""

    def __init__(self, hint: Any) -> None:
        members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        notes = get_args(members[0])[1:] if get_origin(members[0]) is Annotated else ()
        texts = [note for note in notes if isinstance(note, str)]
        self.is_json = "JSON" in texts
        self.constraint = " ".join(text for text in texts if text != "JSON")
        self._type = _SQL_TYPES[get_args(members[0])[0] if notes else members[0]]
        self._is_nullable = len(members) > 1

    @property
    def is_key(self) -> bool:
        """Whether this column alone is the key of the table, a number that SQLite assigns."""
        return self.constraint.startswith("PRIMARY KEY")

    @property
    def definition(self) -> str:
        """The type and the constraints of the column."""
        is_required = not (self._is_nullable or self.is_key)
        words = (self._type, "NOT NULL" if is_required else "", self.constraint)
        return " ".join(filter(None, words))


class Table:
    """A table; the first `key_width` columns are its key, `json_columns` contain JSON.

    `constraints` are those of its columns, as its definition has them. The column `kept` stays as
    it is in the file if the new row has NULL in it.
    """

    def __init__(
        self, name: str, row: type[Any], key_width: int = 1, kept: str | None = None
    ) -> None:
        self.name = name
        self.row = row
        self.kept = kept
        self.columns: tuple[str, ...] = row._fields
        self.key_width = key_width
        self.key = self.columns[:key_width]
        hints = get_type_hints(row, include_extras=True)
        self._columns = {name: _Column(hint) for name, hint in hints.items()}
        self.json_columns = {name for name, column in self._columns.items() if column.is_json}
        self.constraints = [c.constraint for c in self._columns.values() if c.constraint]

    @property
    def definition(self) -> str:
        """The statement that creates the table."""
        columns = [f"{name} {column.definition}" for name, column in self._columns.items()]
        if any(column.is_key for column in self._columns.values()):
            return f"CREATE TABLE {self.name} ({', '.join(columns)})"
        columns.append(f"PRIMARY KEY ({', '.join(self.key)})")
        return f"CREATE TABLE {self.name} ({', '.join(columns)}) WITHOUT ROWID"


TABLES = (
    Table("clients", ClientRow, kept="arrival"),
    Table("things", ThingRow),
    Table("thing_groups", ThingGroupRow),
    Table("thing_types", ThingTypeRow),
    Table("counters", CounterRow, key_width=2),
    Table("counted_disconnects", DisconnectRow),
    Table("meta", MetaRow),
    Table("forget_requests", ForgetRow),
    Table("recent_transitions", RecentTransitionRow),
    Table("mass_events", MassEventRow),
    Table("trend_minutes", TrendMinuteRow),
)
"""All tables. Their names are also those of the attributes of `Changes`."""
