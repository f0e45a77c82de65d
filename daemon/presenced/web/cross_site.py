"""Protection of people's browsers: no web page elsewhere can use them to reach the listener.

Two attacks are refused. A page of another site may send requests (cross-site request forgery),
which browsers mark by `Sec-Fetch-Site` and `Origin`. And a page may come to count as the listener's
own by a DNS name that its author points at the listener (DNS rebinding), which the `Host` header
shows.
"""

import asyncio
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import in_thread

# Probes use any name, and learn nothing that is worth an attack.
_HEALTH = ("/-/healthy", "/-/ready")
_METRICS = "/metrics"
_CONSOLE = "/"
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
# A page cannot keep its browser from sending the first one.
_SENT_BY_BROWSERS = ("Accept-Language", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Origin", "Referer")
_WRONG_HOST = (
    "The listener is not known by this name. Use its address, or add the name to"
    " metrics.allowed_hosts.\n"
)
_CROSS_SITE = "Requests from pages of other sites are refused.\n"


class CrossSiteCheck:
    """Refuses requests that a page of another site makes, and names that are not the listener's.

    Addresses, localhost and the names of this machine are always allowed, and `allowed_hosts` too,
    which may be replaced at any time: names, `*.DOMAIN`, or `*` for any. Scrapers use whatever name
    leads to the listener, such as that of a Kubernetes service: for /metrics only the names that
    browsers send are checked. With TLS the browser checks the name, against the certificate.
    """

    def __init__(self, allowed_hosts: Iterable[str] = ()) -> None:
        self.allowed_hosts = allowed_hosts
        self._machine: asyncio.Future[frozenset[str]] | None = None
        self._log = ThrottledLogger(get_logger("presenced.http"))

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request that is allowed; raises the refusal of any other."""
        if request.path in _HEALTH:
            return await handler(request)
        is_scrape = request.path == _METRICS and not _is_from_browser(request)
        if not is_scrape and not request.secure and not await self._has_allowed_host(request):
            self._log.warning(
                "request refused: the listener is not known by the name in its Host header",
                hint="add the name to metrics.allowed_hosts if it leads to this listener",
            )
            raise web.HTTPForbidden(text=_WRONG_HOST)
        if request.path != _METRICS and _is_cross_site(request):
            self._log.warning("request refused: a page of another site made it")
            raise web.HTTPForbidden(text=_CROSS_SITE)
        return await handler(request)

    async def _has_allowed_host(self, request: web.Request) -> bool:
        headers = request.headers.getall(hdrs.HOST, ())
        if not headers:
            return True  # Browsers always send it.
        match = _HOST.fullmatch(headers[0])
        if match is None or len(headers) > 1:
            return False
        name = match[1].lower().removesuffix(".")
        return (
            _is_address(name.strip("[]"))
            or name == "localhost"
            or name.endswith(".localhost")
            or any(_matches(name, allowed) for allowed in self.allowed_hosts)
            or name in await self._names_of_machine()
        )

    async def _names_of_machine(self) -> frozenset[str]:
        # One look-up for all requests, and not at the start, which it may delay by seconds.
        if self._machine is None:
            self._machine = in_thread(_names_of_machine, name="names")
        return await asyncio.shield(self._machine)


def _names_of_machine() -> frozenset[str]:
    """Return the host name, and its full name if a name service knows it."""
    names = {socket.gethostname()}
    # A machine need not find its own name.
    with suppress(OSError):
        found = socket.getaddrinfo(socket.gethostname(), None, flags=socket.AI_CANONNAME)
        names |= {canonical for _, _, _, canonical, _ in found if canonical}
    return frozenset(name.lower().removesuffix(".") for name in names)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _matches(name: str, allowed: str) -> bool:
    allowed = allowed.lower().removesuffix(".")
    if allowed.startswith("*."):
        return name.endswith(allowed[1:])
    return allowed in ("*", name)


def _is_from_browser(request: web.Request) -> bool:
    return any(name in request.headers for name in _SENT_BY_BROWSERS)


def _is_cross_site(request: web.Request) -> bool:
    """Return whether a page of another origin made a request; links to the console are allowed."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_link = (
            request.path == _CONSOLE
            and request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
            and request.headers.get("Sec-Fetch-Mode") == "navigate"
        )
        return site not in ("same-origin", "none") and not is_link
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and _authority(origin) != request.headers.get(hdrs.HOST, "").lower()


def _authority(origin: str) -> str:
    """Return host and port of an `Origin` header, empty if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
