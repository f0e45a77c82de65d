"""Changes of the state file: the rows to be written, and how few statements write them.

Around each step of a statement the sqlite3 module releases the GIL and must get it back, which
takes up to 5 ms (`sys.getswitchinterval`) while another thread computes. Hence one statement for
many rows, where `executemany` would take a step for each.
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
    ForgetRow,
    MetaRow,
    Table,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)

# A power of two. With the 15 columns of clients it stays below the 999 values that SQLite took in a
# statement before 3.32.
_MAX_ROWS = 64
# Raised for a value that SQLite does not take: too large, not encodable, of a wrong type or against
# a rule of the table. It would fail again and again, and keep everything else from the disk.
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
    """Rows by table and key, as they are to be from now on; None is a row to be deleted.

    The key is the first column, of counters the pair of name and labels. `forget_requests` can only
    be deleted here: they are made by `presenced state forget`.
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

    def count(self, name: str, labels: str, value: float) -> None:
        """Set a total; `labels` is a JSON object with sorted keys, `{}` without labels."""
        self.counters[name, labels] = CounterRow(name, labels, value)

    def note(self, key: str, value: str) -> None:
        """Set a single fact."""
        self.meta[key] = MetaRow(key, value)

    def done(self, request: ForgetRow) -> None:
        """Delete a request to forget a client, once these changes hold what follows from it."""
        self.forget_requests[request.id] = None

    def merge(self, later: "Changes") -> None:
        """Add what changed later; of the same key the later row counts.

        A counted disconnect that is no longer remembered, and was still to be written, leaves
        nothing: numbers rise, so that no file has it.
        """
        mine, counted = self.counted_disconnects, later.counted_disconnects
        for number in [n for n, row in counted.items() if row is None and mine.get(n)]:
            del mine[number], counted[number]
        for table in TABLES:
            rows: dict[Any, Any] = getattr(later, table.name)
            if rows:
                getattr(self, table.name).update(rows)

    def discard(self) -> None:
        """Remove all rows one by one.

        Freeing a large dictionary at once holds up every other thread: 0.1 s for a million rows.
        """
        for table in TABLES:
            rows: dict[Any, Any] = getattr(self, table.name)
            while rows:
                rows.popitem()

    def __len__(self) -> int:
        return sum(len(getattr(self, table.name)) for table in TABLES)


def write_changes(connection: sqlite3.Connection, changes: Changes) -> int:
    """Write changes in one transaction and return how many rows were left out for their values.

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
    """Leave out deletions of rows that the file does not have. Raises sqlite3.Error."""
    for table in TABLES:
        rows: dict[Any, _Values | None] = getattr(changes, table.name)
        for batch in _batches([key for key, row in rows.items() if row is None]):
            stored = _stored_keys(connection, table, [_key_values(key) for key in batch])
            for key in batch:
                if _key_values(key) not in stored:
                    del rows[key]


def _stored_keys(
    connection: sqlite3.Connection, table: Table, keys: Sequence[_Values]
) -> set[_Values]:
    """Return those keys of which there is a row."""
    select = f"SELECT {', '.join(table.key)} FROM {table.name} {_where(table, len(keys))}"  # noqa: S608
    try:
        return set(connection.execute(select, [value for key in keys for value in key]))
    except (OverflowError, UnicodeError):  # what SQLite does not take has no row
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
    """Execute a statement for rows; where SQLite does not take one of them, for each by itself."""
    refused = 0
    for batch in _batches(rows):
        try:
            values = [value for row in batch for value in row]
            connection.execute(statement(table, len(batch)), values)
        except _REFUSALS:
            if len(batch) == 1:
                refused += 1
            else:
                refused += sum(_execute(connection, statement, table, [row]) for row in batch)
    return refused


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Return rows in lists of a power of two, up to `_MAX_ROWS`: few statements to prepare."""
    remaining = iter(rows)
    while batch := list(islice(remaining, _MAX_ROWS)):
        while batch:
            size = 1 << (len(batch).bit_length() - 1)
            yield batch[:size]
            batch = batch[size:]


def _key_values(key: Any) -> _Values:
    return key if isinstance(key, tuple) else (key,)


@cache
def _replace(table: Table, count: int) -> str:
    places = _places(len(table.columns), count)
    return f"REPLACE INTO {table.name} VALUES {places}"  # noqa: S608 - our own names


@cache
def _delete(table: Table, count: int) -> str:
    return f"DELETE FROM {table.name} {_where(table, count)}"  # noqa: S608 - our own names


def _where(table: Table, count: int) -> str:
    return f"WHERE ({', '.join(table.key)}) IN (VALUES {_places(table.key_width, count)})"


def _places(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)
