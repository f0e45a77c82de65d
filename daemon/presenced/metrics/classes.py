"""How many clients there are in each class of client IDs."""

import re
from collections.abc import Iterator

from presenced.metrics.metric import is_long
from presenced.presence import Client, State

_OTHER = "other"


class ClassCounts:
    """How many clients of each class are in each state, updated with every change.

    The class of a client is the text that the named groups of `pattern` match in its client ID; a
    client that does not match has no class. At most `limit` classes are counted, each with texts of
    up to 128 bytes, so that client IDs cannot fill the memory. All clients of further classes count
    in one more class, in which each group is `other`.
    """

    def __init__(self, pattern: re.Pattern[str] | None = None, *, limit: int = 1000) -> None:
        self._pattern = pattern
        self._limit = limit
        self._classes: dict[tuple[str, ...], dict[State, int]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the groups, in the order of the pattern."""
        return tuple(self._pattern.groupindex) if self._pattern else ()

    def count(self, client: Client, state: State, change: int) -> None:
        """Count that a client entered (1) or left (-1) a state."""
        groups = self._match(client.client_id)
        if groups is None:
            return
        is_full = len(self._classes) >= self._limit and groups not in self._classes
        if is_full or any(map(is_long, groups)):
            groups = (_OTHER,) * len(groups)
        self._classes.setdefault(groups, dict.fromkeys(State, 0))[state] += change

    def values(self, client_id: str) -> tuple[str, ...]:
        """Return the texts of the groups in a client ID, empty ones if it does not match."""
        return self._match(client_id) or ("",) * len(self.labels)

    def _match(self, client_id: str) -> tuple[str, ...] | None:
        match = self._pattern.search(client_id) if self._pattern else None
        return tuple(value or "" for value in match.groupdict().values()) if match else None

    def samples(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield label values, the groups and then the state, each with the number of clients."""
        for groups, states in self._classes.items():
            for state, count in states.items():
                yield (*groups, state.value), count
