"""What was measured, and what it is compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Bench", "Figure", "take_turns"]


@dataclass(frozen=True, slots=True)
class Bench:
    """How often everything is measured, and where files may be put."""

    runs: int
    directory: Path


@dataclass(frozen=True, slots=True)
class Figure:
    """Measurements of one thing, and of what it is compared with.

    `more_is_better` tells a rate from a duration, so that `ratio` is how many times better it is.
    `at_least` bounds the ratio, `at_most` the value itself.
    """

    what: str
    unit: str
    runs: Sequence[float]
    against: str = ""
    against_runs: Sequence[float] = ()
    more_is_better: bool = False
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return median(self.runs)

    @property
    def reference(self) -> float | None:
        """The median of what it is compared with."""
        return median(self.against_runs) if self.against_runs else None

    @property
    def ratio(self) -> float | None:
        """How many times better it is than what it is compared with."""
        if not self.reference or not self.value:
            return None
        ratio = self.value / self.reference
        return ratio if self.more_is_better else 1 / ratio

    @property
    def met(self) -> bool | None:
        """Whether it is as good as it must be; None where nothing is demanded."""
        if self.at_least is not None and self.ratio is not None:
            return self.ratio >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            **asdict(self),
            "median": self.value,
            "against_median": self.reference,
            "ratio": self.ratio,
            "met": self.met,
        }


def take_turns(runs: int, subjects: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each so many times, one after the other in each round."""
    results: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(runs):
        for name, measure in subjects.items():
            results[name].append(measure())
    return results
