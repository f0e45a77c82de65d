"""The schema of the state file, and how an older file becomes a newer one."""

import sqlite3

from presenced.state.errors import StateForeignError, StateNewerError

__all__ = ["APPLICATION_ID", "VERSION", "migrate", "version_of"]

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
