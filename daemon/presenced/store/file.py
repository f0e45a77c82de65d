"""The state file: opened, read, written, and moved aside when it is damaged.

One daemon per state file: an advisory lock on a file beside it.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from presenced.store import changes as apply
from presenced.store.changes import Changes
from presenced.store.errors import (
    StateDamagedError,
    StateLockedError,
    StateMovedError,
    StateUnusableError,
    cause_of,
    is_damage,
)
from presenced.store.schema import TABLES, ForgetRow, Row, migrate

_LONGEST_PID = 20
_PATIENCE = 1.0
_PAUSE = 0.05


def beside(path: Path, suffix: str) -> Path:
    """The path of a file that belongs to another one: the same name with a suffix.

    It lies where the file itself does, as SQLite has it, also where `path` is a symbolic link.
    """
    real = path.resolve() if path.is_symlink() else path
    return real.with_name(real.name + suffix)


class Lock:
    """The exclusive right to write a state file, held until it is closed or the process ends.

    The lock lies on a file of its own, `<path>.lock`, so that SQLite's own locks, and whoever only
    reads, are left alone. That file stays: removing it could give two processes a lock each.
    Raises StateLockedError where another one holds it for longer than a command would, up to a
    second, and OSError where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = _open(path)
        try:
            self._take(path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Let others have the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, path: Path) -> None:
        patience = time.monotonic() + _PATIENCE
        while not _locked(self._descriptor):
            if time.monotonic() >= patience:
                raise StateLockedError(path, _holder(self._descriptor))
            time.sleep(_PAUSE)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, b"%d\n" % os.getpid())


def holder_of(path: Path) -> str | None:
    """The process that has a state file, as a number; None where nobody has it.

    It is empty where that is not to be found out. Raises OSError.
    """
    try:
        descriptor = os.open(beside(path, ".lock"), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(descriptor) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Take the lock, unless another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, _LONGEST_PID, 0).decode("ascii", "replace").strip()


def _open(path: Path) -> int:
    lock = beside(path, ".lock")
    # Root may run a command in a directory where the service's user makes the files: no links are
    # followed, and nothing is given away that was there before.
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        descriptor = os.open(lock, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(lock, flags)
    if os.geteuid() == 0:
        # The service's user must get at the lock later on.
        owner = (path if path.exists() else path.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


_CHUNK = 2_000
_BUSY = 5.0
# A commit is on the disk when it returns (FULL: the write-ahead log is synced), because messages
# are acknowledged upon it. Checkpoints at 16 MB, not SQLite's 4: rows that change again and again
# are then copied into the file less often. A log that outgrew that is cut back.
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    f"journal_size_limit = {32 << 20}",
    "cache_size = -8000",
    "temp_store = MEMORY",
)


R = TypeVar("R", bound=Row)


def default_path(environ: Mapping[str, str]) -> Path | None:
    """Where the state file is when `state.path` is null: in systemd's state directory, if any.

    systemd sets STATE_DIRECTORY to the directories of `StateDirectory=`, joined by colons
    (systemd.exec(5)); the first one counts.
    """
    directory = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(directory, "presenced.db") if directory else None


class StateFile:
    """A state file that this process alone may write.

    `moved_aside` is where the file that was there before has gone because it was damaged, None
    where it was sound or there was none. Methods may be called from any thread, but from one at
    a time.
    """

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self.moved_aside: Path | None = None
        self._lock = lock
        self._connection = _connect(path)
        self._identity = _identity(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a state file, or make it, and bring it to the present version.

        A damaged one is moved aside. Raises StateLockedError where another process has it,
        StateNewerError and StateForeignError where it is not for this version to touch, and
        StateUnusableError where file or directory cannot be used as they are now.
        """
        if not path.parent.is_dir():
            remedy = "make that directory, for the user that presenced runs as, or mend state.path"
            raise StateUnusableError(path, "other", f"there is no directory {path.parent}", remedy)
        if path.is_dir():
            raise StateUnusableError(path, "other", "it is a directory", "set state.path to a file")
        try:
            lock = Lock(path)
        except OSError as error:
            raise StateUnusableError(path, cause_of(error, path), error.strerror) from error
        try:
            return cls._open_locked(path, lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def _open_locked(cls, path: Path, lock: Lock) -> Self:
        try:
            try:
                return cls(path, lock)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
            aside = _move_aside(path)
            file = cls(path, lock)
        except sqlite3.Error as error:
            raise StateUnusableError(path, cause_of(error, path), error) from error
        except OSError as error:
            raise StateUnusableError(path, cause_of(error, path), error.strerror) from error
        file.moved_aside = aside
        return file

    def read(self, row_type: type[R]) -> Iterator[list[R]]:
        """All rows of a table, in the order of their keys, in lists of up to 2,000.

        Raises StateDamagedError where the file's content cannot be read; then `start_over`.
        """
        yield from read_rows(self._connection, row_type, self.path)

    def release_memory(self) -> None:
        """Give back the memory that reading the whole file has taken."""
        self._connection.execute("PRAGMA shrink_memory")

    def forget_requests(self, after: int) -> list[ForgetRow]:
        """The requests to forget clients with an `id` above `after`. Raises sqlite3.Error."""
        rows = self._connection.execute(
            "SELECT id, client_id, requested FROM forget_requests WHERE id > ? ORDER BY id",
            (after,),
        )
        return [ForgetRow._make(row) for row in rows]

    def commit(self, changes: Changes) -> int:
        """Write changes in one transaction; how many rows were left out because of their values.

        Those are values that SQLite does not take; the rest is written. When it returns, what is
        written outlives a power cut. Raises sqlite3.Error, and StateMovedError where the file is
        not in its place any more; then nothing has changed.
        """
        if _identity(self.path) != self._identity:
            raise StateMovedError(self.path)
        return apply.commit(self._connection, changes)

    def drop_needless(self, changes: Changes) -> None:
        """Leave out deletions of rows that the file does not have. Raises sqlite3.Error."""
        apply.drop_needless(self._connection, changes)

    def start_over(self) -> Path:
        """Move the damaged file aside and begin with an empty one; where the old one is now.

        Raises StateUnusableError where that cannot be done.
        """
        self._connection.close()
        try:
            self.moved_aside = _move_aside(self.path)
            self._connection = _connect(self.path)
            self._identity = _identity(self.path)
        except (sqlite3.Error, OSError) as error:
            raise StateUnusableError(self.path, cause_of(error, self.path), error) from error
        return self.moved_aside

    def close(self) -> None:
        """Write the log back into the file and let others have it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.close()


def read_rows(connection: sqlite3.Connection, row_type: type[R], path: Path) -> Iterator[list[R]]:
    """As `StateFile.read`, from any connection.

    Each list is read by itself, so that nobody is kept from writing, nor the log from being cut.
    """
    table = next(table for table in TABLES if table.row is row_type)
    make: Callable[[Any], R] = row_type._make  # type: ignore[assignment]
    keys, places = ", ".join(table.key), ", ".join("?" * table.key_width)
    columns = ", ".join(table.columns)
    select = f"SELECT {columns} FROM {table.name}"  # noqa: S608 - our own names
    rest = f"ORDER BY {keys} LIMIT {_CHUNK}"
    try:
        rows = connection.execute(f"{select} {rest}").fetchall()
        while rows:
            yield list(map(make, rows))
            last = rows[-1][: table.key_width]
            after = f"{select} WHERE ({keys}) > ({places}) {rest}"
            rows = connection.execute(after, last).fetchall() if len(rows) == _CHUNK else []
    except sqlite3.Error as error:
        if is_damage(error):
            raise StateDamagedError(path, error) from error
        raise StateUnusableError(path, cause_of(error, path), error) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same path; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _move_aside(path: Path) -> Path:
    """Rename a file and its log, so that nothing of them is read again, or lost."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = beside(path, f".corrupt-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            beside(path, suffix).rename(beside(aside, suffix))
    return aside
