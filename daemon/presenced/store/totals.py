"""Totals that continue after a restart, as rows of the state file, by the name of their metric."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from presenced.store.changes import Changes
from presenced.store.schema import CounterRow

Labels = tuple[str, ...]


class Total(NamedTuple):
    """A total, or several that differ in label values.

    `read` returns label values, each with its present number. `add` adds the number of an earlier
    process to one of them; it ignores label values that no longer exist.
    """

    name: str
    labels: Labels
    read: Callable[[], Iterable[tuple[Labels, float]]]
    add: Callable[[Labels, float], None]


class Totals:
    """Collects the totals that have changed, and restores them."""

    def __init__(self, totals: Iterable[Total]) -> None:
        self._totals = {each.name: each for each in totals}
        self._written: dict[str, dict[Labels, float]] = {name: {} for name in self._totals}

    def collect(self, changes: Changes) -> None:
        """Add to `changes` each total that has changed since it was last collected."""
        for name, total in self._totals.items():
            written = self._written[name]
            for values, value in total.read():
                if value and written.get(values) != value:
                    written[values] = value
                    labels = dict(sorted(zip(total.labels, values, strict=True)))
                    changes.count(name, msgspec.json.encode(labels).decode(), value)

    def forget_written(self) -> None:
        """Take all totals for changed."""
        for written in self._written.values():
            written.clear()

    def restore(self, rows: Iterable[CounterRow]) -> None:
        """Add stored totals to those counted so far; ignore totals that no longer exist."""
        for row in rows:
            total = self._totals.get(row.name)
            if total is not None and (values := _values(row.labels, total.labels)) is not None:
                self._written[row.name][values] = row.value
                total.add(values, row.value)


def _values(text: str, labels: Labels) -> Labels | None:
    """Return the label values of a row, None if they are not those of the total's labels."""
    try:
        stored = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        return None
    return tuple(stored[label] for label in labels) if stored.keys() == set(labels) else None
