"""Read the files of a configuration: regular files only, of limited size, each once in a look."""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from presenced.settings.problems import Kind, Problem, SettingsError

_MAX_BYTES = 1024 * 1024
_KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}

Digests = Mapping[Path, bytes]
"""What differs if a file has changed: a digest of its content, or why it cannot be read."""


class _Unreadable(NamedTuple):
    message: str
    remedy: str = ""
    kind: Kind = "unreadable"


class FileSnapshot:
    """The contents of files at one look: each file is read once, however many checks use it.

    `reading` is the file that is being read, for a message if that does not end.
    """

    def __init__(self) -> None:
        self.reading: Path | None = None
        self._contents: dict[Path, bytes | _Unreadable] = {}

    @property
    def digests(self) -> Digests:
        """The digest of each file that was looked at."""
        return {path: self.digest(path) for path in self._contents}

    def digest(self, path: Path) -> bytes:
        """Return the digest of a file, also if it cannot be read."""
        content = self._content(path)
        if isinstance(content, _Unreadable):
            return content.message.encode()
        return hashlib.sha256(content).digest()

    def read(self, path: Path, key: str = "") -> bytes:
        """Return the content of the file that a key names, or of the configuration file itself.

        Raises SettingsError.
        """
        content = self._content(path)
        if not isinstance(content, _Unreadable):
            return content
        remedy = content.remedy
        if content.kind == "missing" and key:
            remedy = f"Put the file there, or correct {key}"
        problem = Problem(
            key=key,
            value=str(path) if key else None,
            origin=None if key else str(path),
            message=content.message,
            remedy=remedy,
            kind=content.kind,
        )
        raise SettingsError([problem])

    def _content(self, path: Path) -> bytes | _Unreadable:
        if path not in self._contents:
            self.reading = path
            self._contents[path] = _read(path)
            self.reading = None
        return self._contents[path]


def _read(path: Path) -> bytes | _Unreadable:
    try:
        # Before it is opened: opening a FIFO may block, and opening a device may have effects.
        if unusable := _unusable(path.stat().st_mode):
            return unusable
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            # A FIFO may have taken its place meanwhile, which O_NONBLOCK opens at once.
            unusable = _unusable(os.fstat(file.fileno()).st_mode)
            content = b"" if unusable else file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        there = path.parent.exists()
        message = "no such file" + ("" if there else f", and no directory {path.parent}")
        return _Unreadable(message, kind="missing")
    except PermissionError:
        remedy = "Check the owner and mode of the file and of its directories"
        return _Unreadable("may not be read by this user", remedy)
    except OSError as error:
        return _Unreadable(f"cannot be read: {error.strerror}")
    if len(content) > _MAX_BYTES:
        return _Unreadable("is larger than 1 MiB", "Check that it is the right file")
    return unusable or content


def _unusable(mode: int) -> _Unreadable | None:
    """Return why a file of this mode is not read; None if it is a regular file."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return _Unreadable("is a directory", "Name the file in it")
    what = _KINDS.get(stat.S_IFMT(mode), "something else")
    return _Unreadable(f"is {what}, not a regular file", "Put a regular file in its place")
