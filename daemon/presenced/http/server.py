"""What the daemon answers over HTTP."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from aiohttp import web

from presenced import __version__
from presenced.metrics.exposition import Exposition

__all__ = ["Listener", "ListenerError", "Readiness"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>presenced</title></head>
<body>
<h1>presenced {version}</h1>
<p>Presence of an AWS IoT Core fleet as Prometheus metrics.</p>
<p>{state}</p>
<ul>
<li><a href="/metrics">Metrics</a></li>
<li><a href="/-/ready">Readiness</a></li>
<li><a href="/-/healthy">Health</a></li>
</ul>
</body>
</html>
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether every connection is up and every filter granted; `text` says so or says why not."""

    ready: bool
    text: str


class ListenerError(Exception):
    """The address cannot be listened on."""


class Listener:
    """Serves one exposition on `host` and `port` until closed.

    No host means all addresses; port 0 takes a free one, which `port` then tells.
    """

    def __init__(
        self,
        host: str | None,
        port: int,
        exposition: Exposition,
        readiness: Callable[[], Readiness],
    ) -> None:
        self.port = port
        self._host = host
        self._exposition = exposition
        self._readiness = readiness
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/metrics", self._metrics),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def open(self) -> None:
        """Begin to listen; raises `ListenerError` that says why it cannot."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ListenerError(
                f"cannot listen on {self._host or ''}:{self.port}: {error.strerror or error}. "
                "Stop what uses the address, or set metrics.listen to another"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _page(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        state = "Ready." if readiness.ready else f"Not ready: {readiness.text}"
        page = _PAGE.format(version=escape(__version__), state=escape(state))
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def _metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        headers = {"Vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            body, content_type = self._exposition.render_gzip(accept)
            headers["Content-Encoding"] = "gzip"
        else:
            body, content_type = self._exposition.render(accept)
        headers["Content-Type"] = content_type
        return web.Response(body=body, headers=headers)

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="presenced is healthy.\n")

    async def _ready(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        return web.Response(text=readiness.text + "\n", status=200 if readiness.ready else 503)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted with a weight above 0 (RFC 9110 section 12.5.3)."""
    for offer in accept_encoding.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
