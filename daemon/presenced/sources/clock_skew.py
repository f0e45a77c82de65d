"""How far the clock of this machine is off, by messages that another one dates.

A message is dated by a broker's or AWS's clock, and its deadline runs on that of this machine: with
a clock that is ahead by the offline delay, each client would be offline at once.
"""

from collections import deque

_SAMPLES = 20
_ENOUGH = 5


class ClockSkew:
    """The least lead of this machine's clock in the last samples; times are in seconds.

    `seconds` is how far it is ahead, negative if it is behind, and 0 if that is less than
    `tolerance`. It is not less than the true lead, because a message takes some time: deadlines may
    be late by that time, never early. `is_certain` is whether there are enough samples to say so.
    """

    def __init__(self, tolerance: float) -> None:
        self.seconds = 0.0
        self._tolerance = tolerance
        self._ahead: deque[float] = deque(maxlen=_SAMPLES)

    def note(self, ahead: float) -> None:
        """Take one sample: the time here, minus the date of what came without delay."""
        self._ahead.append(ahead)
        least = min(self._ahead)
        self.seconds = least if abs(least) >= self._tolerance else 0.0

    @property
    def is_certain(self) -> bool:
        """Whether one delayed message cannot have caused it."""
        return len(self._ahead) >= _ENOUGH
