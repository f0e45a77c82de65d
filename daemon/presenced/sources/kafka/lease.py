"""Until when a worker may show its partitions."""

import time
from collections.abc import Callable


def boottime() -> float:
    """Return seconds since the boot; they go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """A worker's claim that its partitions are its own, for `seconds` after word from the group.

    A transaction with offsets is committed only for a member of the group, so each one renews the
    lease. It counts from the moment before the offsets were sent. A worker that was stopped or
    suspended wakes with a lease that is over, and shows nothing until it has had word again.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = boottime) -> None:
        self.seconds = seconds
        self._clock = clock
        self._renewed: float | None = None

    def now(self) -> float:
        """Return the time on the clock of the lease."""
        return self._clock()

    def renew(self, at: float) -> None:
        """Take note that the worker was a member of the group at some time after `at`."""
        if self._renewed is None or at > self._renewed:
            self._renewed = at

    def end(self) -> None:
        """Take note that the worker is no member any more."""
        self._renewed = None

    @property
    def age(self) -> float | None:
        """Seconds since the last renewal; None before the first, and after the end."""
        return None if self._renewed is None else self._clock() - self._renewed

    @property
    def is_valid(self) -> bool:
        """Whether the partitions may be shown now."""
        age = self.age
        return age is not None and age < self.seconds

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew it: after a quarter of its duration."""
        age = self.age
        return age is None or age >= self.seconds / 4
