"""Limits that let bursts through."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address


class TokenBucket:
    """Holds up to `burst` tokens and gains one every `interval` seconds; it is full at first."""

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
        """How many there are now; below 0 after more was spent than there was."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval)
        self._at = now
        return self._tokens

    @property
    def wait(self) -> float:
        """Seconds until there is a whole token."""
        return max(0.0, (1 - self.tokens) * self._interval)

    def take(self) -> bool:
        """Take one token; False where there is none."""
        if self.tokens < 1:
            return False
        self._tokens -= 1
        return True

    def spend(self, amount: float) -> None:
        """Take an amount, whether it is there or not; a negative one is given back."""
        self._tokens = min(self._burst, self.tokens - amount)


class AddressLimits:
    """A token bucket for each address; at most `capacity` of them are remembered.

    An IPv6 address counts with its neighbours of the same /64, which one subscriber has at hand.
    """

    def __init__(
        self,
        interval: float,
        burst: float,
        *,
        capacity: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval
        self._burst = burst
        self._capacity = capacity
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, address: str) -> TokenBucket:
        """The bucket of an address."""
        key = _subscriber(address)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(
                self._interval, self._burst, clock=self._clock
            )
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def _subscriber(address: str) -> str:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or int(ip) >> 64)
