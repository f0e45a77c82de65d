"""How far the clock of this machine is off, by messages that another one dates.

A message is dated by a broker's or AWS's clock, and its deadline runs on that of this machine: with
a clock that is ahead by the offline delay, each client would be offline at once.
"""

from collections import deque

from presenced.system.loop import Clocks

_SAMPLES = 20
_ENOUGH = 5


class ClockSkew:
    """The least lead of this machine's clock in the last samples; times are in seconds.

    `tolerance` is a lead that is taken for none. Samples are kept by the monotonic clock, so that
    the lead is right at once when this machine's clock is set.
    """

    def __init__(self, clocks: Clocks, tolerance: float) -> None:
        self._clocks = clocks
        self._tolerance = tolerance
        self._ahead: deque[float] = deque(maxlen=_SAMPLES)

    def note(self, ahead: float) -> None:
        """Take one sample: the time here, minus the date of what came without delay."""
        self._ahead.append(ahead - self._wall_offset)

    @property
    def seconds(self) -> float:
        """How far this machine's clock is ahead, negative if behind; 0 within the tolerance.

        Never less than the true lead, because a message takes some time: deadlines may be late by
        that time, never early.
        """
        if not self._ahead:
            return 0.0
        ahead = min(self._ahead) + self._wall_offset
        return ahead if abs(ahead) >= self._tolerance else 0.0

    @property
    def is_certain(self) -> bool:
        """Whether there are more samples than one delayed message can explain."""
        return len(self._ahead) >= _ENOUGH

    @property
    def _wall_offset(self) -> float:
        return self._clocks.wall() - self._clocks.monotonic()
