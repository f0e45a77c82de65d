"""One daemon per state file: an advisory lock on a file beside it."""

import fcntl
import os
import time
from pathlib import Path

from presenced.state.errors import StateLockedError

__all__ = ["Lock", "beside", "holder_of"]

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
