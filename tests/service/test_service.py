"""How messages, deadlines and acknowledgements meet on the loop."""

import asyncio
import json
import math
import time

import pytest

from presenced.events.message import Message
from presenced.presence import State
from presenced.service.delivery import DeadlineTimer
from presenced.service.service import Service
from presenced.settings import Settings, load_settings
from waiting import until


def settings(**presence: str) -> Settings:
    environ = {
        "PRESENCED_MQTT__ENDPOINT": "localhost",
        "PRESENCED_MQTT__TLS": "false",
        "PRESENCED_METRICS__LISTEN": "127.0.0.1:0",
    } | {f"PRESENCED_PRESENCE__{key.upper()}": value for key, value in presence.items()}
    return load_settings(None, environ=environ)


def make(**presence: str) -> Service:
    return Service(settings(**presence), load=lambda: settings(**presence))


def message(kind: str, version: int, age: float, acknowledged: list[int]) -> Message:
    return Message(
        topic=f"$aws/events/presence/{kind}/a",
        payload=json.dumps({"versionNumber": version, "sessionIdentifier": f"s{version}"}).encode(),
        qos=1,
        received=time.time() - age,
        moment=time.monotonic() - age,
        connection="presenced",
        acknowledge=lambda: acknowledged.append(version),
    )


def test_a_connect_that_waits_in_the_backlog_came_in_time() -> None:
    """Its disconnect's deadline is over by the clock, but it was received before that."""

    async def run() -> None:
        service = make()
        acknowledged: list[int] = []
        service._delivery.inbox.put(message("connected", 1, 100, acknowledged))
        service._delivery.inbox.put(message("disconnected", 1, 10, acknowledged))
        service._delivery.inbox.drain()
        service._delivery.inbox.put(message("connected", 2, 6, acknowledged))
        service._delivery._fire()
        client = service._presence.clients["a"]
        assert client.state is State.PENDING
        service._delivery.inbox.drain()
        assert client.state is State.ONLINE
        assert service._presence.counts.flaps_suppressed == 1
        assert acknowledged == [1, 1, 2]

    asyncio.run(run())


def test_a_deadline_fires_when_nothing_waits() -> None:
    async def run() -> None:
        service = make(offline_delay="50ms")
        service._delivery.inbox.put(message("connected", 1, 0, []))
        service._delivery.inbox.put(message("disconnected", 1, 0, []))
        service._delivery.inbox.drain()
        client = service._presence.clients["a"]
        assert client.state is State.PENDING
        await until(lambda: client.state is State.OFFLINE)
        service._delivery.timer.stop()

    asyncio.run(run())


def test_messages_are_acknowledged_even_where_applying_them_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message that trips over a fault of ours would come back for ever."""

    async def run() -> None:
        service = make()
        acknowledged: list[int] = []

        def fail(_: list[Message], __: int) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(service._pipeline, "process", fail)
        service._delivery.inbox.put(message("connected", 1, 0, acknowledged))
        service._delivery.inbox.drain()
        assert acknowledged == [1]

    asyncio.run(run())


def test_deadlines_that_are_let_go_leave_the_loop_to_others_and_the_message_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that were held, before one message, in one turn: that held up the loop."""
    monkeypatch.setattr("presenced.service.delivery._MOST_DEADLINES_A_TURN", 10)

    async def run() -> None:
        service = make()
        counts = service._presence.counts.clients
        service._delivery.hold(0.0)
        for kind, age in (("connected", 100), ("disconnected", 50)):
            for number in range(35):
                each = message(kind, 1, age, [])
                each.topic += str(number)
                service._delivery.inbox.put(each)
        service._delivery.inbox.drain()
        assert counts[State.PENDING] == 35
        service._delivery.timer.stop()
        service._delivery._outage_held_at = service._pipeline.held_at = math.inf
        acknowledged: list[int] = []
        service._delivery.inbox.put(message("connected", 7, 0, acknowledged))
        seen = []
        while not acknowledged:
            await asyncio.sleep(0)
            service._delivery.timer.stop()
            seen.append(counts[State.OFFLINE])
        assert set(seen) >= {10, 20, 30}, "other things had their turns in between"
        assert counts == {"online": 1, "pending": 0, "offline": 35, "unknown": 0}
        assert service._delivery.inbox.backlog == 0

    asyncio.run(run())


def test_the_timer_follows_the_earliest_deadline() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        deadlines: list[float] = []
        fired: list[float] = []

        def fire() -> None:
            fired.append(deadlines.pop(0))

        timer = DeadlineTimer(loop, lambda: min(deadlines, default=None), fire)
        timer.arm()
        assert timer._handle is None
        deadlines.append(loop.time() + 3600)
        timer.arm()
        deadlines.insert(0, loop.time() + 0.01)
        timer.arm()
        await until(lambda: len(fired) == 1)
        assert timer._handle is not None, "armed again for the one that is left"
        timer.stop()
        assert timer._handle is None

    asyncio.run(run())


def test_nothing_is_concluded_once_messages_are_refused() -> None:
    """The connect that comes while the connection is being ended would have been in time."""

    async def run() -> None:
        service = make()
        acknowledged: list[int] = []
        service._delivery.inbox.put(message("connected", 1, 100, acknowledged))
        service._delivery.inbox.put(message("disconnected", 1, 0, acknowledged))
        service._delivery.inbox.drain()
        assert service._pipeline.next_deadline is not None
        assert service._delivery.timer._handle is not None
        service._delivery.close()
        assert not service._delivery.inbox.put(message("connected", 2, 0, acknowledged))
        service._delivery.hold(math.inf)  # as an acknowledgement that still comes does
        assert service._delivery.timer._handle is None

    asyncio.run(run())
