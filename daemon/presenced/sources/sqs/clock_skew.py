"""How far the clock of this machine is off, by the dates of AWS's answers.

A message is dated by AWS's clock and its deadline runs on that of this machine: with a clock that
is ahead by the offline delay, each client would be offline at once.
"""

from collections import deque
from typing import Any

from presenced.aws.client import Answer
from presenced.system.loop import Clocks

# Dates have whole seconds. A long poll may be dated when it began.
_PROMPT = 1.0
_TOLERANCE = 2.0
_SAMPLES = 20


class ClockSkew:
    """The least lead of this machine's clock over AWS's, by the last prompt answers.

    They are kept by the monotonic clock, so that the lead is right at once when this machine's
    clock is set.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._ahead: deque[float] = deque(maxlen=_SAMPLES)

    def note(self, answer: Answer[Any]) -> None:
        """Compare the clocks by an answer that has just come."""
        if answer.clock_ahead is not None and answer.received - answer.asked <= _PROMPT:
            self._ahead.append(answer.clock_ahead - self._wall_offset)

    @property
    def seconds(self) -> float:
        """How many seconds this machine's clock is ahead, negative if behind; 0 if less than 2."""
        if not self._ahead:
            return 0.0
        ahead = min(self._ahead) + self._wall_offset
        return ahead if abs(ahead) >= _TOLERANCE else 0.0

    @property
    def _wall_offset(self) -> float:
        return self._clocks.wall() - self._clocks.monotonic()
