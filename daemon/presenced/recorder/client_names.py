"""Pseudonyms of clients, which the daemon leaves out of presence where it left out the client."""

import fnmatch
import re
import string
from collections.abc import Callable, Sequence

from presenced.pipeline import ClientFilter
from presenced.recorder.pseudonyms import Pseudonyms
from presenced.settings import Problem, SettingsError

__all__ = ["ClientNames"]

_KIND = "client"
_KEY = "presence.ignore_clients"
# The first that no pattern matches is taken.
_PREFIXES = ("client-", "device-", "q-", "n_", "X.")
_SAMPLES = 64
_MOST_TRIES = 1000
_BRACKET = re.compile(r"\[!?\]?[^]]*\]")


class ClientNames:
    """Pseudonyms of client IDs and thing names: one room, as a thing is its client by its name.

    The daemon's own client IDs stay as they are, and so do those that a pattern of
    `presence.ignore_clients` spells out. One that matches a pattern becomes another that does, and
    no other becomes one that is left out. Raises SettingsError where patterns do not allow that.
    """

    def __init__(
        self, pseudonyms: Pseudonyms, client_filter: ClientFilter, patterns: Sequence[str]
    ) -> None:
        self._pseudonyms = pseudonyms
        self._why_ignored = client_filter.why_ignored
        self._spelled_out = {each for each in patterns if not set("*?[") & set(each)}
        self._patterns = [
            (re.compile(fnmatch.translate(each)).match, _template(each))
            for each in patterns
            if each not in self._spelled_out
        ]
        self._prefix = self._usable_prefix()

    def __call__(self, name: str) -> str:
        """What stands for a name; an empty one stays so."""
        if not name or name in self._spelled_out:
            return name
        why = self._why_ignored(name)
        if why is None:
            return self._name(self._prefix, name)
        if why == "own_client":
            return name
        digits = self._pseudonyms.digits(_KIND, name)
        return next(fill(digits) for matches, fill in self._patterns if matches(name))

    def _name(self, prefix: str, name: str) -> str:
        candidates = (
            prefix + self._pseudonyms.digits(_KIND, f"{name}{chr(0) * tries}")
            for tries in range(_MOST_TRIES)
        )
        return next(each for each in candidates if self._why_ignored(each) is None)

    def _usable_prefix(self) -> str:
        for prefix in _PREFIXES:
            samples = (prefix + self._pseudonyms.digits("sample", str(n)) for n in range(_SAMPLES))
            if not any(map(self._why_ignored, samples)):
                return prefix
        message = "leaves no name for the clients that it does not match: narrow its patterns"
        raise _refusal(message)


def _template(pattern: str) -> Callable[[str], str]:
    """A function that makes names which match a pattern, of digits."""
    text = _BRACKET.sub(lambda found: _member(found[0]), pattern).replace("?", "0")
    head, star, tail = text.partition("*")
    tail = tail.replace("*", "")

    def fill(digits: str) -> str:
        return head + digits + tail

    if not star or not fnmatch.fnmatchcase(fill("0"), pattern):
        message = "cannot be kept by other names: write * where names differ"
        raise _refusal(message, pattern)
    return fill


def _member(bracket: str) -> str:
    """A character that a bracket of a pattern matches; itself where there is none."""
    printable = string.ascii_letters + string.digits + string.punctuation
    return next(
        (each for each in printable if each not in "*?" and fnmatch.fnmatchcase(each, bracket)),
        bracket,
    )


def _refusal(message: str, value: str | None = None) -> SettingsError:
    return SettingsError([Problem(key=_KEY, message=f"with --anonymize it {message}", value=value)])
