"""Access to the listener: the rate limit, names of client certificates, users and passwords.

bcrypt is slow on purpose. It runs in a thread of its own, one check at a time. Correct passwords
are remembered, so that each scraper costs one check. The cost of wrong passwords is limited for
each address and in total.
"""

import asyncio
import base64
import binascii
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

import bcrypt
from aiohttp import web
from aiohttp.typedefs import Handler

from presenced.settings.web import RateLimit
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import to_its_end
from presenced.web.limits import TokenBucket, limit_key
from presenced.web.protection import Protection, ProtectionWatcher

_MAX_REMEMBERED = 100
_MAX_WAITING = 16
_MAX_ADDRESSES = 1024
# For each address: wrong passwords at once, then seconds for each further one.
_FAILURES, _FAILURE_INTERVAL = 10, 6.0
# For all addresses: seconds of processor time at once, then the share of a processor.
_BURST_SECONDS, _PROCESSOR_SHARE = 5.0, 0.1
# bcrypt uses no more bytes of a password.
_MAX_BYTES = 72
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="presenced", charset="UTF-8"'}
_LOG_LINE_INTERVAL, _LOG_LINES = 6.0, 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check. `retry_after`, in seconds, is set if the password was not compared."""

    allowed: bool
    retry_after: float | None = None


ALLOWED = Verdict(allowed=True)
REFUSED = Verdict(allowed=False)


class PasswordCheck:
    """Checks user names and passwords. Call `close` at the end.

    `verify` compares a password with a bcrypt hash.
    """

    def __init__(
        self,
        *,
        verify: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verify = verify
        self._clock = clock
        self._bucket_of = lru_cache(_MAX_ADDRESSES)(
            lambda _: TokenBucket(_FAILURE_INTERVAL, _FAILURES, clock=clock)
        )
        # A token is a second of processor time.
        self._work = TokenBucket(1 / _PROCESSOR_SHARE, _BURST_SECONDS, clock=clock)
        self._correct: OrderedDict[bytes, None] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._salt = secrets.token_hex(11)[:21] + "."
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "passwords")

    async def check(
        self, users: Mapping[str, str], name: str, password: str, address: str
    ) -> Verdict:
        """Return whether a user has this password; `users` maps names to bcrypt hashes."""
        # Hashed with a secret key: no password is readable in the memory of the process.
        identity = repr((name, users.get(name, ""), password)).encode()
        key = hmac.digest(self._secret, identity, "sha256")
        if self._is_remembered(key):
            return ALLOWED
        bucket = self._bucket_of(limit_key(address))
        if self._work.tokens <= 0 or self._waiting >= _MAX_WAITING:
            retry_after = max(1.0, -self._work.tokens / _PROCESSOR_SHARE)
            return Verdict(allowed=False, retry_after=retry_after)
        if not bucket.take():
            return Verdict(allowed=False, retry_after=bucket.wait)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                correct = self._is_remembered(key) or await self._compare(users, name, password)
        finally:
            self._waiting -= 1
        if not correct:
            return REFUSED
        bucket.spend(-1)
        self._correct[key] = None
        if len(self._correct) > _MAX_REMEMBERED:
            self._correct.popitem(last=False)
        return ALLOWED

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compare(self, users: Mapping[str, str], name: str, password: str) -> bool:
        is_known = name in users
        stored = users[name] if is_known else self._unmatchable_hash(users)
        secret = password.encode("utf-8", "surrogateescape")[:_MAX_BYTES]
        began = self._clock()
        correct = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._verify, secret, stored.encode()
        )
        if is_known and correct:
            return True
        self._work.spend(self._clock() - began)
        return False

    def _unmatchable_hash(self, users: Mapping[str, str]) -> str:
        """Return a hash for unknown users: it costs as much as a real one and fits no password."""
        cost = max(stored.split("$")[2] for stored in users.values())
        return f"$2b${cost}${self._salt}{'.' * 31}"

    def _is_remembered(self, key: bytes) -> bool:
        if key not in self._correct:
            return False
        self._correct.move_to_end(key)
        return True


class AccessControl:
    """Refuses requests that the current protection does not allow, and adds its headers."""

    def __init__(self, watcher: ProtectionWatcher, passwords: PasswordCheck) -> None:
        self._watcher = watcher
        self._passwords = passwords
        # Log lines are limited for each address, and in total against floods from many addresses.
        self._log = ThrottledLogger(get_logger("presenced.http"))
        self._log_lines = TokenBucket(_LOG_LINE_INTERVAL, _LOG_LINES)
        self._rate_limit = RateLimit()
        self._requests = TokenBucket(1, 1)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request that is allowed; raises the refusal of any other."""
        protection = self._watcher.current
        if not self._within_rate_limit(protection.config.rate_limit):
            raise _too_many_requests(self._requests.wait)
        if not _has_allowed_name(request, protection):
            self._warn("client certificate has none of client_allowed_sans", request)
            raise web.HTTPForbidden(text="The client certificate has none of the allowed names.\n")
        if protection.users:
            await self._authenticate(request, protection.users)
        return await handler(request)

    async def add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        """Add the configured headers to a response."""
        response.headers.update(self._watcher.current.config.http_server_config.headers)

    def _within_rate_limit(self, limit: RateLimit) -> bool:
        if limit != self._rate_limit:
            self._rate_limit = limit
            self._requests = TokenBucket(limit.interval or 1, limit.burst)
        return not limit.interval or self._requests.take()

    async def _authenticate(self, request: web.Request, users: Mapping[str, str]) -> None:
        credentials = _credentials(request.headers.get("Authorization", ""))
        if credentials is not None:
            # To its end, though the client disconnects: what was begun counts towards the limits.
            check = self._passwords.check(users, *credentials, request.remote or "")
            verdict = await to_its_end(check)
            if verdict.allowed:
                return
            # The name is not logged: it may be a password in the wrong field.
            if verdict.retry_after is not None:
                self._warn("too many wrong passwords", request)
                raise _too_many_requests(verdict.retry_after)
            self._warn("wrong user or password", request)
        raise web.HTTPUnauthorized(text="Unauthorized\n", headers=_CHALLENGE)

    def _warn(self, event: str, request: web.Request) -> None:
        if self._log_lines.tokens >= 1 and self._log.warning(event, key=request.remote):
            self._log_lines.take()


def _too_many_requests(wait: float) -> web.HTTPTooManyRequests:
    headers = {"Retry-After": str(math.ceil(wait) or 1)}
    return web.HTTPTooManyRequests(text="Too many requests\n", headers=headers)


def _credentials(header: str) -> tuple[str, str] | None:
    """Return the user name and password in an `Authorization` header (RFC 7617), if any."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


def _has_allowed_name(request: web.Request, protection: Protection) -> bool:
    tls = protection.config.tls_server_config
    if tls is None or not tls.client_allowed_sans:
        return True
    certificate = request.get_extra_info("peercert") or {}
    names = {_normalize(value) for _, value in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(map(_normalize, tls.client_allowed_sans))


def _normalize(name: str) -> str:
    """Return the canonical spelling of an IP address; other names are unchanged."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name
