"""What can be wrong with the state file, in words: what happened, to what, what to do."""

import errno
import os
import sqlite3
from pathlib import Path

CAUSES = ("full", "read_only", "io", "locked", "corrupt", "moved", "other")
"""The words for why the file could not be written."""

REMEDIES = {
    "full": "make room on the disk, or set state.path to a file on another one",
    "read_only": "let the user that presenced runs as write the file and its directory, on a file "
    "system that is mounted for writing",
    "io": "look into the kernel's log for errors of the disk",
    "locked": "end the program that has had the file open for writing for so long",
    "corrupt": "stop presenced, move the file aside and start it again: it begins without what it "
    "knew",
    "moved": "move it back, or restart presenced: it then begins without what it knew",
    "other": "report it with this message",
}
"""What to do about each cause."""

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
}
_ERRNOS = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
}


class StateError(Exception):
    """The state file cannot be used; the message tells what to do."""


class StateMissingError(StateError):
    """There is no state file where one is expected."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"there is no state file {path}: presenced makes it at its first start with this "
            "state.path"
        )


class StateNewerError(StateError):
    """A newer presenced wrote the file."""

    def __init__(self, path: object, found: int, known: int) -> None:
        super().__init__(
            f"the state file {path} was written by a newer presenced (its format is {found}, this "
            f"version knows up to {known}): install the newer version again, or move the file "
            "aside to begin without it"
        )


class StateOlderError(StateError):
    """The file has not been brought to this version yet."""

    def __init__(self, path: object, found: int, known: int) -> None:
        super().__init__(
            f"the state file {path} has the older format {found}, this version reads {known}: "
            "start presenced, which brings it up to date"
        )


class StateForeignError(StateError):
    """The file is an SQLite database, but not of presenced."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path} is an SQLite database of another program: set state.path to a file of "
            "presenced's own"
        )


class StateDamagedError(StateError):
    """The file's content cannot be read."""

    def __init__(self, path: object, detail: object) -> None:
        super().__init__(f"the state file {path} is damaged ({detail})")


class StateMovedError(StateError):
    """The file was removed or replaced while it was in use: nobody would find what is written."""

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} was removed or replaced while presenced ran")


class StateUnusableError(StateError):
    """The file cannot be made, opened or read now, but perhaps later; `cause` is of CAUSES."""

    def __init__(self, path: object, cause: str, detail: object, remedy: str = "") -> None:
        self.cause = cause
        self.detail = str(detail)
        self.remedy = remedy or REMEDIES[cause]
        super().__init__(f"the state file {path} cannot be used: {detail}; {self.remedy}")


class StateLockedError(StateUnusableError):
    """Another process has the file."""

    def __init__(self, path: object, holder: str) -> None:
        by = f" (process {holder})" if holder else ""
        super().__init__(
            path,
            "locked",
            f"it is in use by another presenced{by}",
            "stop that one, or set state.path to a file of its own for each",
        )


def cause_of(error: BaseException, path: Path) -> str:
    """The word for why a file could not be opened or written."""
    cause = "other"
    if isinstance(error, StateMovedError):
        cause = "moved"
    elif isinstance(error, sqlite3.Error):
        # The upper bits tell more than is asked for here.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        cause = _CODES.get(code & 0xFF, "other")
    elif isinstance(error, OSError):
        cause = _ERRNOS.get(error.errno or 0, "io")
    if cause == "io":
        # SQLite reports an I/O error where no room is left for its shared memory, and a file that
        # it cannot open where permissions deny it.
        if _no_room(path):
            return "full"
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return "read_only"
    return cause


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error tells that a file's content is not what SQLite, or presenced, wrote."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Text that is not UTF-8 comes from the sqlite3 module, without a code.
        return "decode" in str(error)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _no_room(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False
