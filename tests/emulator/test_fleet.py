import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from presenced.emulator import fleet
from presenced.emulator.behaviour import Act, Ending, client_ids
from presenced.emulator.fleet import Device, run_fleet
from presenced.emulator.lifecycle import DisconnectReason

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
