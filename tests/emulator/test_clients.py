"""Simulated devices as real clients of the embedded broker."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from presenced_emulator.clients import DeviceClient, run_fleet
from presenced_emulator.devices import (
    OFFLINE,
    ONLINE,
    STATUS_FILTER,
    Ending,
    client_ids,
    status_topic,
    thing_name,
)
from presenced_emulator.fleet import Connect, Disconnect, FleetLife, FleetPlan, Remove
from presenced_emulator.lifecycle import TIMESTAMP_ERROR_MS, DisconnectReason

OpenStage = Callable[[], Any]

REASONS = {
    Ending.SLEEP: "CLIENT_INITIATED_DISCONNECT",
    Ending.FLAP: "CONNECTION_LOST",
    Ending.VANISH: "CONNECTION_LOST",
    Ending.SILENCE: "MQTT_KEEP_ALIVE_TIMEOUT",
}
SENSOR = "sensor-0001"


def fleet(on: Any, devices: int, **more: Any) -> asyncio.Task[None]:
    """A fleet that lives on the broker."""
    plan = FleetPlan(devices=devices, seed=1, changes=True, **more)
    life = FleetLife(plan, on.broker.registry)
    return asyncio.create_task(run_fleet(life, on.broker.publish, on.devices))


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("ending", REASONS)
def test_endings(stage: OpenStage, ending: Ending) -> None:
    async def scenario() -> None:
        async with stage() as on:
            device = DeviceClient(SENSOR, on.devices, keep_alive=1)
            running = asyncio.create_task(device.run())
            for step in (Connect(SENSOR), Disconnect(SENSOR, ending), Connect(SENSOR)):
                device.perform(step)
            ended = await on.event(SENSOR, "disconnected")
            await on.event(SENSOR, "connected", 2)
            await on.event(SENSOR, "subscribed", 2)
            assert on.connected == {SENSOR}
            await stopped(running)
            last = await on.event(SENSOR, "disconnected", 2)
        assert ended["disconnectReason"] == REASONS[ending]
        assert last["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"

    asyncio.run(scenario())


def test_a_second_connect_takes_over(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            device = DeviceClient(SENSOR, on.devices)
            running = asyncio.create_task(device.run())
            device.perform(Connect(SENSOR))
            device.perform(Connect(SENSOR))
            ended = await on.event(SENSOR, "disconnected")
            assert ended["disconnectReason"] == "DUPLICATE_CLIENTID"
            assert on.connected == {SENSOR}
            await stopped(running)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "then",
    [*((Disconnect(SENSOR, ending), Connect(SENSOR)) for ending in REASONS), (Connect(SENSOR),)],
    ids=[*(ending.name for ending in REASONS), "TAKEOVER"],
)
def test_a_device_reports_its_status(
    stage: OpenStage, watcher: OpenStage, then: tuple[Connect | Disconnect, ...]
) -> None:
    async def scenario() -> None:
        async with stage() as on, watcher(on) as client, asyncio.timeout(20):
            await client.subscribe(STATUS_FILTER, qos=1)
            messages = aiter(client.messages)
            device = DeviceClient(SENSOR, on.devices, keep_alive=1, reports_status=True)
            running = asyncio.create_task(device.run())
            for step in (Connect(SENSOR), *then):
                device.perform(step)
            statuses = [(await anext(messages)).payload for _ in range(3)]
            assert statuses == [ONLINE, OFFLINE, ONLINE]
            await stopped(running)
            assert (await anext(messages)).payload == OFFLINE
            await client.subscribe(status_topic(SENSOR), qos=1)
            kept = await anext(messages)
            assert (kept.payload, kept.retain, kept.qos) == (OFFLINE, True, 1)

    asyncio.run(scenario())


def test_a_removed_device_ends(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            device = DeviceClient(SENSOR, on.devices)
            device.perform(Connect(SENSOR))
            device.perform(Disconnect(SENSOR, Ending.SLEEP))
            device.perform(Remove(SENSOR))
            await device.run()
            await on.until(lambda: not on.connected)

    asyncio.run(scenario())


def test_device_comes_back_when_dropped(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            device = DeviceClient(SENSOR, on.devices)
            running = asyncio.create_task(device.run())
            device.perform(Connect(SENSOR))
            await on.event(SENSOR, "connected")
            on.broker._holders[SENSOR].end(DisconnectReason.SERVER_INITIATED_DISCONNECT)
            ended = await on.event(SENSOR, "disconnected")
            assert ended["disconnectReason"] == "SERVER_INITIATED_DISCONNECT"
            await on.event(SENSOR, "connected", 2)
            await stopped(running)

    asyncio.run(scenario())


def test_a_thing_is_created_before_its_device_connects(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            running = fleet(on, 4)
            for client_id in client_ids(4):
                event = await on.event(client_id, "connected")
                thing = on.broker.registry.things[thing_name(client_id)]
                assert event.get("thingName") == (thing.name if "/" in client_id else None)
            await on.until(
                lambda: sum(topic.startswith("$aws/events/thing/") for topic in on.topics) >= 5
            )
            (spare,) = client_ids(5)[4:]
            assert spare not in on.connected
            await stopped(running)
            await on.until(lambda: not on.broker.truth().things_in_flight)
            for client_id in client_ids(4):
                created = on.topics.index(f"$aws/events/thing/{thing_name(client_id)}/created")
                connected = on.topics.index(f"$aws/events/presence/connected/{client_id}")
                times = [on.messages[place][1]["timestamp"] for place in (created, connected)]
                # Lifecycle events are misdated, and either may be delivered late.
                assert times[0] < times[1] + TIMESTAMP_ERROR_MS

    asyncio.run(scenario())


def test_the_truth_names_the_thing_of_each_client(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            running = fleet(on, 4)
            for client_id in client_ids(4):
                await on.event(client_id, "connected")
            snapshot = on.broker.truth()
            assert {snapshot.thing_of[each] for each in client_ids(4)} <= snapshot.things.keys()
            pump = snapshot.things["plant-pump-0004"]
            assert pump.thing_type == "actuator"
            assert "plants" in pump.groups
            assert len(pump.groups) == 3
            await stopped(running)

    asyncio.run(scenario())


def test_devices_come_and_go_with_the_changes(
    stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presenced_emulator.fleet.CHANGE_EVERY", 0.05)

    async def scenario() -> None:
        async with stage() as on:
            running = fleet(on, 4)
            await on.until(lambda: bool(on.connected - set(client_ids(4))))
            await on.until(lambda: len(set(client_ids(4)) - on.connected) > 0)
            await stopped(running)
            await on.until(lambda: not on.connected)

    asyncio.run(scenario())


def test_fleet_connects_and_disconnects(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            running = fleet(on, 12)
            for client_id in client_ids(12):
                await on.event(client_id, "connected")
            await stopped(running)
            await on.until(lambda: not on.connected)

    asyncio.run(scenario())


def test_a_fleet_pauses_until_it_may_go_on(stage: OpenStage) -> None:
    async def scenario() -> None:
        async with stage() as on:
            plan = FleetPlan(devices=10, seed=1, calm=True)
            go_on = asyncio.Event()
            life = FleetLife(plan, on.broker.registry)
            running = asyncio.create_task(
                run_fleet(
                    life,
                    on.broker.publish,
                    on.devices,
                    pause_at=plan.first_connect(10),
                    resume=go_on,
                )
            )
            await on.until(lambda: len(on.connected) == 10)
            assert not [topic for topic in on.topics if "/disconnected/" in topic]
            await asyncio.sleep(1)
            assert len(on.connected) == 10
            assert life.next_at is not None
            assert life.next_at > plan.first_connect(10)
            go_on.set()
            await on.until(lambda: any("/disconnected/" in topic for topic in on.topics))
            await stopped(running)

    asyncio.run(scenario())
