"""Who may ask, and how often: what a request must pass before it is answered.

Checking passwords against bcrypt hashes, so that a flood of wrong ones harms nobody.

bcrypt is slow on purpose. It runs in a thread of its own, one check at a time; a right password is
remembered, so that a scrape costs it once; and what wrong ones may cost is limited, by address and
in all.
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
from presenced.web.protection import Protection, Watch

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


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="presenced", charset="UTF-8"'}
_LINES = (6.0, 10)


class Gate:
    """The protection of the listener, as a middleware and a signal of the application."""

    def __init__(self, watch: Watch, passwords: PasswordCheck) -> None:
        self._watch = watch
        self._passwords = passwords
        # Lines for one address, and lines in all: a flood may come from everywhere.
        self._log = ThrottledLogger(get_logger("presenced.http"))
        self._lines = TokenBucket(*_LINES)
        self._limit = _Limit()

    def attach(self, app: web.Application) -> None:
        """Let nothing into the application but through here."""

        # aiohttp recognises middlewares by an attribute, which methods cannot have.
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = await self._refusal(request)
            return await handler(request) if refusal is None else refusal

        app.middlewares.append(admit)
        app.on_response_prepare.append(self._add_headers)

    async def _refusal(self, request: web.Request) -> web.Response | None:
        """What to answer instead, None when the request may pass."""
        now = self._watch.current
        wait = self._limit.wait(now.config.rate_limit)
        if wait is not None:
            return _too_many(wait)
        if not _has_allowed_name(request, now):
            self._report("a client certificate has no name of client_allowed_sans", request)
            return web.Response(
                status=403, text="The client certificate has none of the names that may ask.\n"
            )
        return await self._authenticate(request, now) if now.users else None

    async def _authenticate(self, request: web.Request, now: Protection) -> web.Response | None:
        given = _credentials(request.headers.get("Authorization", ""))
        if given is None:
            return web.Response(status=401, text="Unauthorized\n", headers=_CHALLENGE)
        verdict = await self._passwords.check(now.users, *given, request.remote or "")
        if verdict.allowed:
            return None
        return self._refuse(verdict, request)

    def _refuse(self, verdict: Verdict, request: web.Request) -> web.Response:
        # The name is not logged: it may be a password in the wrong field.
        if verdict.retry_after is not None:
            self._report("too many wrong passwords", request)
            return _too_many(verdict.retry_after)
        self._report("wrong user or password", request)
        return web.Response(status=401, text="Unauthorized\n", headers=_CHALLENGE)

    def _report(self, what: str, request: web.Request) -> None:
        if self._lines.tokens >= 1 and self._log.warning(what, key=request.remote):
            self._lines.take()

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._watch.current.config.http_server_config.headers)


class _Limit:
    """The token bucket of `rate_limit`, made anew when the section changes."""

    def __init__(self) -> None:
        self._of = RateLimit()
        self._bucket = TokenBucket(1, 1)

    def wait(self, limit: RateLimit) -> float | None:
        """Seconds to wait, None when one may ask now."""
        if not limit.interval:
            return None
        if limit != self._of:
            self._of, self._bucket = limit, TokenBucket(limit.interval, limit.burst)
        return None if self._bucket.take() else self._bucket.wait


def _too_many(wait: float) -> web.Response:
    return web.Response(
        status=429, text="Too many requests\n", headers={"Retry-After": str(math.ceil(wait) or 1)}
    )


def _credentials(header: str) -> tuple[str, str] | None:
    """User name and password of an `Authorization` header (RFC 7617), None without."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


def _has_allowed_name(request: web.Request, now: Protection) -> bool:
    tls = now.config.tls_server_config
    if tls is None or not tls.client_allowed_sans:
        return True
    certificate = request.get_extra_info("peercert") or {}
    names = {_normal(value) for _, value in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(map(_normal, tls.client_allowed_sans))


def _normal(name: str) -> str:
    """One spelling for each IP address; other names are compared as they are."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name
