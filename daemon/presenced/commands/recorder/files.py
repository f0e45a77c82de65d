"""The files of a recording: one after the other, never over another one, whole lines only."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_MODE = 0o600  # what arrives tells who is where
_SOONER = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class RecordingError(Exception):
    """The recording cannot be written; the message says why, and what to do."""


class RecordingFiles:
    """The files of one recording: `path`, then `path.0002`, `path.0003`, and so on.

    The next one is begun where a line would make the present one larger than `max_size` bytes; a
    single line may. All are the owner's alone to read. Raises RecordingError where there is a file
    of one of these names already, and where a file cannot be made.
    """

    def __init__(self, path: Path, max_size: int) -> None:
        self.count = 0
        self.total = 0
        self._path = path
        self._max_size = max_size
        self._descriptor = -1
        self._refuse_to_mix()
        self._open()

    def write(self, lines: Iterable[bytes]) -> None:
        """Write lines; they are with the operating system when this returns.

        Raises RecordingError, and then no part of a line stands at the end of the file.
        """
        pending: list[bytes] = []
        size = self._size
        for line in lines:
            if size and size + len(line) > self._max_size:
                self._put(pending)
                self.close()
                self._open()
                pending, size = [], 0
            pending.append(line)
            size += len(line)
        self._put(pending)

    def close(self) -> None:
        """Have all on the disk and close the file. Raises RecordingError."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            os.close(descriptor)

    def _put(self, lines: list[bytes]) -> None:
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

    def _open(self) -> None:
        self._name = self._numbered(self.count + 1)
        self._size = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._name, flags, _MODE)
            _sync_directory(self._name.parent)
        except OSError as error:
            raise self._failure(error) from error
        self.count += 1

    def _numbered(self, number: int) -> Path:
        return self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number:04}")

    def _refuse_to_mix(self) -> None:
        """Refuse names that another recording has, of which later files would be taken for ours."""
        try:
            names = [each.name for each in self._path.parent.iterdir()]
        except OSError as error:
            raise RecordingError(
                f"cannot write into {self._path.parent}: {error.strerror}"
            ) from error
        rest = (name.removeprefix(self._path.name) for name in names if self._taken(name))
        if (first := min(rest, default=None)) is not None:
            raise RecordingError(
                f"{self._path}{first} exists already, and nothing is overwritten: choose another"
                " name, or move it away"
            )

    def _taken(self, name: str) -> bool:
        head, _, number = name.rpartition(".")
        return name == self._path.name or (head == self._path.name and number.isdecimal())

    def _failure(self, error: OSError) -> RecordingError:
        what = f"cannot write {self._name}: {error.strerror}"
        if error.errno in _SOONER:
            kept = f"{self.total:,} bytes of the recording are kept and whole up to there"
            return RecordingError(f"{what}; {kept}. Make room, or record to another disk")
        if isinstance(error, PermissionError):
            what += "; record where this user may write"
        return RecordingError(what)


def _sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
