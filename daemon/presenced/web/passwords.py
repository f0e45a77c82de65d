"""Check user names and passwords, at a cost that is limited for each address and in total.

bcrypt is slow on purpose. It runs in threads, so that the event loop goes on. Correct passwords are
remembered, so that each scraper costs one check.

Wrong passwords from one address are limited in number. All checks are limited in processor time,
and networks without a recent failure have a budget of their own: a flood uses up that of networks
with failures, to which each network that takes part belongs after its first wrong password.
"""

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakValueDictionary

import bcrypt

from presenced.system.token_bucket import TokenBucket
from presenced.web.limits import RecentKeys, limit_key, network_key

_MAX_REMEMBERED = 100
_MAX_ADDRESSES = 4096
# For each address: wrong passwords at once, then seconds for each further one.
_FAILURES, _FAILURE_INTERVAL = 10, 6.0
# How long a network counts as one with failures, in seconds.
_FAILURE_MEMORY = 600.0


class _Budget(NamedTuple):
    """What checks may cost: seconds of processor time at once, then the share of a processor."""

    burst: float
    share: float
    max_waiting: int


# For all networks with failures, and for all without.
_BUDGET = _Budget(burst=5.0, share=0.1, max_waiting=16)
_RESERVE = _Budget(burst=10.0, share=0.2, max_waiting=64)
# bcrypt uses no more bytes of a password.
_MAX_BYTES = 72


@dataclass(frozen=True, slots=True)
class PasswordResult:
    """The result of a check. `retry_after`, in seconds, is set if the password was not compared."""

    allowed: bool
    retry_after: float | None = None


ALLOWED = PasswordResult(allowed=True)
REFUSED = PasswordResult(allowed=False)


class _Lane:
    """Compares passwords in a thread, one at a time, within a budget.

    Correct passwords use nothing of it.
    """

    def __init__(
        self,
        budget: _Budget,
        verify: Callable[[bytes, bytes], bool],
        clock: Callable[[], float],
        processor_time: Callable[[], float],
    ) -> None:
        # A token is a second of processor time.
        self._work = TokenBucket(1 / budget.share, budget.burst, clock=clock)
        self._budget = budget
        self._verify = verify
        self._processor_time = processor_time
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "passwords")

    @property
    def wait(self) -> float:
        """Seconds until another password can be compared; 0 if one can now."""
        if self._work.tokens > 0 and self._waiting < self._budget.max_waiting:
            return 0.0
        return max(1.0, -self._work.tokens / self._budget.share)

    async def compare(self, secret: bytes, stored: bytes) -> bool | None:
        """Return whether a password has this hash; None if the budget was used up meanwhile."""
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                if self._work.tokens <= 0:
                    return None
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(self._thread, self._timed_verify, secret, stored)
                correct, seconds = await work
                if not correct:
                    self._work.spend(seconds)
                return correct
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _timed_verify(self, secret: bytes, stored: bytes) -> tuple[bool, float]:
        began = self._processor_time()
        correct = self._verify(secret, stored)
        return correct, self._processor_time() - began


class PasswordCheck:
    """Checks user names and passwords. Call `close` at the end.

    `verify` compares a password with a bcrypt hash; `processor_time` is the clock of its thread.
    """

    def __init__(
        self,
        *,
        verify: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
        processor_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._bucket_of = lru_cache(_MAX_ADDRESSES)(
            lambda _: TokenBucket(_FAILURE_INTERVAL, _FAILURES, clock=clock)
        )
        self._failed = RecentKeys(_FAILURE_MEMORY, _MAX_ADDRESSES, clock=clock)
        self._lane = _Lane(_BUDGET, verify, clock, processor_time)
        self._reserve = _Lane(_RESERVE, verify, clock, processor_time)
        self._correct: OrderedDict[bytes, None] = OrderedDict()
        # Of passwords and of networks; a lock exists while it is used.
        self._locks: WeakValueDictionary[bytes | str, asyncio.Lock] = WeakValueDictionary()
        self._secret = secrets.token_bytes(32)
        self._salt = secrets.token_hex(11)[:21] + "."

    async def check(
        self, users: Mapping[str, str], name: str, password: str, address: str
    ) -> PasswordResult:
        """Return whether a user has this password; `users` maps names to bcrypt hashes."""
        # Hashed with a secret key: no password is readable in the memory of the process.
        identity = repr((name, users.get(name, ""), password)).encode()
        key = hmac.digest(self._secret, identity, "sha256")
        if self._is_remembered(key):
            return ALLOWED
        # First scrapes that come together cost one check.
        async with self._lock(key):
            if self._is_remembered(key):
                return ALLOWED
            is_known = name in users
            stored = users[name] if is_known else self._unmatchable_hash(users)
            result = await self._compare(password, stored, address)
            if result.allowed:
                self._correct[key] = None
                if len(self._correct) > _MAX_REMEMBERED:
                    self._correct.popitem(last=False)
            return result

    def close(self) -> None:
        """End the threads."""
        self._lane.close()
        self._reserve.close()

    async def _compare(self, password: str, stored: str, address: str) -> PasswordResult:
        """Compare a password with a hash, at the expense of the budget that applies."""
        network = network_key(address)
        if network not in self._failed:
            # One at a time, so that each network can fail once at the expense of the reserve.
            async with self._lock(network):
                if network not in self._failed:
                    return await self._compare_in(self._reserve, password, stored, address)
        return await self._compare_in(self._lane, password, stored, address)

    async def _compare_in(
        self, lane: _Lane, password: str, stored: str, address: str
    ) -> PasswordResult:
        if wait := lane.wait:
            return PasswordResult(allowed=False, retry_after=wait)
        bucket = self._bucket_of(limit_key(address))
        if not bucket.take():
            return PasswordResult(allowed=False, retry_after=bucket.wait)
        secret = password.encode("utf-8", "surrogateescape")[:_MAX_BYTES]
        correct = await lane.compare(secret, stored.encode())
        if correct is False:
            self._failed.add(network_key(address))
            return REFUSED
        bucket.spend(-1)
        return ALLOWED if correct else PasswordResult(allowed=False, retry_after=lane.wait or 1.0)

    def _lock(self, key: bytes | str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _unmatchable_hash(self, users: Mapping[str, str]) -> str:
        """Return a hash for unknown users: it costs as much as a real one and fits no password."""
        cost = max(stored.split("$")[2] for stored in users.values())
        return f"$2b${cost}${self._salt}{'.' * 31}"

    def _is_remembered(self, key: bytes) -> bool:
        if key not in self._correct:
            return False
        self._correct.move_to_end(key)
        return True
