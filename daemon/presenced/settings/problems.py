"""What can be wrong with the configuration, and with the files that it names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Kind = Literal[
    "setting",
    "missing",
    "unreadable",
    "malformed",
    "encrypted",
    "mismatch",
    "no_authority",
    "expired",
    "expires_soon",
    "not_yet_valid",
    "exposed",
]
Severity = Literal["error", "warning"]


class InvalidValue(ValueError):  # noqa: N818 -- it names what is wrong, as ValueError does
    """A value that a key cannot have; `nearest` is the valid one that it resembles.

    `key` is the path of the key if it is another one than that which is validated, as in a rule
    about two sections.
    """

    def __init__(self, message: str, *, nearest: str | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the configuration or with a file that it names.

    `key` is the path of the key (`mqtt.tls.cert`), empty for the configuration file itself. `value`
    is what was written, None for secrets and if it would not help. `nearest` is the known key or
    value that was probably meant. `origin` is where it was written: `FILE:LINE`, the name of an
    environment variable, or a flag. `kind` is for programs: `setting` for the configuration itself,
    all others for files that it names.
    """

    key: str
    message: str
    remedy: str = ""
    value: str | None = None
    nearest: str | None = None
    origin: str | None = None
    severity: Severity = "error"
    kind: Kind = "setting"

    @property
    def summary(self) -> str:
        """Where the problem is and what it is, without the remedy."""
        subject = f"{self.key} = {self.value}" if self.value is not None else self.key
        text = ": ".join(part for part in (self.origin, subject, self.message) if part)
        return f"{text}; did you mean {self.nearest}?" if self.nearest else text

    def __str__(self) -> str:
        return f"{self.summary}. {self.remedy}" if self.remedy else self.summary


class SettingsError(Exception):
    """The configuration cannot be used; `problems` is everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


LONGEST_NAME = 128
"""Longer words are compared with no known one, because that takes time."""


def closest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the known word that `word` resembles most; None if it resembles none or is very long.

    Equal words have the likeness 1.
    """
    if len(word) > LONGEST_NAME:
        return None
    return next(iter(get_close_matches(word, known, n=1, cutoff=likeness)), None)
