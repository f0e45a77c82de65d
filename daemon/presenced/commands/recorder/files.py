"""The files of a recording: numbered, never overwritten, whole lines only."""

import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from presenced.commands.output import CommandError


class RecordingError(CommandError):
    """The recording cannot be written."""


class RecordingFiles:
    """The files of one recording: `path`, then `path.0002`, `path.0003`, and so on.

    A line that would make a file larger than `max_size` bytes begins the next file; only a single
    line may be larger. Only the owner can read the files: messages contain client IDs and
    addresses. Raises RecordingError if one of the files exists or cannot be created.
    """

    def __init__(self, path: Path, max_size: int) -> None:
        self.count = 0
        self.total = 0
        self._path = path
        self._max_size = max_size
        self._descriptor = -1
        self._refuse_existing()
        self._open_next()

    def write(self, lines: Iterable[bytes]) -> None:
        """Pass lines to the operating system.

        Raises RecordingError; the last file then still ends with a whole line.
        """
        pending: list[bytes] = []
        size = self._size
        for line in lines:
            if size and size + len(line) > self._max_size:
                self._append(pending)
                self.close()
                self._open_next()
                pending, size = [], 0
            pending.append(line)
            size += len(line)
        self._append(pending)

    def close(self) -> None:
        """Flush the file to the disk and close it. Raises RecordingError."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            os.close(descriptor)

    def _append(self, lines: list[bytes]) -> None:
        rest = memoryview(b"".join(lines))
        length = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._failure(error) from error
        self._size += length
        self.total += length

    def _open_next(self) -> None:
        number = self.count + 1
        suffix = "" if number == 1 else f".{number:04}"
        self._file = Path(f"{self._path}{suffix}")
        self._size = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._file, flags, 0o600)
            _sync_directory(self._file.parent)
        except OSError as error:
            raise self._failure(error) from error
        self.count += 1

    def _refuse_existing(self) -> None:
        """Raise RecordingError if any file would look like a part of this recording."""
        part = re.compile(re.escape(self._path.name) + r"(\.\d+)?")
        try:
            taken = [each for each in self._path.parent.iterdir() if part.fullmatch(each.name)]
        except OSError as error:
            raise RecordingError(
                f"cannot write into {self._path.parent}: {error.strerror}"
            ) from error
        if taken:
            raise RecordingError(
                f"{min(taken)} exists already, and nothing is overwritten: choose another name, or"
                " move it away"
            )

    def _failure(self, error: OSError) -> RecordingError:
        what = f"cannot write {self._file}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            kept = f"the first {self.total:,} bytes of the recording are kept"
            return RecordingError(f"{what}; {kept}. Free some space, or record to another disk")
        if isinstance(error, PermissionError):
            what += "; record into a directory that this user can write to"
        return RecordingError(what)


def _sync_directory(path: Path) -> None:
    """Flush the names of the files in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
