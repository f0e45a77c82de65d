"""Server-sent events over real sockets."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from api_fleet import ApiFleet, has_room
from presenced.metrics.exposition import Exposition
from presenced.presence import State, Transition
from presenced.web.api.problems import problems
from presenced.web.api.stream import Hub, serve_events
from presenced.web.connections import TimeLimits
from presenced.web.server import Listener
from waiting import until


@contextlib.asynccontextmanager
async def served(
    hub: Hub,
    on_prepare: Callable[[], None] = lambda: None,
    time_limits: TimeLimits = TimeLimits(),  # noqa: B008
) -> AsyncIterator[int]:
    """The port of a listener with this hub."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await serve_events(request, hub)

    async def prepared(*_: object) -> None:
        on_prepare()

    app = web.Application(middlewares=[problems])
    app.on_response_prepare.append(prepared)
    app.add_routes([web.get("/events", handle)])
    fleet = ApiFleet()
    listener = Listener(
        "127.0.0.1",
        0,
        Exposition(fleet.view, process_metrics=False),
        lambda: fleet.readiness,
        api=app,
        time_limits=time_limits,
    )
    await listener.open()
    try:
        yield listener.port
    finally:
        hub.close()
        await listener.close()


async def ask(
    port: int, method: str = "GET", query: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return reader, writer


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["a1", "a2", "b"]),
        ("?client_id=a1", ["a1"]),
        ("?prefix=a", ["a1", "a2"]),
        ("?state=offline", ["a2"]),
        ("?state=offline&state=online&prefix=a&client_id=a2", ["a2"]),
    ],
)
def test_the_query_selects_transitions(query, expected):
    async def run() -> None:
        hub = Hub()
        async with served(hub) as port:
            reader, writer = await ask(port, query=query)
            await reader.readuntil(b": listening\n")
            for name, state in (("a1", "online"), ("a2", "offline"), ("b", "online")):
                hub.publish(Transition(2.0, 1.0, name, State.UNKNOWN, State(state), None))
            for name in expected:
                text = await reader.readuntil(b"}")
                assert f'"client_id":"{name}"'.encode() in text
            hub.close()
            assert b"client_id" not in await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.close()

    asyncio.run(run())


def test_the_first_id_is_that_before_all_pending_events():
    """A subscriber that loses its connection right after it resumes with these events."""

    async def run() -> None:
        hub = Hub()
        first_id = hub.last_id

        def publish() -> None:
            hub.publish(Transition(2.0, 1.0, "a", State.UNKNOWN, State.ONLINE, None))

        async with served(hub, publish) as port:
            reader, writer = await ask(port)
            text = await reader.readuntil(b": listening\n")
            assert f"id: {first_id}\n".encode() in text
            assert f"id: {hub.last_id}\n".encode() in await reader.readuntil(b"}")
            writer.close()

    asyncio.run(run())


def test_a_heartbeat_carries_the_last_id():
    async def run() -> None:
        hub = Hub(max_subscribers=1, heartbeat=0.01)
        async with served(hub) as port:
            reader, writer = await ask(port)
            await reader.readuntil(b": listening\n")
            for number in range(3):
                text = await reader.readuntil(b": heartbeat\n")
                assert f"id: {hub.last_id}\n".encode() in text, number
            writer.close()
            await until(lambda: has_room(hub), what="the end of the subscription")

    asyncio.run(run())


def test_a_subscriber_that_reads_nothing_is_disconnected():
    async def run() -> None:
        hub = Hub(max_subscribers=1)
        async with served(hub, time_limits=TimeLimits(reading=0.2)) as port:
            with socket.socket() as stuck:
                stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stuck.connect(("127.0.0.1", port))
                stuck.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await until(lambda: not has_room(hub))
                name = "x" * 1000

                def flooded() -> bool:
                    for _ in range(100):
                        hub.publish(Transition(2.0, 1.0, name, State.OFFLINE, State.ONLINE, None))
                    return has_room(hub)

                await until(flooded, what="the end of the subscription")

    asyncio.run(run())


@pytest.mark.parametrize("leave", [socket.SHUT_RDWR, socket.SHUT_WR])
def test_a_subscription_ends_when_its_client_disconnects(leave):
    """Not only when the next heartbeat, which never comes here, cannot be written."""

    async def run() -> None:
        hub = Hub(max_subscribers=1, heartbeat=math.inf)
        async with served(hub) as port:
            for _ in range(3):
                reader, writer = await ask(port)
                await reader.readuntil(b": listening\n")
                assert not has_room(hub)
                writer.get_extra_info("socket").shutdown(leave)
                await until(lambda: has_room(hub), what="the end of the subscription")
                writer.close()

    asyncio.run(run())


def test_a_stream_outlives_the_time_limits_of_connections():
    async def run() -> None:
        hub = Hub(heartbeat=0.05)
        async with served(hub, time_limits=TimeLimits(0.05, 0.05, 0.05)) as port:
            reader, writer = await ask(port)
            for _ in range(20):
                await reader.readuntil(b": heartbeat\n")
            writer.close()

    asyncio.run(run())


def test_the_head_alone_ends():
    async def run() -> None:
        hub = Hub(max_subscribers=1)
        async with served(hub) as port:
            reader, writer = await ask(port, "HEAD")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head
            assert b"text/event-stream" in head
            assert has_room(hub)
            writer.close()

    asyncio.run(run())
