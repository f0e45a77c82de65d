"""The state file: opened by one process alone, read, written, and moved aside when damaged."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Self, TypeVar

from presenced.store.changes import Changes, drop_needless_deletions, write_changes
from presenced.store.errors import (
    StateDamagedError,
    StateLockedError,
    StateUnusableError,
    cause_of,
    state_errors,
)
from presenced.store.schema import TABLES, migrate

_ROWS_AT_ONCE = 2_000
_BUSY_TIMEOUT = 5.0
_LOCK_TIMEOUT, _LOCK_INTERVAL = 1.0, 0.05
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


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to another one: the same name with a suffix.

    Of a symbolic link, it is beside the target, as SQLite's own files are.
    """
    real = path.resolve() if path.is_symlink() else path
    return real.with_name(real.name + suffix)


class StateFile:
    """A state file that this process alone may write.

    Methods may be called from any thread, but from one at a time.
    """

    def __init__(self, path: Path, lock: FileIO, restore: Callable[["StateFile"], object]) -> None:
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
            restore(self)
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
        finds that, and has been moved aside, and StateError if another program or a newer
        presenced wrote it.
        """
        with state_errors(path), contextlib.ExitStack() as stack:
            if not path.parent.is_dir():
                detail = f"there is no directory {path.parent}"
                remedy = "create it for the user that presenced runs as, or correct state.path"
                raise StateUnusableError(path, "other", detail, remedy)
            if path.is_dir():
                remedy = "set state.path to a file"
                raise StateUnusableError(path, "other", "it is a directory", remedy)
            lock = stack.enter_context(take_lock(path))
            try:
                with state_errors(path):
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

    def close(self) -> None:
        """Write the log back into the file and release it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.close()


def read_rows(connection: sqlite3.Connection, row_type: type[R], path: Path) -> Iterator[R]:
    """Yield all rows of a table in the order of their keys.

    Raises StateDamagedError, and StateUnusableError if the file cannot be read now. A query reads
    2,000 rows at most, so that neither writers nor checkpoints of the log have to wait.
    """
    table = next(table for table in TABLES if table.row is row_type)
    make: Callable[[Any], R] = row_type._make  # type: ignore[attr-defined]
    keys, places = ", ".join(table.key), ", ".join("?" * table.key_width)
    select = f"SELECT {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 - our own names
    rest = f"ORDER BY {keys} LIMIT {_ROWS_AT_ONCE}"
    with state_errors(path):
        rows = connection.execute(f"{select} {rest}").fetchall()
        while rows:
            yield from map(make, rows)
            if len(rows) < _ROWS_AT_ONCE:
                return
            last = rows[-1][: table.key_width]
            after = f"{select} WHERE ({keys}) > ({places}) {rest}"
            rows = connection.execute(after, last).fetchall()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another one of the same path; None without a file."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _move_aside(path: Path) -> Path:
    """Rename a file and its log, so that they are neither read again nor lost."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = beside(path, f".corrupt-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            beside(path, suffix).rename(beside(aside, suffix))
    return aside


def take_lock(path: Path) -> FileIO:
    """Take the exclusive right to write a state file, held until it is closed or the process ends.

    It is an advisory lock on a file of its own, `<path>.lock`, which does not affect SQLite's own
    locks and programs that only read. That file stays: removing it could give two processes a lock
    each. Raises StateLockedError if another process holds it for a second, which is longer than a
    command does, and OSError if the file cannot be created.
    """
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(_open_lock_file(path))
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while not _try_lock(lock):
            if time.monotonic() >= deadline:
                raise StateLockedError(path, _holder(lock))
            time.sleep(_LOCK_INTERVAL)
        lock.truncate(0)
        lock.write(b"%d\n" % os.getpid())
        stack.pop_all()
        return lock


def holder_of(path: Path) -> str | None:
    """Return the number of the process that has a state file; None if no process has it.

    It is empty if that cannot be found out. Raises OSError.
    """
    try:
        with FileIO(beside(path, ".lock")) as lock:
            return None if _try_lock(lock) else _holder(lock)
    except FileNotFoundError:
        return None


def _try_lock(lock: FileIO) -> bool:
    """Take the lock and return True, unless another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: FileIO) -> str:
    return os.pread(lock.fileno(), 20, 0).decode("ascii", "replace").strip()


def _open_lock_file(path: Path) -> FileIO:
    lock = beside(path, ".lock")
    # Root may run a command in a directory in which the service's user creates the files: no links
    # are followed, and an existing file keeps its owner.
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        descriptor = os.open(lock, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return FileIO(os.open(lock, flags), "r+")
    if os.geteuid() == 0:
        # The service's user must be able to open the lock later.
        owner = (path if path.exists() else path.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return FileIO(descriptor, "r+")
