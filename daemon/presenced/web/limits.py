"""Token buckets: limits that allow bursts."""

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
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
        """The number of tokens now; negative after more was spent than there was."""
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


class AddressLimits:
    """A token bucket for each of the `capacity` addresses used last.

    IPv6 addresses of the same /64 share one bucket: a single subscriber has all of them.
    """

    def __init__(
        self,
        interval: float,
        burst: float,
        *,
        capacity: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_bucket = partial(TokenBucket, interval, burst, clock=clock)
        self._capacity = capacity
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, address: str) -> TokenBucket:
        """Return the bucket of an address."""
        key = _subscriber(address)
        bucket = self._buckets.pop(key, None) or self._new_bucket()
        self._buckets[key] = bucket
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return bucket


def _subscriber(address: str) -> str:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or int(ip) >> 64)
