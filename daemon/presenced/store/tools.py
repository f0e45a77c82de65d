"""The actions of `presenced state`, on the file of a running or a stopped daemon."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import msgspec

from presenced.store.errors import (
    REMEDIES,
    StateDamagedError,
    StateError,
    StateLockedError,
    state_errors,
)
from presenced.store.file import check_place, read_rows
from presenced.store.format import VERSION, version_of
from presenced.store.lock import LockHolder, StateLock, beside
from presenced.store.records import Notes, awaited_count
from presenced.store.schema import TABLES, ClientRow, MetaRow, Table

_BUSY_TIMEOUT = 10.0
_REMEDIES = dict.fromkeys(
    REMEDIES, "run this command as root, or as the user that presenced runs as"
) | {cause: REMEDIES[cause] for cause in ("full", "locked")}


_UNVERIFIED = (
    "clients WHERE NOT departed AND state != 'unknown' "
    "AND gaps < (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'gaps')"
)


class Summary(NamedTuple):
    """The content of a file: clients by state, and the number of rows of each other table.

    `size` is in bytes, with the log. `holder` is the process that has the file: None if there is
    none, empty if that cannot be found out.
    """

    size: int
    holder: str | None
    clients: dict[str, int]
    unverified: int
    forgotten: int
    rows: dict[str, int]


class StoredClient(NamedTuple):
    """What a file has of a client; the deadline is by the wall clock as it was set last.

    `is_verified` is False if events of it may have been lost. `awaited` is the number of replaced
    connections whose disconnect may still come.
    """

    row: ClientRow
    is_verified: bool
    awaited: int


class Forgotten(NamedTuple):
    """The clients of a request to forget that the file has, and those that it does not have.

    `asked` is whether a running daemon has been asked to forget them; if not, they are deleted.
    """

    known: list[str]
    unknown: list[str]
    asked: bool


def summary(path: Path) -> Summary:
    """Count the content of a file. Raises StateError."""
    with _connected(path) as connection:
        connection.execute("BEGIN")  # all counts are of one moment
        by_state = "SELECT state, count(*) FROM clients WHERE NOT departed GROUP BY state"
        clients = dict(connection.execute(by_state).fetchall())
        unverified = _count(connection, _UNVERIFIED)
        rows = {table.name: _count(connection, table.name) for table in TABLES}
    forgotten = rows.pop("clients") - sum(clients.values())
    files = (path, beside(path, "-wal"))
    size = sum(file.stat().st_size for file in files if file.exists())
    return Summary(size, _holder(path), clients, unverified, forgotten, rows)


def client(path: Path, client_id: str) -> StoredClient | None:
    """Return what a file has of a client, None if it does not know it. Raises StateError."""
    with _connected(path) as connection:
        row = _client(connection, client_id)
        if row is None:
            return None
        notes = Notes.of(read_rows(connection, MetaRow, path))
        if row.deadline is not None:
            row = row._replace(deadline=row.deadline + notes.clock_set_by)
        is_verified = row.state == "unknown" or row.gaps >= notes.gap_epoch
        return StoredClient(row, is_verified, awaited_count(row))


def forget(path: Path, client_ids: Sequence[str]) -> Forgotten:
    """Delete clients from the file of a stopped daemon, or ask a running one to forget them.

    Raises StateError.
    """
    with _connected(path, writes=True) as connection, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(contextlib.closing(StateLock.take(path)))
            asked = False
        except StateLockedError:
            asked = True
        connection.execute("BEGIN IMMEDIATE")
        names = list(dict.fromkeys(client_ids))
        known = [name for name in names if _client(connection, name)]
        if asked:
            connection.executemany(
                "INSERT INTO forget_requests (client_id, requested) VALUES (?, ?)",
                [(name, time()) for name in known],
            )
        else:
            connection.executemany(
                "DELETE FROM clients WHERE client_id = ?", [(name,) for name in known]
            )
        connection.execute("COMMIT")
    return Forgotten(known, [name for name in names if name not in known], asked)


def export(path: Path) -> Iterator[bytes]:
    """Yield each row as a line of JSON: an object with the `kind` of the row and its columns.

    A running daemon continues to write: each row is as it was at some moment of the export. Raises
    StateError.
    """
    with _connected(path) as connection:
        for table in TABLES:
            for row in read_rows(connection, table.row, path):
                yield _line(table, row)


def _holder(path: Path) -> str | None:
    """Return the number of the process that has a file, as `Summary` has it."""
    try:
        holder = LockHolder.of(path)
    except OSError:
        return ""
    return None if holder is None else str(holder.number or "")


def _count(connection: sqlite3.Connection, rows: str) -> int:
    number: int = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]  # noqa: S608
    return number


def _line(table: Table, row: tuple[Any, ...]) -> bytes:
    record: dict[str, Any] = {"kind": table.name.removesuffix("s")}
    for column, value in zip(table.columns, row, strict=True):
        is_json = column in table.json_columns and value is not None
        record[column] = msgspec.Raw(value.encode()) if is_json else value
    return msgspec.json.encode(record) + b"\n"


@contextlib.contextmanager
def _connected(path: Path, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
    with state_errors(path, _REMEDIES):
        check_place(path)
        if not path.exists():
            raise StateError(
                f"there is no state file {path}: presenced creates it at its first start with this "
                "state.path"
            )
        mode = "mode=rw" if writes else "mode=ro"
        if not (writes or beside(path, "-wal").exists() or os.access(path.parent, os.W_OK)):
            # No process has it open, and SQLite could not create the files that coordinate readers
            # and writers.
            mode = "immutable=1"
        uri = f"{path.absolute().as_uri()}?{mode}"
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None)
        ) as connection:
            if (version := version_of(connection, path)) < VERSION:
                raise StateError(
                    f"the state file {path} has the older format {version}, this version reads "
                    f"{VERSION}: start presenced, which migrates it"
                )
            try:
                yield connection
            except (msgspec.MsgspecError, ValueError) as error:
                raise StateDamagedError(path, error) from error


def _client(connection: sqlite3.Connection, client_id: str) -> ClientRow | None:
    select = f"SELECT {', '.join(ClientRow._fields)} FROM clients WHERE client_id = ?"  # noqa: S608
    try:
        row = connection.execute(select, (client_id,)).fetchone()
    except UnicodeEncodeError:  # client IDs are UTF-8; an argument that is not matches none
        return None
    return None if row is None else msgspec.convert(row, ClientRow)
