"""The listener, by a real client."""

import asyncio
import errno
import gzip
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from fleet_sources import metric_sources
from presenced.fleet import Fleet
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.settings import MetricsSettings
from presenced.system.supervision import Readiness
from presenced.web.server import Listener
from presenced.web.sockets import ListenerError

Get = Callable[..., Awaitable[aiohttp.ClientResponse]]


def serve(
    use: Callable[[Get], Awaitable[None]],
    readiness: Readiness = Readiness(ready=True, text="ready"),  # noqa: B008
) -> None:
    """Run `use` with a function that asks a listener."""

    async def run() -> None:
        pipeline = Pipeline(Fleet(PresenceRules()))
        view = metric_sources(pipeline, ClientMetrics(pipeline.fleet, MetricsSettings()))
        listener = Listener("127.0.0.1", 0, Exposition(view), lambda: readiness)
        await listener.open()
        url = f"http://127.0.0.1:{listener.port}"
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as session:

                async def get(path: str, method: str = "GET", **headers: str) -> object:
                    names = {name.replace("_", "-"): value for name, value in headers.items()}
                    return await session.request(method, url + path, headers=names)

                await use(get)
        finally:
            await listener.close()

    asyncio.run(run())


def test_health_and_readiness() -> None:
    async def use(get: Get) -> None:
        assert (await get("/-/healthy")).status == 200
        ready = await get("/-/ready")
        assert (ready.status, await ready.text()) == (200, "ready\n")

    serve(use)


def test_not_ready_says_why() -> None:
    async def use(get: Get) -> None:
        assert (await get("/-/healthy")).status == 200
        ready = await get("/-/ready")
        assert (ready.status, await ready.text()) == (503, "<no broker>\n")
        page = await get("/")
        assert "Not ready: &lt;no broker&gt;." in await page.text()
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")

    serve(use, Readiness(ready=False, text="<no broker>"))


def test_the_page_links_to_the_rest() -> None:
    async def use(get: Get) -> None:
        page = await get("/")
        text = await page.text()
        assert page.content_type == "text/html"
        for link in ("metrics", "-/ready", "-/healthy"):
            assert f'href="{link}"' in text
            assert (await get(f"/{link}")).status == 200

    serve(use)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/metrics/", "GET", 404),
        ("/metrics", "POST", 405),
        ("/-/healthy", "DELETE", 405),
        ("/", "PUT", 405),
        ("/metrics", "HEAD", 200),
    ],
)
def test_other_paths_and_methods(path: str, method: str, status: int) -> None:
    async def use(get: Get) -> None:
        assert (await get(path, method)).status == status

    serve(use)


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, identity", False),
        ("*", True),
        ("br", False),
        ("identity, *;q=0", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0.0000", False),
        ("gzip;q=nonsense", False),
    ],
)
def test_gzip_where_accepted(accepts: str, compressed: bool) -> None:
    async def use(get: Get) -> None:
        answer = await get("/metrics", Accept_Encoding=accepts)
        body = await answer.read()
        assert (answer.headers.get("Content-Encoding") == "gzip") is compressed
        text = gzip.decompress(body) if compressed else body
        assert text.startswith(b"# HELP iot_clients ")

    serve(use)


def test_formats() -> None:
    async def use(get: Get) -> None:
        text = await get("/metrics", Accept="text/plain")
        assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        accept = "application/openmetrics-text;version=1.0.0"
        openmetrics = await get("/metrics", Accept=accept, Accept_Encoding="identity")
        assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await openmetrics.read()).endswith(b"# EOF\n")

    serve(use)


@pytest.mark.parametrize(
    ("host", "error", "message"),
    [
        ("nowhere.invalid", None, "Set metrics.listen to a name or address of this machine"),
        ("192.0.2.1", None, "Cannot assign requested address. Set metrics.listen to a name or"),
        (
            "127.0.0.1",
            PermissionError(errno.EACCES, "x"),
            "Permission denied. Set metrics.listen to a port",
        ),
    ],
)
def test_an_address_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, host: str, error: OSError | None, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        assert error is not None
        raise error

    if error is not None:
        monkeypatch.setattr("socket.create_server", fail)

    async def run() -> None:
        pipeline = Pipeline(Fleet(PresenceRules()))
        view = metric_sources(pipeline, ClientMetrics(pipeline.fleet, MetricsSettings()))
        ready = Readiness(ready=True, text="")
        await Listener(host, 9, Exposition(view), lambda: ready).open()

    with pytest.raises(ListenerError) as caught:
        asyncio.run(run())
    text = str(caught.value)
    assert text.startswith(f"cannot listen on {host}:9: ")
    assert message in text
    assert "while attempting" not in text


def test_an_address_that_is_taken() -> None:
    async def run() -> None:
        pipeline = Pipeline(Fleet(PresenceRules()))
        view = metric_sources(pipeline, ClientMetrics(pipeline.fleet, MetricsSettings()))
        ready = Readiness(ready=True, text="")
        first = Listener("127.0.0.1", 0, Exposition(view), lambda: ready)
        await first.open()
        second = Listener("127.0.0.1", first.port, Exposition(view), lambda: ready)
        with pytest.raises(
            ListenerError,
            match=rf"127.0.0.1:{first.port}: .*in use. Stop the program .*metrics.listen",
        ):
            await second.open()
        await first.close()

    asyncio.run(run())
