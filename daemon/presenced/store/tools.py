"""What operators do with a state file, whether a daemon has it open or not."""

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import msgspec

from presenced.store.errors import (
    StateDamagedError,
    StateLockedError,
    StateMissingError,
    StateOlderError,
    StateUnusableError,
    cause_of,
    is_damage,
)
from presenced.store.file import Lock, beside, holder_of, read_rows
from presenced.store.restoration import CLOCK_SET_BY
from presenced.store.schema import TABLES, VERSION, ClientRow, Table, version_of

_BUSY = 10.0
_REMEDY = "run this command as root, or as the user that presenced runs as"
_KINDS = {
    "clients": "client",
    "things": "thing",
    "thing_groups": "thing_group",
    "thing_types": "thing_type",
    "counters": "counter",
    "counted_disconnects": "counted_disconnect",
    "meta": "meta",
    "forget_requests": "forget_request",
}
_JSON_COLUMNS = {
    "attributes",
    "extra",
    "labels",
    "memberships",
    "parent_facts",
    "propagating",
    "searchable",
    "type_facts",
}


class Summary(NamedTuple):
    """What a file holds: clients by state, and rows of each other table by its name.

    `size` is in bytes, with the log. `holder` is the process that has the file, None where none
    has, empty where that cannot be told.
    """

    version: int
    size: int
    holder: str | None
    clients: dict[str, int]
    unverified: int
    departed: int
    rows: dict[str, int]


class Forgotten(NamedTuple):
    """What became of a wish to forget: the clients that the file knows, and those it does not.

    `asked` says that a running daemon has been asked to; else it is done.
    """

    known: list[str]
    unknown: list[str]
    asked: bool


def summary(path: Path) -> Summary:
    """What a file holds. Raises StateError."""
    with _reading(path) as connection:
        groups = connection.execute(
            "SELECT state, gaps < (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'gaps') "
            "AND state IN ('online', 'pending'), departed, count(*) FROM clients GROUP BY 1, 2, 3"
        ).fetchall()
        rows = {
            table.name: _number(connection, f"SELECT count(*) FROM {table.name}")  # noqa: S608
            for table in TABLES
            if table.row is not ClientRow
        }
        version = version_of(connection, path)
    clients: Counter[str] = Counter()
    unverified = departed = 0
    for state, is_unverified, is_departed, number in groups:
        if is_departed:
            departed += number
        else:
            clients[state] += number
            unverified += number if is_unverified else 0
    return Summary(version, _size(path), _holder(path), dict(clients), unverified, departed, rows)


def client(path: Path, client_id: str) -> ClientRow | None:
    """What is known of a client; None where nothing is. Raises StateError.

    Its deadline is by the wall clock as it was set last.
    """
    if not _is_text(client_id):
        return None
    with _reading(path) as connection:
        columns = ", ".join(ClientRow._fields)
        row = connection.execute(
            f"SELECT {columns} FROM clients WHERE client_id = ?",  # noqa: S608 - our own names
            (client_id,),
        ).fetchone()
        by_key = "SELECT value FROM meta WHERE key = ?"
        set_by = connection.execute(by_key, (CLOCK_SET_BY,)).fetchone()
    if row is None:
        return None
    found = ClientRow._make(row)
    if found.deadline is None or set_by is None:
        return found
    return found._replace(deadline=found.deadline + float(set_by[0]))


def forget(path: Path, client_ids: Sequence[str]) -> Forgotten:
    """Delete clients from the file of a stopped daemon, or ask a running one to forget them.

    Raises StateError.
    """
    if not path.exists():
        raise StateMissingError(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.callback(Lock(path).close)
            asked = False
        except StateLockedError:
            asked = True
        except OSError as error:
            raise StateUnusableError(path, "read_only", error.strerror, _REMEDY) from error
        connection = stack.enter_context(_writing(path))
        connection.execute("BEGIN IMMEDIATE")
        known = [name for name in dict.fromkeys(client_ids) if _knows(connection, name)]
        _write_down(connection, known, asked=asked)
        connection.execute("COMMIT")
    unknown = [name for name in dict.fromkeys(client_ids) if name not in known]
    return Forgotten(known, unknown, asked)


def export(path: Path) -> Iterator[bytes]:
    """Everything as lines of JSON: an object with the `kind` of the row and its columns.

    A running daemon goes on writing meanwhile: each row is as it was at some moment of the export.
    Raises StateError.
    """
    with _reading(path) as connection:
        for table in TABLES:
            for rows in read_rows(connection, table.row, path):
                yield b"".join(_line(table, row) for row in rows)


def _line(table: Table, row: tuple[Any, ...]) -> bytes:
    record: dict[str, Any] = {"kind": _KINDS[table.name]}
    for column, value in zip(table.columns, row, strict=True):
        is_json = column in _JSON_COLUMNS and value is not None
        record[column] = msgspec.Raw(value.encode()) if is_json else value
    return msgspec.json.encode(record) + b"\n"


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise StateMissingError(path)
    mode = "mode=ro"
    if not beside(path, "-wal").exists() and not os.access(path.parent, os.W_OK):
        # Nobody has it open, and SQLite could not make the files by which readers and writers know
        # of each other.
        mode = "immutable=1"
    with _connected(path, mode) as connection:
        yield connection


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    with _connected(path, "mode=rw") as connection:
        yield connection


@contextlib.contextmanager
def _connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_BUSY, isolation_level=None
        )
        with contextlib.closing(connection):
            if (version := version_of(connection, path)) < VERSION:
                raise StateOlderError(path, version, VERSION)
            yield connection
    except sqlite3.Error as error:
        if is_damage(error):
            raise StateDamagedError(path, error) from error
        cause = cause_of(error, path)
        remedy = "" if cause in ("full", "locked") else _REMEDY
        raise StateUnusableError(path, cause, error, remedy) from error


def _write_down(connection: sqlite3.Connection, client_ids: list[str], *, asked: bool) -> None:
    if asked:
        connection.executemany(
            "INSERT INTO forget_requests (client_id, requested) VALUES (?, ?)",
            [(name, time()) for name in client_ids],
        )
    else:
        connection.executemany(
            "DELETE FROM clients WHERE client_id = ?", [(name,) for name in client_ids]
        )


def _knows(connection: sqlite3.Connection, client_id: str) -> bool:
    if not _is_text(client_id):
        return False
    found = connection.execute("SELECT 1 FROM clients WHERE client_id = ?", (client_id,))
    return found.fetchone() is not None


def _is_text(argument: str) -> bool:
    """Whether an argument was UTF-8, as all client IDs are; else it holds surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(connection: sqlite3.Connection, query: str) -> int:
    number: int = connection.execute(query).fetchone()[0]
    return number


def _size(path: Path) -> int:
    files = (path, beside(path, "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _holder(path: Path) -> str | None:
    try:
        return holder_of(path)
    except OSError:
        return ""
