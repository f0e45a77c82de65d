"""What a deadline costs where a million are pending, against ten thousand."""

import gc
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from benchmarks.figures import Bench, Figure, take_turns
from presenced.presence.deadlines import Deadlines

FEW, MANY = 10_000, 1_000_000
DELAYS = (5.0, 5.0, 5.0, 30.0)
"""One reason in four has a longer delay."""
SPREAD = 5.0


class Item:
    """What can have a deadline."""

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline: float | None = None


class Due(NamedTuple):
    """When a deadline is due, and how far ahead that was told to be, if it was."""

    when: float
    ahead: float | None


Measured = Callable[[Deadlines[Item], list[Item], list[Due]], float]


def measure(bench: Bench) -> list[Figure]:
    """Microseconds for each that is scheduled, cancelled, fired.

    In turn, as the daemon has them: each a delay after its event, and the events in the order of
    time. Out of turn, as it has those of another process: due in random order.
    """
    figures = []
    for order, dues in (("in turn", _in_turn), ("out of turn", _out_of_turn)):
        for what, times in (("scheduled", _schedule), ("cancelled", _cancel), ("fired", _fire)):
            subjects = {str(many): _timed(times, dues, many) for many in (FEW, MANY)}
            results = take_turns(bench.runs, subjects)
            figures.append(
                Figure(
                    f"a deadline of {MANY:,} {order} {what}",
                    "µs",
                    results[str(MANY)],
                    f"of {FEW:,}",
                    results[str(FEW)],
                )
            )
    return figures


def _in_turn(many: int) -> list[Due]:
    delays = [DELAYS[number % len(DELAYS)] for number in range(many)]
    return [Due(number / many * SPREAD + delay, delay) for number, delay in enumerate(delays)]


def _out_of_turn(many: int) -> list[Due]:
    random = Random(1)
    return [Due(random.random() * SPREAD, None) for _ in range(many)]


def _timed(times: Measured, dues: Callable[[int], list[Due]], many: int) -> Callable[[], float]:
    """Microseconds a piece; few are done again and again, until as many were done."""

    def measure() -> float:
        rounds = MANY // many
        taken = 0.0
        for _ in range(rounds):
            items = [Item() for _ in range(many)]
            due = dues(many)
            gc.collect()
            taken += times(Deadlines(), items, due)
        return taken / (rounds * many) * 1e6

    return measure


def _schedule(deadlines: Deadlines[Item], items: list[Item], dues: list[Due]) -> float:
    began = time.perf_counter()
    for item, (when, ahead) in zip(items, dues, strict=True):
        deadlines.schedule(when, item, ahead=ahead)
    return time.perf_counter() - began


def _cancel(deadlines: Deadlines[Item], items: list[Item], dues: list[Due]) -> float:
    _schedule(deadlines, items, dues)
    began = time.perf_counter()
    for item in items:
        deadlines.cancel(item)
    took = time.perf_counter() - began
    if deadlines.next is not None:
        raise SystemExit("a deadline is left that was cancelled")
    return took


def _fire(deadlines: Deadlines[Item], items: list[Item], dues: list[Due]) -> float:
    _schedule(deadlines, items, dues)
    began = time.perf_counter()
    fired = sum(1 for _ in deadlines.due(SPREAD + max(DELAYS)))
    took = time.perf_counter() - began
    if fired != len(items):
        raise SystemExit(f"{fired} of {len(items)} deadlines fired")
    return took
