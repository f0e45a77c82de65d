"""What can be wrong with the state file: the cause in one word, and what to do about it."""

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

REMEDIES = {
    "full": "make room on the disk, or set state.path to a file on another disk",
    "read_only": "let the user that presenced runs as write the file and its directory, on a file "
    "system that is mounted for writing",
    "io": "look for disk errors in the kernel's log",
    "locked": "end the program that keeps the file open for writing",
    "corrupt": "restart presenced, which moves the file aside and starts without its former state",
    "moved": "move it back, or restart presenced, which then starts without its former state",
    "other": "report it with this message",
}
"""What to do, by the cause for which the file cannot be opened or written."""

_CODES = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_CANTOPEN: "io",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    # All statements are right for our tables: these are of a file that has others, or a header that
    # SQLite does not know.
    sqlite3.SQLITE_ERROR: "corrupt",
    sqlite3.SQLITE_FORMAT: "corrupt",
    sqlite3.SQLITE_MISMATCH: "corrupt",
    sqlite3.SQLITE_TOOBIG: "corrupt",
}
_WRONG_PATH = "correct the path of the state file (state.path)"
_ERRNO_REMEDIES = {
    errno.ELOOP: f"{_WRONG_PATH}: its symbolic links form a loop, or its lock is a link",
    errno.ENAMETOOLONG: f"{_WRONG_PATH}: make it shorter",
    errno.ENOTDIR: f"{_WRONG_PATH}: a part of it before the last is a file",
    errno.ENOENT: f"{_WRONG_PATH}, or create its directory",
    errno.EISDIR: "remove the directory that is in the place of the file or of its lock",
    errno.EMFILE: "raise the limit of open files of the process",
    errno.ENFILE: "raise the limit of open files of the machine",
    errno.ENOLCK: "set state.path to a file on a local disk",
    errno.EBUSY: "mount its directory, not the file alone",
}
"""What to do about errors of the system that no cause of its own describes."""

_ERRNOS = dict.fromkeys(_ERRNO_REMEDIES, "other") | {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
}


class StateError(Exception):
    """The state file cannot be used; the message says what to do."""


class StateDamagedError(StateError):
    """The content of the file is damaged; `moved_aside` is where the file is now, if moved."""

    def __init__(self, path: object, detail: object) -> None:
        self.moved_aside: Path | None = None
        self.detail = str(detail)
        super().__init__(
            f"the state file {path} is damaged ({detail}): presenced moves it aside at its next "
            "start, and starts without its former state"
        )


class StateUnusableError(StateError):
    """The file cannot be created, opened, read or written now, but perhaps later.

    `cause` is a key of REMEDIES.
    """

    def __init__(self, path: object, cause: str, detail: object, remedy: str = "") -> None:
        self.cause = cause
        self.detail = str(detail)
        self.remedy = remedy or REMEDIES[cause]
        super().__init__(f"the state file {path} cannot be used: {detail}; {self.remedy}")


class StateLockedError(StateError):
    """Another presenced has the file, so this one must not run with it, whatever `on_error` is."""

    def __init__(self, path: object, holder: str) -> None:
        by = f" (process {holder})" if holder else ""
        super().__init__(
            f"the state file {path} is in use by another presenced{by}: stop that one, or give"
            " each presenced a state.path of its own"
        )


def cause_of(error: sqlite3.Error | OSError, path: Path) -> str:
    """Return why a file could not be opened, read or written, as a key of REMEDIES."""
    if isinstance(error, OSError):
        cause = _ERRNOS.get(error.errno or 0, "io")
    elif (code := getattr(error, "sqlite_errorcode", None)) is not None:
        # The upper bits of the code are more specific than is needed here.
        cause = _CODES.get(code & 0xFF, "other")
    else:
        # The sqlite3 module itself reports text that is not UTF-8, without a code.
        cause = "corrupt" if "decode" in str(error) else "other"
    if cause == "io":
        # SQLite reports an I/O error if there is no room for its shared memory, and a file that it
        # cannot open if permissions deny it.
        with suppress(OSError):
            if os.statvfs(path.parent).f_bavail == 0:
                return "full"
        if os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.W_OK):
            return "read_only"
    return cause


@contextmanager
def state_errors(path: Path, remedies: Mapping[str, str] = REMEDIES) -> Iterator[None]:
    """Raise StateDamagedError or StateUnusableError for errors of SQLite and the system."""
    try:
        yield
    except UnicodeDecodeError as error:  # a message of SQLite that quotes what it has read
        raise StateDamagedError(path, error) from error
    except (sqlite3.Error, OSError) as error:
        cause = cause_of(error, path)
        if cause == "corrupt":
            raise StateDamagedError(path, error) from error
        detail, remedy = str(error), remedies[cause]
        if isinstance(error, OSError):
            detail = error.strerror or detail
            remedy = _ERRNO_REMEDIES.get(error.errno or 0, remedy)
        raise StateUnusableError(path, cause, detail, remedy) from error
