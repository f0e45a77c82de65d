"""Token buckets: limits of a rate that allow bursts."""

import time
from collections.abc import Callable


class TokenBucket:
    """Holds up to `burst` tokens, is full at first, and gains one every `interval` seconds."""

    def __init__(
        self, interval: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    @property
    def tokens(self) -> float:
        """The number of tokens now; negative if more was spent than there were."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval)
        self._at = now
        return self._tokens

    @property
    def wait(self) -> float:
        """Seconds until there is a whole token."""
        return max(0.0, (1 - self.tokens) * self._interval)

    def take(self) -> bool:
        """Take one token; return False if there is none."""
        if self.tokens < 1:
            return False
        self._tokens -= 1
        return True

    def spend(self, amount: float) -> None:
        """Take an amount even if there is less; a negative amount is given back."""
        self._tokens = min(self._burst, self.tokens - amount)
