"""A listener with the console of a fleet on a virtual clock, for browsers and other clients."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from api_fleet import ApiFleet
from presenced.metrics.exposition import Exposition
from presenced.web.server import Listener

Result = TypeVar("Result")


class Stage:
    """A fleet whose console is at `url`, on an event loop of its own."""

    def __init__(self, fleet: ApiFleet, loop: asyncio.AbstractEventLoop) -> None:
        self.fleet = fleet
        self.url = ""
        self._loop = loop

    def call(self, act: Callable[[], Result], timeout: float = 10) -> Result:
        """Do something on the loop of the fleet, and wait until it is done."""

        async def done() -> Result:
            return act()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(timeout)


@contextmanager
def staged(path: str = "/", **options: Any) -> Iterator[Stage]:
    """A fleet and its console; below another path it is what a reverse proxy makes of it.

    `options` are those of the fleet.
    """
    loop = asyncio.new_event_loop()

    async def made() -> ApiFleet:
        return ApiFleet(**options)

    stage = Stage(loop.run_until_complete(made()), loop)
    fleet = stage.fleet
    listener = Listener(
        "127.0.0.1",
        0,
        Exposition(fleet.view, process_metrics=False),
        lambda: fleet.readiness,
        api=fleet.api.application(),
    )
    loop.run_until_complete(listener.open())
    stage.url = f"http://127.0.0.1:{listener.port}/"
    proxy = None
    if path != "/":
        proxy = web.AppRunner(_proxy(path, stage.url), shutdown_timeout=0.1)
        loop.run_until_complete(proxy.setup())
        loop.run_until_complete(web.TCPSite(proxy, "127.0.0.1", 0).start())
        stage.url = f"http://127.0.0.1:{proxy.addresses[0][1]}{path}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield stage
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        if proxy is not None:
            loop.run_until_complete(proxy.cleanup())
        loop.run_until_complete(listener.close())
        if fleet.reconciler is not None:
            loop.run_until_complete(fleet.reconciler.stop())
        loop.close()


def _proxy(path: str, url: str) -> web.Application:
    """A reverse proxy that passes on what is asked below a path."""

    async def passed_on(request: web.Request) -> web.StreamResponse:
        target = url + request.raw_path.removeprefix(path)
        headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
        session = aiohttp.ClientSession(auto_decompress=False)
        async with (
            session,
            session.get(aiohttp.client.URL(target, encoded=True), headers=headers) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response

    app = web.Application()
    app.add_routes([web.get(path + "{rest:.*}", passed_on)])
    return app
