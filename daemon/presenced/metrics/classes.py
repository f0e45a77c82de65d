"""Clients by class: the named groups of `metrics.client_id_pattern`."""

import re
from collections.abc import Iterator

from presenced.presence import Client, State

__all__ = ["ClassCounts"]

_OTHER = "other"


class ClassCounts:
    """How many clients of each class are in each state, kept up to date with every change.

    A client's class is what the named groups of `pattern` hold in its client ID; a client that does
    not match has none. Beyond `most` classes the clients of new ones count in one more, whose
    groups all say `other`, so that client IDs cannot fill the memory.
    """

    def __init__(self, pattern: re.Pattern[str] | None = None, *, most: int = 1000) -> None:
        self._pattern = pattern
        self._most = most
        self._classes: dict[tuple[str, ...], dict[State, int]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the groups, in the order of the pattern."""
        return tuple(self._pattern.groupindex) if self._pattern else ()

    def count(self, client: Client, state: State, change: int) -> None:
        """Take into account that a client entered (1) or left (-1) a state."""
        match = self._pattern.search(client.client_id) if self._pattern else None
        if match is None:
            return
        groups = tuple(value or "" for value in match.groupdict().values())
        if groups not in self._classes and len(self._classes) >= self._most:
            groups = (_OTHER,) * len(groups)
        self._classes.setdefault(groups, dict.fromkeys(State, 0))[state] += change

    def samples(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Label values, of the groups and then the state, and how many clients."""
        for groups, states in self._classes.items():
            for state, count in states.items():
                yield (*groups, state.value), count
