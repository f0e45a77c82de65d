"""Serves the console, or where there is no API for it to ask, a page with links to the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from html import escape
from importlib.resources import files

from aiohttp import web

from presenced import __version__
from presenced.system.supervision import Readiness

_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another version of presenced has other files under the same names.
    "Cache-Control": "no-cache",
}
_MODULES = ("console.js", "api.js", "client.js", "fleet.js", "stream.js", "text.js")
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

Handler = Callable[[web.Request], Awaitable[web.Response]]


def console_routes() -> list[web.RouteDef]:
    """The console, which asks the API beside it at `api/v1/`."""
    return [
        web.get("/", _file("console.html")),
        *(web.get(f"/{name}", _file(name)) for name in ("console.css", *_MODULES)),
    ]


def plain_routes(readiness: Callable[[], Readiness]) -> list[web.RouteDef]:
    """A page that says what there is without the API; it needs no script."""
    text = _read("plain.html").decode()

    async def page(_: web.Request) -> web.Response:
        told = readiness()
        state = "Ready." if told.ready else f"Not ready: {told.text}"
        body = text.replace("{version}", escape(__version__)).replace("{state}", escape(state))
        return web.Response(text=body, content_type="text/html", headers=_HEADERS)

    return [web.get("/", page), web.get("/console.css", _file("console.css"))]


def _file(name: str) -> Handler:
    """Serves a file of the package, and of what a browser has already only that it is current."""
    body = _read(name)
    tag = hashlib.sha256(body).hexdigest()[:16]
    content_type = _TYPES[name.rpartition(".")[2]]

    async def serve(request: web.Request) -> web.Response:
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            answer = web.Response(status=304, headers=_HEADERS)
        else:
            answer = web.Response(
                body=body, content_type=content_type, charset="utf-8", headers=_HEADERS
            )
        answer.etag = tag
        return answer

    return serve


def _read(name: str) -> bytes:
    return files("presenced.web.console").joinpath(name).read_bytes()
