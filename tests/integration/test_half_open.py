"""A connection that stays open while nothing comes any more: how soon it is noticed."""

import asyncio
import time
from typing import Any

import pytest

from brokers import Mosquitto
from presenced.settings import MqttSettings
from presenced.sources.mqtt.link import ping_timeout
from scripted_broker import CONNACK, CONNECT, SUBSCRIBE, Peer, scripted_broker
from source_harness import KINDS, running
from waiting import until

SHORTEST, LONGEST = 5, 20 * 60


def test_the_settings_allow_these_keep_alives() -> None:
    for seconds in (SHORTEST, LONGEST):
        assert MqttSettings(keep_alive=f"{seconds}s").keep_alive == seconds


@pytest.mark.parametrize("keep_alive", [SHORTEST, 10, 20, 21, 30, LONGEST])
def test_a_ping_is_answered_before_one_and_a_half_keep_alives(keep_alive: int) -> None:
    assert 2.5 <= ping_timeout(keep_alive) <= keep_alive / 2


def test_a_broker_that_falls_silent_is_noticed_in_time(broker_of: Any) -> None:
    """All transports at once: after the last message it takes one and a half keep-alives.

    Twice the keep-alive, which is what paho alone would take, is too late.
    """
    broker: Mosquitto = broker_of()

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            silent = asyncio.Barrier(len(KINDS) + 1)
            for kind in KINDS:
                group.create_task(noticed(kind, silent))
            await silent.wait()
            await asyncio.to_thread(broker.publish, [("$aws/events/last", b"")])
            await silent.wait()
            broker.freeze()
            await silent.wait()

    async def noticed(kind: tuple[str, str], silent: asyncio.Barrier) -> None:
        name = "-".join(kind)
        async with running(kind, broker.port, client_id=name, keep_alive=SHORTEST) as harness:
            await until(lambda: harness.ready)
            await silent.wait()
            await until(lambda: harness.received)
            last = time.monotonic()
            await silent.wait()
            await silent.wait()
            left = last + 1.9 * SHORTEST - time.monotonic()
            await until(lambda: not harness.status.connected, left, f"{name} notices it")
            assert harness.failures().get("keep_alive_timeout") == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_connack_may_take_longer_than_the_keep_alive(kind: tuple[str, str]) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(CONNECT)
        await asyncio.sleep(2.5)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    async def scenario() -> None:
        async with scripted_broker(script) as port, running(kind, port, keep_alive=1) as harness:
            await until(lambda: harness.ready or harness.failures())
            assert harness.failures() == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] == "5"], ids="-".join)
def test_the_keep_alive_that_the_broker_demands_applies(kind: tuple[str, str]) -> None:
    server_keep_alive = b"\x13\x00\x01"  # 1 s (MQTT 5 section 3.2.2.3.14)

    async def script(peer: Peer) -> None:
        await peer.expect(CONNECT)
        peer.send(CONNACK << 4, bytes([0, 0, len(server_keep_alive)]) + server_keep_alive)
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    async def scenario() -> None:
        async with scripted_broker(script) as port, running(kind, port, keep_alive=60) as harness:
            await until(harness.failures, 30)
            assert set(harness.failures()) == {"keep_alive_timeout"}

    asyncio.run(scenario())
