"""Access to the listener: the rate limit, names of client certificates, users and passwords.

bcrypt is slow on purpose. It runs in a thread of its own, one check at a time. A right password is
remembered, so that it costs each scraper one check; what wrong passwords may cost is limited for
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
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address

import bcrypt
from aiohttp import web

from presenced.settings.web import RateLimit
from presenced.system.log import ThrottledLogger, get_logger
from presenced.web.limits import AddressLimits, TokenBucket
from presenced.web.protection import Protection, ProtectionWatcher

_MAX_REMEMBERED = 100
_MAX_WAITING = 16
# For each address: so many wrong passwords at once, then one every so many seconds.
_FAILURES, _FAILURE_INTERVAL = 10, 6.0
# For all addresses: seconds of processor time at once, and the share of a processor over time.
_BURST_SECONDS, _PROCESSOR_SHARE = 5.0, 0.1
# bcrypt uses no more bytes of a password.
_MAX_BYTES = 72
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="presenced", charset="UTF-8"'}
_LOG_LINE_INTERVAL, _LOG_LINES = 6.0, 10

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check; `retry_after` is set, in seconds, if it was not made."""

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
        self._addresses = AddressLimits(_FAILURE_INTERVAL, _FAILURES, clock=clock)
        # A token is a second of processor time.
        self._work = TokenBucket(1 / _PROCESSOR_SHARE, _BURST_SECONDS, clock=clock)
        self._right: OrderedDict[bytes, None] = OrderedDict()
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
        bucket = self._addresses.of(address)
        if self._work.tokens <= 0 or self._waiting >= _MAX_WAITING:
            retry_after = max(1.0, -self._work.tokens / _PROCESSOR_SHARE)
            return Verdict(allowed=False, retry_after=retry_after)
        if not bucket.take():
            return Verdict(allowed=False, retry_after=bucket.wait)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                right = self._is_remembered(key) or await self._compare(users, name, password)
        finally:
            self._waiting -= 1
        if not right:
            return REFUSED
        bucket.spend(-1)
        self._right[key] = None
        if len(self._right) > _MAX_REMEMBERED:
            self._right.popitem(last=False)
        return ALLOWED

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compare(self, users: Mapping[str, str], name: str, password: str) -> bool:
        is_known = name in users
        stored = users[name] if is_known else self._unmatchable_hash(users)
        secret = password.encode("utf-8", "surrogateescape")[:_MAX_BYTES]
        began = self._clock()
        right = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._verify, secret, stored.encode()
        )
        if is_known and right:
            return True
        self._work.spend(self._clock() - began)
        return False

    def _unmatchable_hash(self, users: Mapping[str, str]) -> str:
        """Return a hash for unknown users: it costs as much as a real one and fits no password."""
        cost = max(stored.split("$")[2] for stored in users.values())
        return f"$2b${cost}${self._salt}{'.' * 31}"

    def _is_remembered(self, key: bytes) -> bool:
        if key not in self._right:
            return False
        self._right.move_to_end(key)
        return True


class AccessControl:
    """Refuses requests that the current protection does not allow, and adds its headers."""

    def __init__(self, watcher: ProtectionWatcher, passwords: PasswordCheck) -> None:
        self._watcher = watcher
        self._passwords = passwords
        # Log lines are limited for each address, and in total: a flood may come from everywhere.
        self._log = ThrottledLogger(get_logger("presenced.http"))
        self._log_lines = TokenBucket(_LOG_LINE_INTERVAL, _LOG_LINES)
        self._rate_limit = RateLimit()
        self._requests = TokenBucket(1, 1)

    def attach(self, app: web.Application) -> None:
        """Check every request to the application."""

        # aiohttp recognises a middleware by an attribute, which a method cannot have.
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = await self._refusal(request)
            return await handler(request) if refusal is None else refusal

        async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
            response.headers.update(self._watcher.current.config.http_server_config.headers)

        app.middlewares.append(admit)
        app.on_response_prepare.append(add_headers)

    async def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the response to a refused request; None if it is allowed."""
        protection = self._watcher.current
        if not self._within_rate_limit(protection.config.rate_limit):
            return _too_many_requests(self._requests.wait)
        if not _has_allowed_name(request, protection):
            self._warn("a client certificate has no name of client_allowed_sans", request)
            return web.Response(
                status=403, text="The client certificate has none of the allowed names.\n"
            )
        return await self._authenticate(request, protection) if protection.users else None

    def _within_rate_limit(self, limit: RateLimit) -> bool:
        if limit != self._rate_limit:
            self._rate_limit = limit
            self._requests = TokenBucket(limit.interval or 1, limit.burst)
        return not limit.interval or self._requests.take()

    async def _authenticate(
        self, request: web.Request, protection: Protection
    ) -> web.Response | None:
        credentials = _credentials(request.headers.get("Authorization", ""))
        if credentials is not None:
            name, password = credentials
            verdict = await self._passwords.check(
                protection.users, name, password, request.remote or ""
            )
            if verdict.allowed:
                return None
            # The name is not logged: it may be a password in the wrong field.
            if verdict.retry_after is not None:
                self._warn("too many wrong passwords", request)
                return _too_many_requests(verdict.retry_after)
            self._warn("wrong user or password", request)
        return web.Response(status=401, text="Unauthorized\n", headers=_CHALLENGE)

    def _warn(self, event: str, request: web.Request) -> None:
        if self._log_lines.tokens >= 1 and self._log.warning(event, key=request.remote):
            self._log_lines.take()


def _too_many_requests(wait: float) -> web.Response:
    headers = {"Retry-After": str(math.ceil(wait) or 1)}
    return web.Response(status=429, text="Too many requests\n", headers=headers)


def _credentials(header: str) -> tuple[str, str] | None:
    """Return user name and password of an `Authorization` header (RFC 7617), None without."""
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
    """Return the canonical spelling of an IP address; other names are compared as they are."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name
