"""What can be wrong with the configuration, told so that the reader can mend it.

Reading the files that the settings name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal[
    "setting",
    "missing",
    "unreadable",
    "malformed",
    "encrypted",
    "mismatch",
    "expired",
    "not_yet_valid",
    "exposed",
]
Severity = Literal["error", "warning"]


class InvalidValue(ValueError):  # noqa: N818 -- it names what is wrong, as ValueError does
    """A value that a key cannot have; `nearest` is the right one that it resembles."""

    def __init__(self, message: str, *, nearest: str | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the configuration or with a file that it names.

    `key` is the path of the key (`mqtt.tls.cert`), empty where the whole file is meant. `value`
    is what was written, None for secrets and where it would not help. `nearest` is the known
    key or value that was probably meant. `origin` is where it was written: `FILE:LINE`, the
    name of an environment variable, or a flag. `kind` tells programs what `message` tells
    people: `setting` for the configuration itself, all others for files that it names.
    """

    key: str
    message: str
    value: str | None = None
    nearest: str | None = None
    origin: str | None = None
    severity: Severity = "error"
    kind: Kind = "setting"

    def __str__(self) -> str:
        subject = f"{self.key} = {self.value}" if self.value is not None else self.key
        text = ": ".join(part for part in (self.origin, subject, self.message) if part)
        return f"{text}; did you mean {self.nearest}?" if self.nearest else text


class SettingsError(Exception):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def read_named_file(key: str, path: Path) -> bytes | Problem:
    """The content of the file that a key names, or why there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return Problem(
            key=key, value=str(path), message=f"no such file{_hint(path)}", kind="missing"
        )
    except IsADirectoryError:
        message = "is a directory: name the file in it"
    except PermissionError:
        message = "may not be read by this user: check the owner and mode of file and directories"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    return Problem(key=key, value=str(path), message=message, kind="unreadable")


def _hint(path: Path) -> str:
    try:
        return "" if path.parent.is_dir() else f", nor is there a directory {path.parent}"
    except OSError:
        return ""
