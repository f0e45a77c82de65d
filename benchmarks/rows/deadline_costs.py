"""What a deadline costs where a million are pending, against ten thousand."""

import gc
import time
from collections.abc import Callable
from random import Random

from benchmarks.figures import Bench, Figure, take_turns
from presenced.presence.deadlines import Deadlines

FEW, MANY = 10_000, 1_000_000
DELAY = 5.0


class Item:
    """What can have a deadline."""

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline: float | None = None


Measured = Callable[[Deadlines[Item], list[Item], list[float]], float]


def measure(bench: Bench) -> list[Figure]:
    """Microseconds for each that is scheduled, cancelled, fired; due in random order."""
    figures = []
    for what, times in (("scheduled", _schedule), ("cancelled", _cancel), ("fired", _fire)):
        results = take_turns(bench.runs, {str(many): _timed(times, many) for many in (FEW, MANY)})
        figures.append(
            Figure(
                f"a deadline of {MANY:,} {what}",
                "µs",
                results[str(MANY)],
                f"of {FEW:,}",
                results[str(FEW)],
            )
        )
    return figures


def _timed(times: Measured, many: int) -> Callable[[], float]:
    """Microseconds a piece; few are done again and again, until as many were done."""

    def measure() -> float:
        random = Random(1)
        rounds = MANY // many
        taken = 0.0
        for _ in range(rounds):
            items = [Item() for _ in range(many)]
            whens = [random.random() * DELAY for _ in items]
            gc.collect()
            taken += times(Deadlines(), items, whens)
        return taken / (rounds * many) * 1e6

    return measure


def _schedule(deadlines: Deadlines[Item], items: list[Item], whens: list[float]) -> float:
    began = time.perf_counter()
    for item, when in zip(items, whens, strict=True):
        deadlines.schedule(when, item)
    return time.perf_counter() - began


def _cancel(deadlines: Deadlines[Item], items: list[Item], whens: list[float]) -> float:
    _schedule(deadlines, items, whens)
    began = time.perf_counter()
    for item in items:
        deadlines.cancel(item)
    took = time.perf_counter() - began
    if deadlines.next is not None:
        raise SystemExit("a deadline is left that was cancelled")
    return took


def _fire(deadlines: Deadlines[Item], items: list[Item], whens: list[float]) -> float:
    _schedule(deadlines, items, whens)
    began = time.perf_counter()
    fired = sum(1 for _ in deadlines.due(DELAY))
    took = time.perf_counter() - began
    if fired != len(items):
        raise SystemExit(f"{fired} of {len(items)} deadlines fired")
    return took
