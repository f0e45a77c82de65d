"""Time limits and the number of connections, with limits of fractions of a second."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from api_fleet import ApiFleet
from presenced.metrics.exposition import Exposition
from presenced.settings import ListenAddress
from presenced.web.connections import TimeLimits, connection_limit
from presenced.web.server import Listener
from waiting import until

REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = 60.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Listener]:
    fleet = ApiFleet()
    exposition = Exposition(fleet.view, process_metrics=False)
    listener = Listener("127.0.0.1", 0, exposition, lambda: fleet.readiness, **options)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


async def connect(listener: Listener, data: bytes = b"") -> Streams:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(data)
    return reader, writer


async def answered(streams: Streams) -> bytes:
    """An answer, after which the connection stays open."""
    head = await asyncio.wait_for(streams[0].readuntil(b"\r\n\r\n"), 20)
    assert b" 200 " in head
    return await streams[0].readuntil(b"healthy.\n")


async def ended(streams: Streams) -> bytes:
    """What comes until the listener closes the connection."""
    try:
        return await asyncio.wait_for(streams[0].read(), 20)
    except ConnectionError:
        return b""
    finally:
        streams[1].close()


@pytest.mark.parametrize("data", [b"", b"GET", REQUEST[:-2], REQUEST + b"GET"])
def test_headers_that_do_not_end(data: bytes) -> None:
    async def run() -> None:
        async with listening(time_limits=TimeLimits(headers=0.2, idle=LONG)) as listener:
            streams = await connect(listener, data)
            if data.startswith(REQUEST):
                await answered(streams)
                streams[1].write(b" ")
            assert await ended(streams) == b""

    asyncio.run(run())


def test_an_idle_connection_is_closed_and_an_active_one_is_not() -> None:
    async def run() -> None:
        async with listening(time_limits=TimeLimits(headers=LONG, idle=0.4)) as listener:
            idle, active = await connect(listener, REQUEST), await connect(listener, REQUEST)
            await answered(idle)
            await answered(active)
            closing = asyncio.create_task(ended(idle))
            while not closing.done():
                active[1].write(REQUEST)
                await answered(active)
            assert await closing == b""
            active[1].close()

    asyncio.run(run())


def test_a_body_that_does_not_come() -> None:
    async def run() -> None:
        async with listening(time_limits=TimeLimits(headers=0.2, idle=LONG)) as listener:
            head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            assert b" 405 " in await ended(await connect(listener, head))

    asyncio.run(run())


def test_a_new_connection_takes_the_place_of_the_one_that_waited_longest() -> None:
    async def run() -> None:
        async with listening(max_connections=3) as listener:
            first, second, third = [await connect(listener, REQUEST) for _ in range(3)]
            for each in (first, second, third):
                await answered(each)
            first[1].write(REQUEST)
            await answered(first)
            fourth = await connect(listener, REQUEST)
            await answered(fourth)
            assert await ended(second) == b"", "it was idle for longest"
            for each in (first, third, fourth):
                each[1].write(REQUEST)
                await answered(each)
                each[1].close()

    asyncio.run(run())


def test_without_a_connection_that_waits_a_new_one_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run() -> None:
        work = asyncio.Event()

        waiting = 0

        async def reload() -> list[str]:
            nonlocal waiting
            waiting += 1
            await work.wait()
            return []

        async with listening(max_connections=2, reload=reload) as listener:
            question = b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            busy = [await connect(listener, question) for _ in range(2)]
            await until(lambda: waiting == 2, what="both reloads")
            assert await ended(await connect(listener, REQUEST)) == b""
            work.set()
            for each in busy:
                assert b"was reloaded" in await ended(each)

    asyncio.run(run())
    assert capsys.readouterr().out.count("too many connections: new ones are refused") == 1


def test_a_place_is_free_again_when_its_client_has_gone() -> None:
    async def run() -> None:
        async with listening(max_connections=1) as listener:
            for _ in range(20):
                streams = await connect(listener, REQUEST)
                await answered(streams)
                streams[1].close()

    asyncio.run(run())


def test_health_has_connections_of_its_own() -> None:
    async def run() -> None:
        health = ListenAddress("127.0.0.1", 0)
        async with listening(max_connections=1, health=health) as listener:
            held = await connect(listener, REQUEST)
            await answered(held)
            assert listener.health_port is not None
            for _ in range(10):
                probe = await asyncio.open_connection("127.0.0.1", listener.health_port)
                probe[1].write(REQUEST)
                await answered(probe)
            held[1].write(REQUEST)
            await answered(held)
            held[1].close()

    asyncio.run(run())


def test_a_reload_goes_on_though_its_client_disconnects() -> None:
    async def run() -> None:
        begun, work, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def reload() -> list[str]:
            begun.set()
            await work.wait()
            done.set()
            return []

        async with listening(reload=reload) as listener:
            question = b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\n\r\n"
            streams = await connect(listener, question)
            await asyncio.wait_for(begun.wait(), 20)
            streams[1].close()
            work.set()
            await until(done.is_set, what="the end of the reload")

    asyncio.run(run())


async def answer_nobody(request: web.Request) -> web.StreamResponse:
    """Begin an answer when the connection has just been closed, as it is above the maximum."""
    assert request.transport is not None
    request.transport.abort()
    response = web.StreamResponse()
    await response.prepare(request)
    return response


async def fail(_: web.Request) -> web.StreamResponse:
    """Fail with an error of connections, while the client is connected."""
    raise ConnectionRefusedError


@pytest.mark.parametrize(("handler", "lines"), [(answer_nobody, 0), (fail, 1)])
def test_a_failure_is_an_error_only_while_its_client_is_connected(
    handler: Any, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> None:
        api = web.Application()
        api.add_routes([web.get("/answer", handler)])
        async with listening(api=api) as listener:
            question = b"GET /api/v1/answer HTTP/1.1\r\nHost: localhost\r\n\r\n"
            answer = await ended(await connect(listener, question))
            assert (b" 500 " in answer) == bool(lines)

    asyncio.run(run())
    assert capsys.readouterr().out.count("request failed") == lines


def test_the_number_depends_on_the_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for descriptors, connections in ((64, 32), (1024, 512), (65536, 512), (-1, 512), (1, 1)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=descriptors: (soft, soft))
        assert connection_limit() == connections
