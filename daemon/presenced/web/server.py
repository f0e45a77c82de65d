"""The listener: metrics, health, reload, the API and the console over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from aiohttp import hdrs, web

from presenced.metrics.exposition import CONTENT_TYPES, Exposition
from presenced.settings import ListenAddress
from presenced.system.loop import to_its_end
from presenced.system.supervision import Readiness
from presenced.web.access import AccessControl
from presenced.web.connections import ConnectionPool, TimeLimits, connection_limit
from presenced.web.console.pages import console_routes, plain_routes
from presenced.web.cross_site import CrossSiteCheck
from presenced.web.negotiation import accepts_gzip, negotiate_type
from presenced.web.passwords import PasswordCheck
from presenced.web.protection import ProtectionWatcher
from presenced.web.scrapes import Parts, ScrapeRenderer
from presenced.web.sockets import ListenerError, bind

_WRITE_SIZE = 256 * 1024
_WRITES_PER_TURN = 16
_MIN_HEALTH_CONNECTIONS = 4

Reload = Callable[[], Awaitable[Sequence[str]]]
"""Reloads the configuration and returns its problems; if there are any, nothing has changed."""


class Listener:
    """Serves metrics, health, API and console on `host` and `port`, as far as `watcher` allows.

    Without a host it listens on all addresses; port 0 takes a free port, see `port`. Health and
    readiness are also served without protection on the address `health`. `api` is served below
    /api/v1, and the console that uses it at /. `reload` answers POST /-/reload and may be replaced
    at any time; if it is None, that path does not exist. `allowed_hosts` are further names by which
    people's browsers may call it. Of `max_connections` some are kept for `health`.
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
        allowed_hosts: Collection[str] = (),
        max_connections: int | None = None,
        time_limits: TimeLimits = TimeLimits(),  # noqa: B008 -- it is immutable
    ) -> None:
        self.reload = reload
        self._scrapes = ScrapeRenderer(exposition)
        self._readiness = readiness
        self._passwords = passwords or PasswordCheck()
        watcher = watcher or ProtectionWatcher(None)
        health_routes = [web.get("/-/healthy", self._healthy), web.get("/-/ready", self._ready)]
        access = AccessControl(watcher, self._passwords)
        self.cross_site = CrossSiteCheck(allowed_hosts)
        app = web.Application(middlewares=[self.cross_site.check, access.check])
        app.on_response_prepare.append(access.add_headers)
        app.add_routes(plain_routes(readiness) if api is None else console_routes())
        app.add_routes([web.get("/metrics", self._metrics), *health_routes])
        app.add_routes([web.route("*", "/-/reload", self._reload)])
        if api is not None:
            app.add_subapp("/api/v1", api)
        limit = max_connections or connection_limit()
        pool = ConnectionPool(limit, time_limits, tls=lambda: watcher.current.context)
        self._endpoints = [_Endpoint(app, ListenAddress(host, port), "metrics.listen", pool)]
        if health is not None:
            health_app = web.Application()
            health_app.add_routes(health_routes)
            pool = ConnectionPool(max(_MIN_HEALTH_CONNECTIONS, limit // 8), time_limits)
            self._endpoints.append(_Endpoint(health_app, health, "metrics.health_listen", pool))

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
            await endpoint.close()
        self._passwords.close()

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        content_type = negotiate_type(request, *CONTENT_TYPES)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if compressed := accepts_gzip(request):
            headers["Content-Encoding"] = "gzip"
        parts = await self._scrapes.render(content_type, compressed=compressed)
        return await _send(request, parts, headers)

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
        if problems := await to_its_end(self.reload()):
            lines = ["The configuration was not reloaded; the running one stays.", *problems]
            return web.Response(text="\n".join(lines) + "\n", status=500)
        return web.Response(text="The configuration was reloaded.\n")


class _Endpoint:
    """Serves an application on one address. `key` is the setting that holds the address."""

    def __init__(
        self, app: web.Application, address: ListenAddress, key: str, pool: ConnectionPool
    ) -> None:
        self.port = address.port
        self._address = address
        self._key = key
        self._pool = pool
        # Handlers end when their client disconnects.
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, handler_cancellation=True)

    async def open(self) -> None:
        sockets = await bind(self._address, self._key)
        self.port = sockets[0].getsockname()[1]
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 -- for mypy
        self._pool.open(sockets, self._runner.server)

    async def close(self) -> None:
        self._pool.stop()
        await self._runner.cleanup()
        self._pool.abort()


async def _send(
    request: web.Request, parts: Parts, headers: Mapping[str, str]
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
