"""Routes of the console, and of the page that replaces it if the API is off."""

import hashlib
from collections.abc import Callable
from html import escape
from importlib.resources import files

from aiohttp import web
from aiohttp.typedefs import Handler

from presenced import __version__
from presenced.system.supervision import Readiness
from presenced.web.negotiation import negotiate_type

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another version of presenced has other files under the same names.
    "Cache-Control": "no-cache",
}
_FILES = tuple(
    each.name
    for each in files("presenced.web.console").iterdir()
    if each.name.endswith((".css", ".js"))
)
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


def console_routes() -> list[web.RouteDef]:
    """Return the routes of the console, which uses the API at `api/v1/` below its own path."""
    return [
        web.get("/", _file("console.html")),
        *(web.get(f"/{name}", _file(name)) for name in _FILES),
    ]


def plain_routes(readiness: Callable[[], Readiness]) -> list[web.RouteDef]:
    """Return the routes of a page without scripts that links to metrics and health."""
    text = _read("plain.html").decode()

    async def page(request: web.Request) -> web.Response:
        negotiate_type(request, "text/html")
        now = readiness()
        lines = now.text.splitlines()
        problems = [f"{line.rstrip('.')}." for line in (lines[1:] if now.ready else lines)]
        state = " ".join(["Ready." if now.ready else "Not ready:", *problems])
        body = text.replace("{version}", escape(__version__)).replace("{state}", escape(state))
        return web.Response(text=body, content_type="text/html", headers=_HEADERS)

    return [web.get("/", page), web.get("/console.css", _file("console.css"))]


def _file(name: str) -> Handler:
    """Return a handler that serves a file of this package, with an ETag."""
    body = _read(name)
    etag = hashlib.sha256(body).hexdigest()[:16]
    content_type = _TYPES[name.rpartition(".")[2]]

    async def serve(request: web.Request) -> web.Response:
        negotiate_type(request, content_type)
        if any(known.value in (etag, "*") for known in request.if_none_match or ()):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(
                body=body, content_type=content_type, charset="utf-8", headers=_HEADERS
            )
        response.etag = etag
        return response

    return serve


def _read(name: str) -> bytes:
    return files("presenced.web.console").joinpath(name).read_bytes()
