"""The tables of the state file: their rows, their creation, and the migration of older files.

Each table is declared once, as a type of rows; its fields are the columns, in order.
"""

import sqlite3
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from presenced.store.errors import StateError

APPLICATION_ID = 0x70726573
"""The letters "pres", by which `file` and presenced recognise a state file."""

Json = Annotated[str, "TEXT"]
"""Text that is JSON."""
_State = Annotated[
    str, "TEXT NOT NULL CHECK (state IN ('online', 'pending', 'offline', 'unknown'))"
]
_Number = Annotated[int, "INTEGER PRIMARY KEY"]
# AUTOINCREMENT: an id is never used again, so that a new request is not mistaken for an old one.
_Id = Annotated[int, "INTEGER PRIMARY KEY AUTOINCREMENT"]


class ClientRow(NamedTuple):
    """A client: its presence and its last accepted lifecycle event.

    `since`, `transition` and `deadline` are wall-clock seconds since the epoch. `deadline`, plus
    `clock_set_by` of the table `meta`, is when a pending client goes offline. `offline_at` is when
    an offline client went offline, in seconds of total running time (`lived` of `meta`). `gaps` is
    the number of gaps at the last event of the client: an online or pending client with fewer than
    `gaps` of `meta` is unverified. `connected`, `event_time` (milliseconds; -1 before the first),
    `version` and `session` are those of the event. `departed` is 1 if the client was forgotten and
    only what orders its events is kept. `extra` is an object of what only few clients have.
    `arrival` numbers the clients in the order of their first transitions; a row without a number
    keeps the one that the file has.
    """

    client_id: str
    state: _State
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
    extra: Json | None
    offline_at: float | None = None
    arrival: int | None = None


class ThingRow(NamedTuple):
    """A thing. Its own last event is `thing_id`, `version`, `event_time` (ms) and `deleted`.

    `event_time` is None before the first. `ended` is the event time of the last deletion under the
    name, -1 before the first. `attributes` is an object; `type_facts` and `memberships` are arrays
    of [name, event time, present].
    """

    name: str
    thing_id: str | None
    version: int | None
    event_time: int | None
    deleted: int
    ended: int
    told_type: str | None
    attributes: Json | None
    type_facts: Json | None
    memberships: Json | None


class ThingGroupRow(NamedTuple):
    """A thing group, with columns like those of a thing; `parent_facts` is like `memberships`."""

    name: str
    group_id: str | None
    version: int | None
    event_time: int | None
    deleted: int
    ended: int
    told_parent: str | None
    attributes: Json | None
    parent_facts: Json | None


class ThingTypeRow(NamedTuple):
    """A thing type; `searchable` and `propagating` are arrays of attribute names."""

    name: str
    type_id: str | None
    version: int | None
    event_time: int | None
    deleted: int
    ended: int
    deprecated: int
    searchable: Json | None
    propagating: Json | None


class CounterRow(NamedTuple):
    """A total that continues after a restart; `labels` is an object with sorted keys."""

    name: str
    labels: Json
    value: float


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
    requested: float


_DEFINITIONS = {
    str: "TEXT NOT NULL",
    int: "INTEGER NOT NULL",
    float: "REAL NOT NULL",
    Json: "TEXT NOT NULL",
    str | None: "TEXT",
    int | None: "INTEGER",
    float | None: "REAL",
    Json | None: "TEXT",
}


class Table:
    """A table; the first `key_width` columns are its key, `json_columns` contain JSON.

    The column `kept` stays as it is in the file if the new row has NULL in it.
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
        self._hints = get_type_hints(row, include_extras=True)
        self.json_columns = {
            name for name, hint in self._hints.items() if Json in (hint, *get_args(hint))
        }

    @property
    def definition(self) -> str:
        """The statement that creates the table."""
        columns = [
            f"{name} {_DEFINITIONS.get(hint) or hint.__metadata__[0]}"
            for name, hint in self._hints.items()
        ]
        if any("PRIMARY KEY" in column for column in columns):
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
)
"""All tables. Their names are also those of the attributes of `Changes`."""

_MIGRATIONS = (
    "ALTER TABLE clients ADD COLUMN offline_at REAL",
    "ALTER TABLE clients ADD COLUMN arrival INTEGER",
)

VERSION = 1 + len(_MIGRATIONS)
"""The format that this version of presenced reads and writes."""


def version_of(connection: sqlite3.Connection, path: object) -> int:
    """Return the format of a file; 0 if it is still empty.

    Raises StateError for a database of another program or a newer presenced, and sqlite3.Error if
    it cannot be read.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    is_empty = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    if application != APPLICATION_ID and not (is_empty and application == version == 0):
        raise StateError(
            f"{path} is an SQLite database of another program: set state.path to a file that only "
            "presenced uses"
        )
    if version > VERSION:
        raise StateError(
            f"the state file {path} was written by a newer presenced (its format is {version}, "
            f"this version reads up to {VERSION}): install the newer version again, or move the "
            "file aside to start without its state"
        )
    return version


def migrate(connection: sqlite3.Connection, path: object) -> None:
    """Create the tables of an empty file, or migrate those of an older one, in one transaction.

    Raises what `version_of` raises.
    """
    version = version_of(connection, path)
    if version == VERSION:
        return
    statements = _MIGRATIONS[version - 1 :] if version else [table.definition for table in TABLES]
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
