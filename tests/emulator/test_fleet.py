import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from presenced_emulator import devices as plants
from presenced_emulator import fleet
from presenced_emulator.devices import Act, Ending, client_ids
from presenced_emulator.fleet import Device, run_fleet
from presenced_emulator.lifecycle import TIMESTAMP_ERROR_MS, DisconnectReason

OpenStage = Callable[[], Any]

REASONS = {
    Ending.SLEEP: "CLIENT_INITIATED_DISCONNECT",
    Ending.FLAP: "CONNECTION_LOST",
    Ending.TAKEOVER: "DUPLICATE_CLIENTID",
    Ending.VANISH: "CONNECTION_LOST",
    Ending.SILENCE: "MQTT_KEEP_ALIVE_TIMEOUT",
}


@pytest.mark.parametrize("ending", Ending)
def test_endings(stage: OpenStage, ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(client_id: str, seed: int) -> Iterator[Act]:
        return chain([Act(0.1, ending, 0.0)], repeat(Act(60.0, Ending.SLEEP, 0.0)))

    monkeypatch.setattr(fleet, "script", script)
    monkeypatch.setattr(fleet, "KEEP_ALIVE", 1)

    async def scenario() -> None:
        async with stage() as on:
            device = asyncio.create_task(Device("sensor-0001", on.devices).run(1))
            ended = await on.event("sensor-0001", "disconnected")
            await on.event("sensor-0001", "connected", 2)
            await on.event("sensor-0001", "subscribed", 2)
            assert on.connected == {"sensor-0001"}
            device.cancel()
            await asyncio.wait({device})
            last = await on.event("sensor-0001", "disconnected", 2)
        assert ended["disconnectReason"] == REASONS[ending]
        assert last["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"

    asyncio.run(scenario())


def test_device_comes_back_when_dropped(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            device = asyncio.create_task(Device("camera-0001", on.devices).run(1))
            await on.event("camera-0001", "connected")
            for peer in list(on.broker._holders.values()):
                if peer.client_id == "camera-0001":
                    peer.end(DisconnectReason.SERVER_INITIATED_DISCONNECT)
            await on.event("camera-0001", "connected", 2)
            device.cancel()
            await asyncio.wait({device})

    asyncio.run(scenario())


def test_a_thing_is_told_before_its_device_connects(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            running = asyncio.create_task(run_fleet(4, on.broker, on.devices, 1))
            for client_id in client_ids(4):
                event = await on.event(client_id, "connected")
                thing = on.broker.registry.things[plants.thing(client_id)]
                assert event.get("thingName") == (thing.name if "/" in client_id else None)
            await on.until(
                lambda: sum(topic.startswith("$aws/events/thing/") for topic in on.topics) >= 5
            )
            (spare,) = client_ids(5)[4:]
            assert spare not in on.connected
            running.cancel()
            await asyncio.wait({running})
            await on.until(lambda: not on.broker.truth().roll.in_flight)
            for client_id in client_ids(4):
                created = on.topics.index(f"$aws/events/thing/{plants.thing(client_id)}/created")
                connected = on.topics.index(f"$aws/events/presence/connected/{client_id}")
                times = [on.messages[place][1]["timestamp"] for place in (created, connected)]
                # Lifecycle events are misdated, and either may be delivered late.
                assert times[0] < times[1] + TIMESTAMP_ERROR_MS

    asyncio.run(scenario())


def test_the_roll_names_the_thing_of_each_client(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            running = asyncio.create_task(run_fleet(4, on.broker, on.devices, 1))
            for client_id in client_ids(4):
                await on.event(client_id, "connected")
            roll = on.broker.truth().roll
            assert {roll.thing_of[each] for each in client_ids(4)} <= roll.things.keys()
            standing = roll.things["plant-pump-0004"]
            assert standing.thing_type == "actuator"
            assert "plants" in standing.groups
            assert len(standing.groups) == 3
            running.cancel()
            await asyncio.wait({running})

    asyncio.run(scenario())


def test_devices_come_and_go_with_the_changes(
    stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "CHANGE_EVERY", 0.05)

    async def scenario() -> None:
        async with stage() as on:
            running = asyncio.create_task(run_fleet(4, on.broker, on.devices, 1))
            await on.until(lambda: bool(on.connected - set(client_ids(4))))
            await on.until(lambda: len(set(client_ids(4)) - on.connected) > 0)
            running.cancel()
            await asyncio.wait({running})
            await on.until(lambda: not on.connected)

    asyncio.run(scenario())


def test_fleet_connects_and_says_goodbye(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            running = asyncio.create_task(run_fleet(12, on.broker, on.devices, 1))
            for client_id in client_ids(12):
                await on.event(client_id, "connected")
            running.cancel()
            await asyncio.wait({running})
            await on.until(lambda: not on.connected)

    asyncio.run(scenario())
