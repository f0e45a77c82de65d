"""Access to the listener: the rate limit, names of client certificates, users and passwords."""

import base64
import binascii
import math
from collections.abc import Mapping
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler

from presenced.settings.web import RateLimit
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import to_its_end
from presenced.system.token_bucket import TokenBucket
from presenced.web.passwords import PasswordCheck
from presenced.web.protection import Protection, ProtectionWatcher

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="presenced", charset="UTF-8"'}
_LOG_LINE_INTERVAL, _LOG_LINES = 6.0, 10


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
            result = await to_its_end(check)
            if result.allowed:
                return
            # The name is not logged: it may be a password in the wrong field.
            if result.retry_after is not None:
                self._warn("too many wrong passwords", request)
                raise _too_many_requests(result.retry_after)
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
