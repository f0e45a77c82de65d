"""What the daemon answers over HTTP.

One address that an application is served on.

Answers that are large and lie in many parts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ssl import SSLContext

from aiohttp import hdrs, web

from presenced.metrics.exposition import Exposition, Snapshot, gzip_parts
from presenced.settings import ListenAddress
from presenced.system.supervision import Readiness
from presenced.web.console.pages import console_routes, plain_routes
from presenced.web.gate import Gate, PasswordCheck
from presenced.web.protection import Watch, live_context


class ListenerError(Exception):
    """The address cannot be listened on."""


class Endpoint:
    """Serves an application on an address until closed.

    No host means all addresses; port 0 takes a free one, which `port` then tells. `key` is the
    setting that holds the address.
    """

    def __init__(
        self,
        app: web.Application,
        address: ListenAddress,
        *,
        key: str,
        context: SSLContext | None = None,
    ) -> None:
        self.port = address.port
        self._host = address.host
        self._key = key
        self._context = context
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def open(self) -> None:
        """Begin to listen; raises `ListenerError` that says why it cannot."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ListenerError(
                f"cannot listen on {self._host or ''}:{self.port}: {error.strerror or error}. "
                f"Stop what uses the address, or set {self._key} to another"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


_PIECE = 256 * 1024
_TURN = 16


async def send(
    request: web.Request, parts: Sequence[bytes | bytearray], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with a body that the parts make, without putting all of it together in memory."""
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, parts))
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        # Whoever asked may leave; aiohttp finds that out for itself at the end of the answer.
        with suppress(ConnectionError):
            for number, piece in enumerate(_pieces(parts), 1):
                await response.write(piece)
                # Who reads as fast as this writes would have the loop for the whole answer.
                if number % _TURN == 0:
                    await asyncio.sleep(0)
    return response


def _pieces(parts: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Parts joined to pieces of about a size that caches hold and one call can send."""
    joined: list[bytes | bytearray] = []
    size = 0
    for part in parts:
        joined.append(part)
        size += len(part)
        if size >= _PIECE:
            yield b"".join(joined)
            joined.clear()
            size = 0
    yield b"".join(joined)


Reload = Callable[[], Awaitable[Sequence[str]]]
"""Reloads the configuration; returns what is wrong with it, nothing where it was taken on."""


class Listener:
    """Serves one exposition on `host` and `port` until closed, to those whom `watch` lets in.

    No host means all addresses; port 0 takes a free one, which `port` then tells. At `health`, an
    address of its own, health and readiness are served to everybody. `api`, where there is one, is
    served below /api/v1, and `/` is a console that asks it. `reload` answers
    POST /-/reload and may be changed at any time; without it that path does not exist.
    """

    def __init__(
        self,
        host: str | None,
        port: int,
        exposition: Exposition,
        readiness: Callable[[], Readiness],
        *,
        watch: Watch | None = None,
        health: ListenAddress | None = None,
        reload: Reload | None = None,
        api: web.Application | None = None,
    ) -> None:
        self._exposition = exposition
        self._readiness = readiness
        self._watch = watch or Watch(None)
        self._passwords = PasswordCheck()
        self._zipping = asyncio.Lock()
        self.reload = reload
        app = web.Application()
        app.add_routes(plain_routes(readiness) if api is None else console_routes())
        app.add_routes([web.get("/metrics", self._metrics)])
        app.add_routes([*self._health_routes(), web.route("*", "/-/reload", self._reload)])
        if api is not None:
            app.add_subapp("/api/v1", api)
        Gate(self._watch, self._passwords).attach(app)
        context = live_context(self._watch)
        address = ListenAddress(host, port)
        self._main = Endpoint(app, address, key="metrics.listen", context=context)
        self._health = self._health_endpoint(health) if health else None

    @property
    def port(self) -> int:
        """The port that metrics are served on."""
        return self._main.port

    @property
    def health_port(self) -> int | None:
        """The port that health alone is served on, None where there is none."""
        return self._health.port if self._health else None

    async def open(self) -> None:
        """Begin to listen; raises `ListenerError` that says why it cannot."""
        await self._main.open()
        if self._health is None:
            return
        try:
            await self._health.open()
        except ListenerError:
            await self._main.close()
            raise

    async def close(self) -> None:
        """Stop listening."""
        await self._main.close()
        if self._health is not None:
            await self._health.close()
        self._passwords.close()

    def _health_routes(self) -> list[web.RouteDef]:
        return [web.get("/-/healthy", self._healthy), web.get("/-/ready", self._ready)]

    def _health_endpoint(self, address: ListenAddress) -> Endpoint:
        app = web.Application()
        app.add_routes(self._health_routes())
        return Endpoint(app, address, key="metrics.health_listen")

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        snapshot = self._exposition.collect(request.headers.get("Accept", ""))
        headers = {"Content-Type": snapshot.content_type, "Vary": "Accept, Accept-Encoding"}
        if not _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            return await send(request, await asyncio.to_thread(_plain, snapshot), headers)
        # One after the other: what the first compresses, the others need not.
        async with self._zipping:
            parts = await asyncio.to_thread(_zipped, snapshot)
        return await send(request, parts, headers | {"Content-Encoding": "gzip"})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="presenced is healthy.\n")

    async def _reload(self, request: web.Request) -> web.Response:
        if self.reload is None:
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        problems = await self.reload()
        if problems:
            told = "\n".join(
                ["The configuration was not reloaded; the running one stays.", *problems]
            )
            return web.Response(text=told + "\n", status=500)
        return web.Response(text="The configuration was reloaded.\n")

    async def _ready(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        return web.Response(text=readiness.text + "\n", status=200 if readiness.ready else 503)


def _plain(snapshot: Snapshot) -> list[bytes | bytearray]:
    return [block.text for block in snapshot.blocks()]


def _zipped(snapshot: Snapshot) -> list[bytes]:
    return gzip_parts(snapshot.blocks())


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted, by name or else by `*`, with a weight above 0.

    As RFC 9110 section 12.5.3 has it; a weight that is none counts as 0.
    """
    weights: dict[str, float] = {}
    for offer in accept_encoding.lower().split(","):
        coding, _, weight = offer.partition(";")
        try:
            weights[coding.strip()] = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0
