"""The state file: opened by one process alone, read, written, and moved aside when damaged."""

import contextlib
import operator
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from presenced.store.changes import Changes, drop_needless_deletions, write_changes
from presenced.store.errors import (
    StateDamagedError,
    StateError,
    StateUnusableError,
    cause_of,
    state_errors,
)
from presenced.store.format import migrate
from presenced.store.lock import StateLock, beside
from presenced.store.schema import TABLES

_ROWS_AT_ONCE = 2_000
_BUSY_TIMEOUT = 5.0
# "Database file format" of SQLite, section 1.3: with a higher write version a file is read-only.
_HEADER_SIZE, _WRITE_VERSION, _WRITE_VERSION_WAL = 100, 18, 2
# A commit is on the disk when it returns (FULL: the write-ahead log is synced), because messages
# are acknowledged after it. Checkpoints at 16 MB, not SQLite's 4: rows that change again and again
# are then copied into the file less often. A log that outgrew that is truncated.
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    f"journal_size_limit = {32 << 20}",
    "cache_size = -8000",
    "temp_store = MEMORY",
)

R = TypeVar("R", bound=tuple[Any, ...])


def default_path(environ: Mapping[str, str]) -> Path | None:
    """Return the state file in systemd's state directory, for a `state.path` of null.

    systemd sets STATE_DIRECTORY to the directories of `StateDirectory=`, joined by colons
    (systemd.exec(5)); the first one counts. None if it is not set.
    """
    directory = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(directory, "presenced.db") if directory else None


class StateFile:
    """A state file that this process alone may write.

    Methods may be called from any thread, but from one at a time.
    """

    def __init__(
        self, path: Path, lock: StateLock, restore: Callable[["StateFile"], object]
    ) -> None:
        self.path = path
        self._lock = lock
        self._connection = sqlite3.connect(
            path,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            migrate(self._connection, path)
            self._identity = _identity(path)
            # In parallel, because SQLite checks a million rows for a second without the GIL.
            with ThreadPoolExecutor(1) as checks:
                check = checks.submit(_check_pages, path)
                self._restore(restore)
                check.result()
            # Reading the whole file takes memory.
            self._connection.execute("PRAGMA shrink_memory")
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def open(cls, path: Path, restore: Callable[["StateFile"], object] = lambda _: None) -> Self:
        """Open or create a state file, migrate it to the present format, and `restore` from it.

        Raises StateLockedError if another process has it, StateUnusableError if file or directory
        cannot be used as they are now, StateDamagedError if it was damaged, also if `restore`
        fails for what it holds, and has been moved aside, and StateError if another program or a
        newer presenced wrote it.
        """
        with state_errors(path), contextlib.ExitStack() as stack:
            check_place(path)
            was_used = beside(path, ".lock").exists()
            lock = stack.enter_context(contextlib.closing(StateLock.take(path)))
            try:
                with state_errors(path):
                    _check_header(path, was_used=was_used)
                    file = cls(path, lock, restore)
            except StateDamagedError as error:
                error.moved_aside = _move_aside(path)
                raise
            stack.pop_all()
            return file

    def read(self, row_type: type[R]) -> Iterator[R]:
        """Yield all rows of a table; see `read_rows`."""
        return read_rows(self._connection, row_type, self.path)

    def commit(self, changes: Changes) -> int:
        """Write changes in one transaction and return how many rows SQLite refused.

        When it returns, all other rows are on the disk. Raises StateUnusableError, and has then
        changed nothing; its cause is "moved" if the file was removed or replaced.
        """
        if _identity(self.path) != self._identity:
            detail = "it was removed or replaced while presenced ran"
            raise StateUnusableError(self.path, "moved", detail)
        try:
            return write_changes(self._connection, changes)
        except sqlite3.Error as error:
            raise StateUnusableError(self.path, cause_of(error, self.path), error) from error

    def drop_needless_deletions(self, changes: Changes) -> None:
        """Remove deletions of rows that the file does not have. Raises sqlite3.Error."""
        drop_needless_deletions(self._connection, changes)

    def note_reload(self, problems: Sequence[str]) -> None:
        """Tell others, by the lock, what was wrong with a reload. May be called at any time."""
        with contextlib.suppress(OSError, ValueError):  # no room, or closed meanwhile
            self._lock.note_reload(problems)

    def close(self) -> None:
        """Write the log back into the file and release it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.close()

    def _restore(self, restore: Callable[["StateFile"], object]) -> None:
        try:
            restore(self)
        except (StateError, MemoryError):
            raise
        # Another start with the same file would fail as well: nothing but an empty one helps.
        except Exception as error:
            raise StateDamagedError(self.path, repr(error)) from error


def read_rows(connection: sqlite3.Connection, row_type: type[R], path: Path) -> Iterator[R]:
    """Yield all rows of a table in the order of their keys.

    Raises StateDamagedError, and StateUnusableError if the file cannot be read now. A query reads
    2,000 rows at most, so that neither writers nor checkpoints of the log have to wait.
    """
    table = next(table for table in TABLES if table.row is row_type)
    keys, places = ", ".join(table.key), ", ".join("?" * table.key_width)
    select = f"SELECT {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 - our own names
    rest = f"ORDER BY {keys} LIMIT {_ROWS_AT_ONCE}"
    rows_type: Any = list[row_type]  # type: ignore[valid-type]
    key_of = operator.itemgetter(*range(table.key_width))
    last: list[Any] = []
    with state_errors(path):
        values = connection.execute(f"{select} {rest}").fetchall()
        while values:
            try:
                rows: list[R] = msgspec.convert(values, rows_type)
            except msgspec.ValidationError as error:
                raise StateDamagedError(path, f"{table.name}: {error}") from error
            found = [*last, *map(key_of, rows)]
            # A key that is out of order could make the queries go round in circles.
            if not all(map(operator.lt, found, islice(found, 1, None))):
                raise StateDamagedError(path, f"{table.name}: rows are out of order")
            yield from rows
            if len(rows) < _ROWS_AT_ONCE:
                return
            last = found[-1:]
            after = f"{select} WHERE ({keys}) > ({places}) {rest}"
            values = connection.execute(after, rows[-1][: table.key_width]).fetchall()


def check_place(path: Path) -> None:
    """Raise StateUnusableError or OSError if no state file can be at a path."""
    try:
        path.parent.stat()
    except FileNotFoundError as error:
        detail = f"there is no directory {path.parent}"
        remedy = "create it for the user that presenced runs as, or correct state.path"
        raise StateUnusableError(path, "other", detail, remedy) from error
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            detail = "it is a directory" if stat.S_ISDIR(mode) else "it is not a regular file"
            raise StateUnusableError(path, "other", detail, "set state.path to a file")


def _check_header(path: Path, *, was_used: bool) -> None:
    """Raise StateDamagedError for a header with which SQLite opens a file, but does not use it.

    `was_used` is whether presenced has had a file of this path before. Raises OSError.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_SIZE)
    except FileNotFoundError:
        return
    if not header and (was_used or beside(path, "-wal").exists()):
        raise StateDamagedError(path, "it has 0 bytes, and presenced had written more")
    if len(header) == _HEADER_SIZE and header[_WRITE_VERSION] > _WRITE_VERSION_WAL:
        raise StateDamagedError(path, "its header lets SQLite only read it")


def _check_pages(path: Path) -> None:
    """Raise StateDamagedError if a page is damaged, also one that is written before it is read.

    Raises sqlite3.Error if the file cannot be read.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT)) as connection:
        (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise StateDamagedError(path, result)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another one of the same path; None without a file."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _move_aside(path: Path) -> Path:
    """Rename a file and its logs, so that they are neither read again nor lost."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = beside(path, f".corrupt-{stamp}")
    for suffix in ("-wal", "-journal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            beside(path, suffix).rename(beside(aside, suffix))
    return aside
