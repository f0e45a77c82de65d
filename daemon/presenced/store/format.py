"""The format of a state file: recognise it, create the tables, migrate those of an older one.

The format is in the header, as `application_id` and `user_version`. The tables tell it as well, so
that a header with a flipped bit is not taken for that of another program or of a newer presenced.
"""

import sqlite3
from contextlib import closing
from typing import NamedTuple

from presenced.store.errors import StateDamagedError, StateError
from presenced.store.schema import TABLES

APPLICATION_ID = 0x70726573
"""The letters "pres", by which `file` and presenced recognise a state file."""

_RECENT = ("recent_transitions", "mass_events", "trend_minutes")

# Each step adds a column or tables: only then do the tables tell the format. After a release a
# step must change a table that it knew, or the release takes the new file for a damaged one.
_MIGRATIONS = (
    ("ALTER TABLE clients ADD COLUMN offline_at REAL",),
    ("ALTER TABLE clients ADD COLUMN arrival INTEGER",),
    tuple(table.definition for table in TABLES if table.name in _RECENT),
)
# How many columns tables had in the formats before this one, if they had not all.
_EARLIER_WIDTHS = {"clients": (14, 15, 16)} | dict.fromkeys(_RECENT, (0, 0, 0))

VERSION = 1 + len(_MIGRATIONS)
"""The format that this version of presenced reads and writes."""


class _Layout(NamedTuple):
    """A table as SQLite has it: its columns, and those of our constraints that it lacks."""

    columns: list[tuple[object, ...]]
    lacking: list[str]


def version_of(connection: sqlite3.Connection, path: object) -> int:
    """Return the format of a file; 0 if it is still empty.

    Raises StateError for a database of another program or a newer presenced, StateDamagedError if
    its tables and its header do not fit, and sqlite3.Error if it cannot be read.
    """
    is_empty = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if is_empty and application == version == 0:
        return 0
    formats, found = _own_layouts(), _layouts(connection)
    has_tables = found in formats.values()
    if application != APPLICATION_ID and not has_tables:
        raise StateError(
            f"{path} is an SQLite database of another program: set state.path to a file that only "
            "presenced uses"
        )
    if version > VERSION and not has_tables:
        raise StateError(
            f"the state file {path} was written by a newer presenced (its format is {version}, "
            f"this version reads up to {VERSION}): install the newer version again, or move the "
            "file aside to start without its state"
        )
    if not (found == formats.get(version) and application == APPLICATION_ID):
        header = f"application_id {application}, user_version {version}"
        raise StateDamagedError(path, f"its tables do not fit its header: {header}")
    if (trigger := _trigger(connection)) is not None:
        raise StateDamagedError(path, f"it has the trigger {trigger}, which is not of presenced")
    return version


def migrate(connection: sqlite3.Connection, path: object) -> None:
    """Create the tables of an empty file, or migrate those of an older one, in one transaction.

    Raises what `version_of` raises.
    """
    version = version_of(connection, path)
    if version == VERSION:
        return
    missing = [statement for step in _MIGRATIONS[version - 1 :] for statement in step]
    statements = missing if version else [table.definition for table in TABLES]
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


def _own_layouts() -> dict[int, list[_Layout]]:
    """Return the tables as presenced creates them, by the format."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for table in TABLES:
            connection.execute(table.definition)
        ours = _layouts(connection)
    earlier = {version: _earlier(ours, version) for version in range(1, VERSION)}
    return {**earlier, VERSION: ours}


def _earlier(layouts: list[_Layout], version: int) -> list[_Layout]:
    """Return these layouts as they were in an earlier format."""
    found = []
    for table, layout in zip(TABLES, layouts, strict=True):
        widths = _EARLIER_WIDTHS.get(table.name)
        width = len(layout.columns) if widths is None else widths[version - 1]
        lacking = layout.lacking if width else table.constraints
        found.append(_Layout(layout.columns[:width], lacking))
    return found


def _layouts(connection: sqlite3.Connection) -> list[_Layout]:
    """Return the layout of each of `TABLES`; one that is missing has no columns."""
    columns = 'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)'
    statement = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    layouts = []
    for table in TABLES:
        (sql,) = connection.execute(statement, (table.name,)).fetchone() or ("",)
        lacking = [constraint for constraint in table.constraints if constraint not in sql]
        found = connection.execute(columns, (table.name,)).fetchall() if sql else []
        layouts.append(_Layout(found, lacking))
    return layouts


def _trigger(connection: sqlite3.Connection) -> str | None:
    """Return a trigger on one of our tables; None if there is none."""
    triggers = connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'")
    names = {table.name for table in TABLES}
    return next((name for name, table in triggers if table in names), None)
