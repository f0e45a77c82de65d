"""Checking passwords against bcrypt hashes, so that a flood of wrong ones harms nobody.

bcrypt is slow on purpose. It runs in a thread of its own, one check at a time; a right password is
remembered, so that a scrape costs it once; and what wrong ones may cost is limited, by address and
in all.
"""

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import bcrypt

from presenced.http.limits import AddressLimits, TokenBucket

__all__ = ["ALLOWED", "REFUSED", "PasswordCheck", "Verdict"]

Verify = Callable[[bytes, bytes], bool]

_REMEMBERED = 100
_WAITING = 16
# Of each address: a burst of wrong passwords, then one in a while.
_FAILURES, _FAILURE_EVERY = 10, 6.0
# Of all together: seconds of one processor at once, and the share of it in the long run.
_SECONDS, _SHARE = 5.0, 0.1
# What bcrypt makes of a password, wherever hashes are made: longer ones are cut.
_BYTES = 72


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a check; `retry_after` is in seconds where it was not made at all."""

    allowed: bool
    retry_after: float | None = None


ALLOWED = Verdict(allowed=True)
REFUSED = Verdict(allowed=False)


class PasswordCheck:
    """Checks names and passwords; to be closed.

    `verify` compares password and hash, and `clock` tells seconds.
    """

    def __init__(
        self,
        *,
        verify: Verify = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verify = verify
        self._clock = clock
        self._addresses = AddressLimits(_FAILURE_EVERY, _FAILURES, clock=clock)
        # Counted in seconds of work, of which wrong passwords may take a share.
        self._work = TokenBucket(1 / _SHARE, _SECONDS, clock=clock)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._salt = secrets.token_hex(11)[:21] + "."
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "passwords")

    async def check(
        self, users: Mapping[str, str], name: str, password: str, address: str
    ) -> Verdict:
        """Whether a user of these has this password; `users` maps names to hashes."""
        key = self._key(name, users.get(name, ""), password)
        if self._remembers(key):
            return ALLOWED
        bucket = self._addresses.of(address)
        if self._work.tokens <= 0 or self._waiting >= _WAITING:
            return Verdict(allowed=False, retry_after=max(1.0, -self._work.tokens / _SHARE))
        if not bucket.take():
            return Verdict(allowed=False, retry_after=bucket.wait)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                right = self._remembers(key) or await self._compare(users, name, password)
        finally:
            self._waiting -= 1
        if not right:
            return REFUSED
        bucket.spend(-1)
        self._remember(key)
        return ALLOWED

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compare(self, users: Mapping[str, str], name: str, password: str) -> bool:
        known = name in users
        against = users[name] if known else self._nobody(users)
        secret = password.encode("utf-8", "surrogateescape")[:_BYTES]
        begun = self._clock()
        right = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._verify, secret, against.encode()
        )
        if known and right:
            return True
        self._work.spend(self._clock() - begun)
        return False

    def _nobody(self, users: Mapping[str, str]) -> str:
        """A hash for unknown users: it takes as long as a real one, and no password fits."""
        cost = max(stored.split("$")[2] for stored in users.values())
        return f"$2b${cost}${self._salt}{'.' * 31}"

    def _key(self, name: str, stored: str, password: str) -> bytes:
        # Under a key that nobody knows: the memory of the process shows no password.
        return hmac.digest(self._secret, repr((name, stored, password)).encode(), "sha256")

    def _remembers(self, key: bytes) -> bool:
        if key not in self._right:
            return False
        self._right.move_to_end(key)
        return True

    def _remember(self, key: bytes) -> None:
        self._right[key] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)
