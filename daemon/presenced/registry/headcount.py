"""How many clients are in which state, by a name that they share."""

from collections.abc import Iterable, Iterator

from presenced.presence import State

__all__ = ["Headcount"]


class Headcount:
    """Counts of clients by name and state, kept up to date with every change."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[State, int]] = {}

    def count(self, name: str, state: State, change: int) -> None:
        """Take into account that clients of this name enter a state, or leave it (negative)."""
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = dict.fromkeys(State, 0)
        counts[state] += change
        if change < 0 and not any(counts.values()):
            del self._counts[name]

    def clear(self) -> None:
        """Begin anew, with nobody counted."""
        self._counts.clear()

    def samples(self, names: Iterable[str]) -> Iterator[tuple[tuple[str, str], int]]:
        """Name, state and how many, for each of these names; those without clients have 0."""
        nobody = dict.fromkeys(State, 0)
        for name in names:
            for state, count in self._counts.get(name, nobody).items():
                yield (name, state.value), count
