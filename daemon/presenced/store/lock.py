"""The lock of a state file: one process writes it, and others can tell which one.

It is an advisory lock on a file of its own, `<path>.lock`, which does not affect SQLite's own locks
and programs that only read. That file stays: removing it could give two processes a lock each. It
holds the number of the process, and the result of its last reload.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Self

import msgspec

from presenced.store.errors import StateLockedError

_TIMEOUT, _INTERVAL = 1.0, 0.05


class Reload(msgspec.Struct):
    """The last reload of a daemon: its number, and what was wrong with the configuration."""

    number: int = 0
    problems: list[str] = []


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to another one: the same name with a suffix.

    Of a symbolic link, it is beside the target, as SQLite's own files are.
    """
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    return real.with_name(real.name + suffix)


class StateLock:
    """The exclusive right to write a state file, until `close` or the end of the process."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._reloads = 0
        self._write("")

    @classmethod
    def take(cls, path: Path) -> Self:
        """Take the lock.

        Raises StateLockedError if another process holds it for a second, which is longer than a
        command does, and OSError if the file cannot be created.
        """
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(_open(path))
            deadline = time.monotonic() + _TIMEOUT
            while not _try_lock(file):
                if time.monotonic() >= deadline:
                    number = _lines(file)[0]
                    raise StateLockedError(path, number)
                time.sleep(_INTERVAL)
            lock = cls(file)
            stack.pop_all()
            return lock

    def note_reload(self, problems: Sequence[str]) -> None:
        """Tell others the result of a reload: what was wrong. Raises OSError."""
        self._reloads += 1
        self._write(msgspec.json.encode(Reload(self._reloads, list(problems))).decode())

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _write(self, reload: str) -> None:
        text = f"{os.getpid()}\n{reload}\n".encode()
        os.pwrite(self._file.fileno(), text, 0)
        self._file.truncate(len(text))


class LockHolder:
    """The process that has a state file, as its lock says; `number` is 0 if it does not."""

    def __init__(self, path: Path, number: str) -> None:
        self._lock = beside(path, ".lock")
        self.number = int(number) if number.isdecimal() else 0

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the holder of a state file, None if no process has it. Raises OSError."""
        try:
            with FileIO(beside(path, ".lock")) as file:
                return None if _try_lock(file) else cls(path, _lines(file)[0])
        except FileNotFoundError:
            return None

    @property
    def is_confirmed(self) -> bool:
        """Whether the process of this number has the lock open, as numbers are used again.

        Raises OSError if there is no such process, or if this user may not know.
        """
        ours = self._lock.stat()
        for descriptor in Path(f"/proc/{self.number}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                found = descriptor.stat()
                if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                    return True
        return False

    @property
    def last_reload(self) -> Reload:
        """The last reload of the process; number 0 before the first. Raises OSError."""
        with FileIO(self._lock) as file:
            try:
                return msgspec.json.decode(_lines(file)[1], type=Reload)
            except msgspec.MsgspecError:
                return Reload()


def _open(path: Path) -> FileIO:
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


def _try_lock(file: FileIO) -> bool:
    """Take the lock and return True, unless another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lines(file: FileIO) -> tuple[str, str]:
    """Return the number of the process that took a lock last, and its last reload."""
    text = os.pread(file.fileno(), 1 << 20, 0).decode("utf-8", "replace")
    number, _, reload = text.partition("\n")
    return number.strip(), reload
