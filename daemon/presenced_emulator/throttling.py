"""Rate limits as AWS applies them: to an operation of the account, a client, or a connection.

Pure: times are arguments, in seconds of any clock.
"""

from typing import NamedTuple


class _Bucket(NamedTuple):
    tokens: float
    at: float


class RateLimiter:
    """Token buckets by key, each of which holds what a second allows."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def allows(self, key: str, rate: float, now: float) -> bool:
        """Count a request and return whether it is within `rate` per second."""
        bucket = self._buckets.get(key)
        tokens = rate
        if bucket is not None:
            tokens = min(rate, bucket.tokens + max(0.0, now - bucket.at) * rate)
        allowed = tokens >= 1
        self._buckets[key] = _Bucket(tokens - allowed, now)
        return allowed
