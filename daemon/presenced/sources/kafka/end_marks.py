"""Up to which time all events of a partition have been applied: no deadline after it is due yet.

A partition without new events and one with a backlog look alike from the position alone. So its end
is asked for: once the position has reached the end that was read after a moment, everything that
entered before that moment has been applied.
"""

import math
from collections import deque

_MAX_OPEN = 8


class EndMarks:
    """The ends that were asked for, and those that were reached; times are monotonic seconds.

    `reached` is the time up to which everything has been applied, minus infinity before the first.
    `end` is the last end that was read, None before the first.
    """

    def __init__(self) -> None:
        self.reached = -math.inf
        self.end: int | None = None
        self._open: deque[tuple[float, int]] = deque()

    def add(self, asked_at: float, end: int, position: int) -> None:
        """Add the offset of the end, read at some time after `asked_at`.

        Under a backlog a few open ones are kept: the first of them is reached first.
        """
        self.end = end
        if len(self._open) < _MAX_OPEN and not (self._open and asked_at < self._open[-1][0]):
            self._open.append((asked_at, end))
        self.advance(position)

    def advance(self, position: int) -> None:
        """Take note that all events before an offset have been applied."""
        while self._open and self._open[0][1] <= position:
            self.reached = max(self.reached, self._open.popleft()[0])

    def clear(self) -> None:
        """Forget the open ends: offsets have begun anew."""
        self.end = None
        self._open.clear()
