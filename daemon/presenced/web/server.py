"""The listener: metrics, health, reload, the API and the console over HTTP."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ssl import SSLContext

from aiohttp import hdrs, web

from presenced.metrics.exposition import Exposition, gzip_parts
from presenced.settings import ListenAddress
from presenced.system.supervision import Readiness
from presenced.web.access import AccessControl
from presenced.web.console.pages import console_routes, plain_routes
from presenced.web.passwords import PasswordCheck
from presenced.web.protection import ProtectionWatcher
from presenced.web.tls import LiveContext

_WRITE_SIZE = 256 * 1024
_WRITES_PER_TURN = 16

Reload = Callable[[], Awaitable[Sequence[str]]]
"""Reloads the configuration and returns its problems; if there are any, nothing has changed."""


class ListenerError(Exception):
    """The listener cannot use its address."""


class Listener:
    """Serves metrics, health, API and console on `host` and `port`, as far as `watcher` allows.

    Without a host it listens on all addresses; port 0 takes a free port, see `port`. Health and
    readiness are also served without protection on the address `health`. `api` is served below
    /api/v1, and the console that uses it at /. `reload` answers POST /-/reload and may be replaced
    at any time; if it is None, that path does not exist.
    """

    def __init__(
        self,
        host: str | None,
        port: int,
        exposition: Exposition,
        readiness: Callable[[], Readiness],
        *,
        watcher: ProtectionWatcher | None = None,
        health: ListenAddress | None = None,
        reload: Reload | None = None,
        api: web.Application | None = None,
        passwords: PasswordCheck | None = None,
    ) -> None:
        self.reload = reload
        self._exposition = exposition
        self._readiness = readiness
        self._compressing = asyncio.Lock()
        self._passwords = passwords or PasswordCheck()
        watcher = watcher or ProtectionWatcher(None)
        health_routes = [web.get("/-/healthy", self._healthy), web.get("/-/ready", self._ready)]
        access = AccessControl(watcher, self._passwords)
        app = web.Application(middlewares=[access.check])
        app.on_response_prepare.append(access.add_headers)
        app.add_routes(plain_routes(readiness) if api is None else console_routes())
        app.add_routes([web.get("/metrics", self._metrics), *health_routes])
        app.add_routes([web.route("*", "/-/reload", self._reload)])
        if api is not None:
            app.add_subapp("/api/v1", api)
        context = None
        if watcher.current.context is not None:
            context = LiveContext.of(lambda: watcher.current.context)
        self._endpoints = [_Endpoint(app, ListenAddress(host, port), "metrics.listen", context)]
        if health is not None:
            health_app = web.Application()
            health_app.add_routes(health_routes)
            self._endpoints.append(_Endpoint(health_app, health, "metrics.health_listen"))

    @property
    def port(self) -> int:
        """The port on which metrics are served."""
        return self._endpoints[0].port

    @property
    def health_port(self) -> int | None:
        """The port on which only health is served, None without one."""
        return self._endpoints[1].port if len(self._endpoints) > 1 else None

    async def open(self) -> None:
        """Start to listen; raises ListenerError."""
        try:
            for endpoint in self._endpoints:
                await endpoint.open()
        except ListenerError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening."""
        for endpoint in self._endpoints:
            await endpoint.runner.cleanup()
        self._passwords.close()

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        snapshot = self._exposition.collect(request.headers.get("Accept", ""))
        headers = {"Content-Type": snapshot.content_type, "Vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            # One at a time: other scrapes reuse the blocks that this one compresses.
            async with self._compressing:
                parts = await asyncio.to_thread(lambda: gzip_parts(snapshot.blocks()))
            return await _send(request, parts, headers | {"Content-Encoding": "gzip"})
        texts = await asyncio.to_thread(lambda: [block.text for block in snapshot.blocks()])
        return await _send(request, texts, headers)

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="presenced is healthy.\n")

    async def _ready(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        return web.Response(text=readiness.text + "\n", status=200 if readiness.ready else 503)

    async def _reload(self, request: web.Request) -> web.Response:
        if self.reload is None:
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        if problems := await self.reload():
            lines = ["The configuration was not reloaded; the running one stays.", *problems]
            return web.Response(text="\n".join(lines) + "\n", status=500)
        return web.Response(text="The configuration was reloaded.\n")


class _Endpoint:
    """Serves an application on one address. `key` is the setting that holds the address."""

    def __init__(
        self,
        app: web.Application,
        address: ListenAddress,
        key: str,
        context: SSLContext | None = None,
    ) -> None:
        self.port = address.port
        self._host = address.host
        self._key = key
        self._context = context
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def open(self) -> None:
        await self.runner.setup()
        site = web.TCPSite(self.runner, self._host, self.port, ssl_context=self._context)
        try:
            await site.start()
        except OSError as error:
            reason, remedy = _bind_problem(error, self._key)
            address = f"{self._host or ''}:{self.port}"
            raise ListenerError(f"cannot listen on {address}: {reason}. {remedy}") from error
        self.port = self.runner.addresses[0][1]


def _bind_problem(error: OSError, key: str) -> tuple[str, str]:
    """Return why an address cannot be bound, and what to do; `key` is the setting that holds it."""
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}", f"Set {key} to a name or address of this machine"
    # asyncio replaces the system's text. Newer versions omit the number if no address is local.
    code = error.errno or errno.EADDRNOTAVAIL
    if code == errno.EADDRINUSE:
        remedy = f"Stop the program that uses the address, or set {key} to another one"
    elif code == errno.EACCES:
        remedy = f"Set {key} to a port from 1024, or give presenced CAP_NET_BIND_SERVICE"
    else:
        remedy = f"Set {key} to a name or address of this machine"
    return os.strerror(code), remedy


async def _send(
    request: web.Request, parts: Sequence[bytes | bytearray], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send the concatenation of the parts without building it in memory."""
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, parts))
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        # The client may close the connection, which aiohttp notices at the end.
        with suppress(ConnectionError):
            for number, piece in enumerate(_pieces(parts), 1):
                await response.write(piece)
                # A client that reads as fast as this writes would occupy the event loop.
                if number % _WRITES_PER_TURN == 0:
                    await asyncio.sleep(0)
    return response


def _pieces(parts: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Join parts into pieces that fit into caches and into one system call."""
    joined: list[bytes | bytearray] = []
    size = 0
    for part in parts:
        joined.append(part)
        size += len(part)
        if size >= _WRITE_SIZE:
            yield b"".join(joined)
            joined.clear()
            size = 0
    yield b"".join(joined)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Return whether gzip is accepted, by name or else by `*` (RFC 9110 section 12.5.3).

    A weight that is not a number counts as 0.
    """
    weights: dict[str, float] = {}
    for offer in accept_encoding.lower().split(","):
        coding, _, weight = offer.partition(";")
        try:
            weights[coding.strip()] = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0
