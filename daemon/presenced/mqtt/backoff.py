"""How long to wait before trying again."""

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential back-off with full jitter: each wait is uniform between 0 and a growing bound.

    The bound starts at `minimum` seconds, doubles, and ends at `maximum`. Full jitter spreads the
    daemons that lost one broker over time ("Exponential Backoff And Jitter", AWS Architecture
    Blog); awscrt does the same in its default mode.
    """

    def __init__(
        self,
        minimum: float,
        maximum: float,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._uniform = uniform
        self._bound = minimum

    def next(self) -> float:
        """The next wait in seconds."""
        wait = self._uniform(0.0, min(self._bound, self._maximum))
        self._bound = min(self._bound * 2, self._maximum)
        return wait

    def reset(self) -> None:
        """Start again at the minimum."""
        self._bound = self._minimum
