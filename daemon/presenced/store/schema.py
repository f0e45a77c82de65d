"""The schema of the state file, and how an older file becomes a newer one.

The tables of the state file as Python sees them: one tuple per row, columns in order.
"""

import sqlite3
from typing import Any, NamedTuple

from presenced.store.errors import StateForeignError, StateNewerError

APPLICATION_ID = 0x70726573
"""The letters "pres", by which `file` and presenced know the file as theirs."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE clients (
            client_id TEXT NOT NULL PRIMARY KEY,
            state TEXT NOT NULL CHECK (state IN ('online', 'pending', 'offline', 'unknown')),
            since REAL,
            transition REAL,
            reason TEXT,
            thing_name TEXT,
            connected INTEGER NOT NULL,
            event_time INTEGER NOT NULL,
            version INTEGER,
            session TEXT,
            deadline REAL,
            gaps INTEGER NOT NULL,
            departed INTEGER NOT NULL,
            extra TEXT
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE things (
            name TEXT NOT NULL PRIMARY KEY,
            thing_id TEXT,
            version INTEGER,
            event_time INTEGER,
            deleted INTEGER NOT NULL,
            ended INTEGER NOT NULL,
            told_type TEXT,
            attributes TEXT,
            type_facts TEXT,
            memberships TEXT
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE thing_groups (
            name TEXT NOT NULL PRIMARY KEY,
            group_id TEXT,
            version INTEGER,
            event_time INTEGER,
            deleted INTEGER NOT NULL,
            ended INTEGER NOT NULL,
            told_parent TEXT,
            attributes TEXT,
            parent_facts TEXT
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE thing_types (
            name TEXT NOT NULL PRIMARY KEY,
            type_id TEXT,
            version INTEGER,
            event_time INTEGER,
            deleted INTEGER NOT NULL,
            ended INTEGER NOT NULL,
            deprecated INTEGER NOT NULL,
            searchable TEXT,
            propagating TEXT
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE counters (
            name TEXT NOT NULL,
            labels TEXT NOT NULL,
            value REAL NOT NULL,
            PRIMARY KEY (name, labels)
        ) WITHOUT ROWID
        """,
        "CREATE TABLE counted_disconnects (number INTEGER PRIMARY KEY, digest INTEGER NOT NULL)",
        "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        # AUTOINCREMENT: an id is never used again, so that what was asked for later is never
        # taken for what has been done already.
        """
        CREATE TABLE forget_requests (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            client_id TEXT NOT NULL,
            requested REAL NOT NULL
        )
        """,
    ),
    ("ALTER TABLE clients ADD COLUMN offline_at REAL",),
)

VERSION = len(_MIGRATIONS)
"""The version that this program reads and writes: how many migrations a file has had."""


def version_of(connection: sqlite3.Connection, path: object) -> int:
    """The version of a file; 0 for one that is still empty.

    Raises StateForeignError for a database of another program, StateNewerError for one that a newer
    presenced wrote, and sqlite3.Error where it cannot be read.
    """
    version: int = _pragma(connection, "user_version")
    application: int = _pragma(connection, "application_id")
    empty = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    if application != APPLICATION_ID and not (empty and application == version == 0):
        raise StateForeignError(path)
    if version > VERSION:
        raise StateNewerError(path, version, VERSION)
    return version


def migrate(connection: sqlite3.Connection, path: object) -> None:
    """Bring a file to this version, each step in a transaction of its own.

    Raises what `version_of` raises.
    """
    for number in range(version_of(connection, path), VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


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
