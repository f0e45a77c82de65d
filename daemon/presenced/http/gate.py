"""Who may ask, and how often: what a request must pass before it is answered."""

import base64
import binascii
import math
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from aiohttp import web

from presenced.http.limits import TokenBucket
from presenced.http.passwords import PasswordCheck, Verdict
from presenced.http.protection import Protection, Watch
from presenced.log import Throttle, get_logger
from presenced.settings.web import RateLimit

__all__ = ["Gate"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="presenced", charset="UTF-8"'}
_LOG_INTERVAL = 60.0
_LINES = (6.0, 10)


class Gate:
    """The protection of the listener, as a middleware and a signal of the application."""

    def __init__(self, watch: Watch, passwords: PasswordCheck) -> None:
        self._watch = watch
        self._passwords = passwords
        self._log = get_logger("presenced.http")
        # Lines for one address, and lines in all: a flood may come from everywhere.
        self._throttle = Throttle(_LOG_INTERVAL)
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
        if self._lines.tokens < 1:
            return
        left_out = self._throttle.admit((what, request.remote))
        if left_out is not None and self._lines.take():
            self._log.warning(what, left_out=left_out)

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
