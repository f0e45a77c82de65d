"""What is to be written into the state file, by key, so that the last word about a key counts.

Changes into tables, with few statements.

Around each step of a statement the sqlite3 module lets go of the GIL and must get it back, which
takes up to 5 ms (`sys.getswitchinterval`) while another thread computes. Hence one statement for
many rows, where `executemany` would take a step for each.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
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


class Changes:
    """Rows by table and key, as they are to be from now on; None is a row to be deleted.

    The key is the first column, of counters the pair of name and labels. `forget_requests` can only
    be deleted here: they are made by `presenced state forget`.
    """

    __slots__ = (
        "clients",
        "counted_disconnects",
        "counters",
        "forget_requests",
        "meta",
        "thing_groups",
        "thing_types",
        "things",
    )

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
        """Add what changed later; of the same key it replaces what was to be written before.

        Of a counted disconnect that was still to be written, and is remembered no longer, nothing
        is left: their numbers rise, so that it is in no file.
        """
        mine, counted = self.counted_disconnects, later.counted_disconnects
        for number in [n for n, row in counted.items() if row is None and mine.get(n)]:
            del mine[number], counted[number]
        for table in TABLES:
            rows: dict[Any, Any] = getattr(later, table.name)
            if rows:
                getattr(self, table.name).update(rows)

    def discard(self) -> None:
        """Let go of all rows one by one.

        A large dictionary that goes at once holds up every other thread: 0.1 s for a million rows.
        """
        for table in TABLES:
            rows: dict[Any, Any] = getattr(self, table.name)
            while rows:
                rows.popitem()

    def __len__(self) -> int:
        return sum(len(getattr(self, table.name)) for table in TABLES)


# A power of two. With the 15 columns of clients it stays below the 999 values that SQLite took in a
# statement before 3.32.
_MOST_ROWS = 64
# What a value can have that SQLite does not take: too large, not encodable, of a wrong type or
# against a rule of the table. It would fail again and again, and keep everything else from disk.
_REFUSALS = (
    OverflowError,
    UnicodeError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)

_Values = tuple[Any, ...]


def commit(connection: sqlite3.Connection, changes: Changes) -> int:
    """Write changes in one transaction; how many rows had to be left out because of their values.

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


def drop_needless(connection: sqlite3.Connection, changes: Changes) -> None:
    """Leave out deletions of rows that the file does not have. Raises sqlite3.Error."""
    for table in TABLES:
        rows: dict[Any, _Values | None] = getattr(changes, table.name)
        gone = iter([key for key, row in rows.items() if row is None])
        while batch := list(islice(gone, _MOST_ROWS)):
            held = _held(connection, table, [k if isinstance(k, tuple) else (k,) for k in batch])
            for key in batch:
                if (key if isinstance(key, tuple) else (key,)) not in held:
                    del rows[key]


def _held(connection: sqlite3.Connection, table: Table, keys: list[_Values]) -> set[_Values]:
    """Those keys of which there is a row."""
    columns = ", ".join(table.key)
    places = _places(table.key_width, len(keys))
    select = f"SELECT {columns} FROM {table.name} WHERE ({columns}) IN (VALUES {places})"  # noqa: S608
    try:
        return set(connection.execute(select, [value for key in keys for value in key]))
    except (OverflowError, UnicodeError):  # what SQLite does not take has no row
        if len(keys) == 1:
            return set()
        return {key for each in keys for key in _held(connection, table, [each])}


def _write(connection: sqlite3.Connection, table: Table, rows: dict[Any, _Values | None]) -> int:
    refused = 0
    items = iter(rows.items())
    while batch := list(islice(items, _MOST_ROWS)):
        put = [row for _, row in batch if row is not None]
        gone = [key if isinstance(key, tuple) else (key,) for key, row in batch if row is None]
        refused += _run(connection, _putting, table, put)
        refused += _run(connection, _deleting, table, gone)
    return refused


def _run(
    connection: sqlite3.Connection,
    statement: Callable[[Table, int], str],
    table: Table,
    rows: Sequence[_Values],
) -> int:
    refused = 0
    for chunk in _chunks(rows):
        try:
            connection.execute(statement(table, len(chunk)), [v for row in chunk for v in row])
        except _REFUSALS:
            refused += _one_by_one(connection, statement(table, 1), chunk)
    return refused


def _one_by_one(connection: sqlite3.Connection, statement: str, rows: Sequence[_Values]) -> int:
    refused = 0
    for row in rows:
        try:
            connection.execute(statement, row)
        except _REFUSALS:
            refused += 1
    return refused


def _chunks(rows: Sequence[_Values]) -> Iterator[Sequence[_Values]]:
    """At most `_MOST_ROWS` rows in slices of powers of two: few statements to prepare."""
    start, size = 0, _MOST_ROWS
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


@cache
def _putting(table: Table, count: int) -> str:
    places = _places(len(table.columns), count)
    return f"REPLACE INTO {table.name} VALUES {places}"  # noqa: S608 - our own names


@cache
def _deleting(table: Table, count: int) -> str:
    places = _places(table.key_width, count)
    keys = ", ".join(table.key)
    return f"DELETE FROM {table.name} WHERE ({keys}) IN (VALUES {places})"  # noqa: S608


def _places(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)
