"""Changes of the state file: the rows to be written, in few statements.

Around each step of a statement the sqlite3 module releases the GIL and must get it back, which
takes up to 5 ms (`sys.getswitchinterval`) while another thread computes. Hence one statement for
many rows; `executemany` would take a step for each.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

from presenced.store.schema import (
    TABLES,
    ClientRow,
    CounterRow,
    DisconnectRow,
    MassEventRow,
    MetaRow,
    RecentTransitionRow,
    Table,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
    TrendMinuteRow,
)

_MAX_ROWS = 64
_MAX_VALUES = 999  # the limit of a statement before SQLite 3.32
# Raised for a value that SQLite refuses: too large, not encodable, of a wrong type or against a
# constraint of the table. Repeating it would fail again and keep all other rows from the disk.
_REFUSALS = (
    OverflowError,
    UnicodeError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)

_Values = tuple[Any, ...]


class Changes:
    """The new rows by table and key; None is a row to be deleted.

    The key is the first column, of counters the pair of name and labels. `forget_requests` can only
    be deleted: `presenced state forget` inserts them.
    """

    def __init__(self) -> None:
        self.clients: dict[str, ClientRow | None] = {}
        self.things: dict[str, ThingRow | None] = {}
        self.thing_groups: dict[str, ThingGroupRow | None] = {}
        self.thing_types: dict[str, ThingTypeRow | None] = {}
        self.counters: dict[tuple[str, str], CounterRow | None] = {}
        self.counted_disconnects: dict[int, DisconnectRow | None] = {}
        self.meta: dict[str, MetaRow | None] = {}
        self.forget_requests: dict[int, None] = {}
        self.recent_transitions: dict[int, RecentTransitionRow | None] = {}
        self.mass_events: dict[int, MassEventRow | None] = {}
        self.trend_minutes: dict[int, TrendMinuteRow | None] = {}

    def count(self, name: str, labels: str, value: float) -> None:
        """Set a total; `labels` is a JSON object with sorted keys, `{}` without labels."""
        self.counters[name, labels] = CounterRow(name, labels, value)

    def note(self, key: str, value: str) -> None:
        """Set a single fact."""
        self.meta[key] = MetaRow(key, value)

    def merge(self, later: "Changes") -> None:
        """Add what changed later; it replaces what has the same key.

        A client keeps the number of its arrival, which only the first row after that has. A counted
        disconnect that was not written yet and is deleted leaves nothing: numbers rise, so the file
        does not have it.
        """
        mine, counted = self.counted_disconnects, later.counted_disconnects
        for number in [n for n, row in counted.items() if row is None and mine.get(n)]:
            del mine[number], counted[number]
        for client_id, row in later.clients.items():
            earlier = self.clients.get(client_id)
            if row and earlier and row.arrival is None and earlier.arrival is not None:
                later.clients[client_id] = row._replace(arrival=earlier.arrival)
        for table in TABLES:
            getattr(self, table.name).update(getattr(later, table.name))

    def discard(self) -> None:
        """Remove all rows one by one.

        Freeing a large dictionary at once blocks every other thread: 0.1 s for a million rows.
        """
        for table in TABLES:
            rows: dict[Any, Any] = getattr(self, table.name)
            while rows:
                rows.popitem()

    def __len__(self) -> int:
        return sum(len(getattr(self, table.name)) for table in TABLES)


def write_changes(connection: sqlite3.Connection, changes: Changes) -> int:
    """Write changes in one transaction and return how many rows SQLite refused.

    Raises sqlite3.Error, and has then changed nothing.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        refused = sum(_write(connection, table, getattr(changes, table.name)) for table in TABLES)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return refused


def drop_needless_deletions(connection: sqlite3.Connection, changes: Changes) -> None:
    """Remove deletions of rows that the file does not have. Raises sqlite3.Error."""
    for table in TABLES:
        rows: dict[Any, _Values | None] = getattr(changes, table.name)
        for batch in _batches([key for key, row in rows.items() if row is None], _MAX_ROWS):
            stored = _stored_keys(connection, table, [_key_values(key) for key in batch])
            for key in batch:
                if _key_values(key) not in stored:
                    del rows[key]


def _stored_keys(
    connection: sqlite3.Connection, table: Table, keys: Sequence[_Values]
) -> set[_Values]:
    """Return the keys that have a row."""
    select = f"SELECT {', '.join(table.key)} FROM {table.name} {_where(table, len(keys))}"  # noqa: S608
    try:
        return set(connection.execute(select, [value for key in keys for value in key]))
    except (OverflowError, UnicodeError):  # a value that SQLite refuses has no row
        if len(keys) == 1:
            return set()
        return {key for each in keys for key in _stored_keys(connection, table, [each])}


def _write(connection: sqlite3.Connection, table: Table, rows: dict[Any, _Values | None]) -> int:
    put = (row for row in rows.values() if row is not None)
    deleted = (_key_values(key) for key, row in rows.items() if row is None)
    return _execute(connection, _replace, table, put) + _execute(
        connection, _delete, table, deleted
    )


def _execute(
    connection: sqlite3.Connection,
    statement: Callable[[Table, int], str],
    table: Table,
    rows: Iterable[_Values],
) -> int:
    """Execute a statement for all rows; if SQLite refuses one of them, for each row alone."""
    refused = 0
    for batch in _batches(rows, min(_MAX_ROWS, _MAX_VALUES // len(table.columns))):
        try:
            values = [value for row in batch for value in row]
            connection.execute(statement(table, len(batch)), values)
        except _REFUSALS:
            if len(batch) == 1:
                refused += 1
            else:
                refused += sum(_execute(connection, statement, table, [row]) for row in batch)
    return refused


def _batches(rows: Iterable[Any], limit: int) -> Iterator[list[Any]]:
    """Return rows in lists of `limit`, the rest in powers of two: few statements to prepare."""
    remaining = iter(rows)
    while batch := list(islice(remaining, limit)):
        while batch:
            size = limit if len(batch) == limit else 1 << (len(batch).bit_length() - 1)
            yield batch[:size]
            batch = batch[size:]


def _key_values(key: Any) -> _Values:
    return key if isinstance(key, tuple) else (key,)


@cache
def _replace(table: Table, count: int) -> str:
    places = _places(len(table.columns), count)
    if table.kept is None:
        return f"REPLACE INTO {table.name} VALUES {places}"  # noqa: S608 - our own names
    values = [f"{name} = excluded.{name}" for name in table.columns if name != table.kept]
    values.append(f"{table.kept} = coalesce(excluded.{table.kept}, {table.kept})")
    return (
        f"INSERT INTO {table.name} VALUES {places} "  # noqa: S608 - our own names
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {', '.join(values)}"
    )


@cache
def _delete(table: Table, count: int) -> str:
    return f"DELETE FROM {table.name} {_where(table, count)}"  # noqa: S608 - our own names


def _where(table: Table, count: int) -> str:
    return f"WHERE ({', '.join(table.key)}) IN (VALUES {_places(table.key_width, count)})"


def _places(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)
