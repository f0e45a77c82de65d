"""Large answers to scrapes, by real clients that read fast, slowly, or not to the end."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client.registry import CollectorRegistry

from fleet_sources import metric_sources
from presenced.fleet import Fleet
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import MetricSources
from presenced.metrics.exposition import CONTENT_TYPES, Exposition, Snapshot
from presenced.metrics.series import series_blocks
from presenced.pipeline import Pipeline
from presenced.presence import Client, PresenceRules, State
from presenced.settings import MetricsSettings
from presenced.system.supervision import Readiness
from presenced.web.server import Listener

TEXT, OPENMETRICS = CONTENT_TYPES
CLIENTS = 40_000  # more text than sockets hold


def clients(state: State, transition: float) -> Iterator[Client]:
    """Every client, in a state since a moment."""
    for number in range(CLIENTS):
        client = Client(f"client-{number}")
        client.state, client.transition = state, transition
        yield client


class Scraped:
    """A listener of a fleet in which all clients are online since 1.0 s after the epoch."""

    def __init__(self, make_exposition: Callable[[MetricSources], Exposition]) -> None:
        pipeline = Pipeline(Fleet(PresenceRules()))
        metrics = ClientMetrics(pipeline.fleet, MetricsSettings(max_clients=CLIENTS))
        self.series = metrics.series
        for client in clients(State.ONLINE, 1.0):
            self.series.add(client)
        view = metric_sources(pipeline, metrics)
        ready = Readiness(ready=True, text="ready")
        self.exposition = make_exposition(view)
        self.listener = Listener("127.0.0.1", 0, self.exposition, lambda: ready)
        self.session = aiohttp.ClientSession(auto_decompress=False)

    @property
    def text(self) -> bytes:
        """What a scrape shows of the clients."""
        return b"".join(block.text for block in series_blocks([self.series]))

    async def get(
        self, path: str = "/metrics", *, zipped: bool = False, accept: str = "*/*"
    ) -> bytes:
        """The body of an answer, unpacked."""
        headers = {"Accept-Encoding": "gzip" if zipped else "identity", "Accept": accept}
        url = f"http://127.0.0.1:{self.listener.port}{path}"
        async with self.session.get(url, headers=headers) as answer:
            body = await answer.read()
            assert answer.status == 200
            assert answer.headers["Content-Length"] == str(len(body))
        return gzip.decompress(body) if zipped and path == "/metrics" else body

    async def request(self, method: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request on a connection of its own, of which nothing has been read."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        writer.write(method + b" /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return reader, writer


def plain_exposition(view: MetricSources) -> Exposition:
    return Exposition(view, process_metrics=False)


@asynccontextmanager
async def scraped(
    make_exposition: Callable[[MetricSources], Exposition] = plain_exposition,
) -> AsyncIterator[Scraped]:
    world = Scraped(make_exposition)
    await world.listener.open()
    try:
        yield world
    finally:
        await world.session.close()
        await world.listener.close()


def test_simultaneous_scrapes_are_complete() -> None:
    async def run() -> None:
        async with scraped() as world:
            wanted = world.text
            bodies = await asyncio.gather(*(world.get(zipped=bool(n % 2)) for n in range(6)))
            assert all(body.endswith(wanted) for body in bodies)
            for client in clients(State.OFFLINE, 2.0):
                world.series.show(client)
            assert world.text != wanted
            assert (await world.get()).endswith(world.text)
            assert (await world.get(zipped=True)).endswith(world.text)

    asyncio.run(run())


def test_a_slow_answer_shows_one_moment() -> None:
    async def run() -> None:
        async with scraped() as world:
            wanted = world.text
            reader, writer = await world.request(b"GET")
            await reader.readuntil(b"\r\n\r\n")
            for client in clients(State.OFFLINE, 2.0):
                world.series.show(client)
            assert (await world.get()).endswith(world.text)
            assert (await reader.read()).endswith(wanted)
            writer.close()

    asyncio.run(run())


def test_head_has_no_body() -> None:
    async def run() -> None:
        async with scraped() as world:
            reader, writer = await world.request(b"HEAD")
            answer = await reader.read()
            assert answer.endswith(b"\r\n\r\n")
            assert answer.count(b"\r\n\r\n") == 1
            assert f"Content-Length: {len(await world.get())}".encode() in answer
            writer.close()

    asyncio.run(run())


def test_a_client_that_disconnects_disturbs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with scraped() as world:
            reader, writer = await world.request(b"GET")
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            assert (await world.get()).endswith(world.text)

    asyncio.run(run())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


class HeldExposition(Exposition):
    """An exposition of which scrapes in OpenMetrics wait in their threads."""

    def __init__(self, view: MetricSources) -> None:
        super().__init__(view, process_metrics=False)
        self.begun, self.release = threading.Semaphore(0), threading.Event()

    def collect(self, content_type: str = TEXT) -> Snapshot:
        snapshot = super().collect(content_type)
        return snapshot if content_type == TEXT else replace(snapshot, encode=self._held(snapshot))

    def _held(self, snapshot: Snapshot) -> Callable[[CollectorRegistry], bytes]:
        def encode(registry: CollectorRegistry) -> bytes:
            self.begun.release()
            assert self.release.wait(30)
            return snapshot.encode(registry)

        return encode


def test_the_loop_goes_on_while_one_at_a_time_is_compressed() -> None:
    async def run() -> None:
        async with scraped(HeldExposition) as world:
            held = world.exposition
            assert isinstance(held, HeldExposition)
            scrapes = [
                asyncio.create_task(world.get(zipped=True, accept=OPENMETRICS)) for _ in range(2)
            ]
            assert await asyncio.to_thread(held.begun.acquire, timeout=30)
            assert await world.get("/-/healthy") == b"presenced is healthy.\n"
            assert (await world.get()).endswith(world.text)
            assert not held.begun.acquire(blocking=False), "the other one waits for its result"
            held.release.set()
            for body in await asyncio.gather(*scrapes):
                assert body.endswith(world.text + b"# EOF\n")

    asyncio.run(run())


class CountingExposition(HeldExposition):
    """It counts how often the metrics are collected."""

    collections = 0

    def collect(self, content_type: str = TEXT) -> Snapshot:
        self.collections += 1
        return super().collect(content_type)


@pytest.mark.parametrize("coding", [b"identity", b"gzip"])
def test_scrapes_that_wait_share_one_collection_made_after_their_arrival(coding: bytes) -> None:
    question = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n" + b"\r\n".join(
        [
            b"GET /metrics HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            b"Accept-Encoding: " + coding,
            b"Accept: " + OPENMETRICS.encode(),
            b"\r\n",
        ]
    )

    async def arrive(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask a second question at once with a first one, whose answer shows that both arrived."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question)
        await reader.readuntil(b"\r\n\r\nready\n")
        return reader, writer

    async def body(client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
        answer = (await client[0].read()).partition(b"\r\n\r\n")[2]
        client[1].close()
        return gzip.decompress(answer) if coding == b"gzip" else answer

    async def run() -> None:
        async with scraped(CountingExposition) as world:
            held = world.exposition
            assert isinstance(held, CountingExposition)
            before = world.text
            first = await arrive(world.listener.port)
            assert await asyncio.to_thread(held.begun.acquire, timeout=30)
            gone, *others = [await arrive(world.listener.port) for _ in range(20)]
            gone[1].transport.abort()
            for client in clients(State.OFFLINE, 2.0):
                world.series.show(client)
            held.release.set()
            assert (await body(first)).endswith(before + b"# EOF\n")
            for answer in await asyncio.gather(*map(body, others)):
                assert answer.endswith(world.text + b"# EOF\n")
            assert held.collections == 2

    asyncio.run(run())
