"""Simulated devices, real MQTT clients that act out their scripts; and their fleet's upkeep."""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Never, Protocol

from presenced_emulator.devices import Ending, script
from presenced_emulator.events import Event
from presenced_emulator.registry import Registry
from presenced_emulator.upkeep import Upkeep
from presenced_emulator.wire import Link, Server

KEEP_ALIVE = 6
LONGEST_SILENCE = 3.0 * KEEP_ALIVE
RETRY_AFTER = 1.0
CONNECTS_PER_SECOND = 50
FIRST_CONNECT_AFTER = 0.5
CHANGE_EVERY = 1.5


class Device:
    """One simulated device."""

    def __init__(self, client_id: str, server: Server) -> None:
        self._client_id = client_id
        self._server = server
        self._link: Link | None = None

    async def run(self, seed: int, *, delay: float = 0.0) -> None:
        """Connect after a delay and follow the script until cancelled, then disconnect cleanly."""
        await asyncio.sleep(delay)
        try:
            for act in script(self._client_id, seed):
                link = await self._connect()
                await link.stay(act.stay)
                await self._end(link, act.ending)
                await asyncio.sleep(act.away)
        finally:
            if self._link:
                await self._link.disconnect()

    async def _connect(self) -> Link:
        link = await self._open()
        if self._link:
            self._link.drop()
        self._link = link
        link.subscribe(f"devices/{self._client_id}/commands")
        return link

    async def _open(self) -> Link:
        while True:
            try:
                return await Link.open(self._server, self._client_id, keep_alive=KEEP_ALIVE)
            except OSError:
                await asyncio.sleep(RETRY_AFTER)

    async def _end(self, link: Link, ending: Ending) -> None:
        if ending is Ending.TAKEOVER:
            return  # the next connection ends this one
        if ending is Ending.SLEEP:
            await link.disconnect()
        elif ending is Ending.SILENCE:
            await link.fall_silent(LONGEST_SILENCE)
        link.drop()
        self._link = None


class Cloud(Protocol):
    """Where things are registered, and who tells of it."""

    registry: Registry

    @property
    def connected_clients(self) -> frozenset[str]:
        """The clients that are connected right now."""

    def publish(self, events: Iterable[Event]) -> None:
        """Tell events of the registry."""


class Fleet:
    """Devices that run as tasks of `group`, each a thing of the registry before it connects."""

    def __init__(
        self, group: asyncio.TaskGroup, cloud: Cloud, upkeep: Upkeep, server: Server, seed: int
    ) -> None:
        self._group = group
        self._cloud = cloud
        self._upkeep = upkeep
        self._server = server
        self._seed = seed
        self._devices: dict[str, asyncio.Task[None]] = {}

    async def install(self) -> None:
        """Install things one after the other and let the devices among them run."""
        self._cloud.publish(self._upkeep.found(time.time()))
        for client_id in self._upkeep.spares:
            self._cloud.publish(self._upkeep.install(client_id, time.time()))
        for client_id in self._upkeep.devices:
            self._cloud.publish(self._upkeep.install(client_id, time.time()))
            self._start(client_id)
            await asyncio.sleep(1 / CONNECTS_PER_SECOND)

    async def keep_up(self) -> Never:
        """Make one change after the other, until cancelled."""
        while True:
            await asyncio.sleep(CHANGE_EVERY)
            change = self._upkeep.change(time.time(), self._cloud.connected_clients)
            self._cloud.publish(change.events)
            for client_id in change.stop:
                self._devices.pop(client_id).cancel()
            for client_id in change.start:
                self._start(client_id)

    def _start(self, client_id: str) -> None:
        device = Device(client_id, self._server).run(self._seed, delay=FIRST_CONNECT_AFTER)
        self._devices[client_id] = self._group.create_task(device)


async def run_fleet(count: int, cloud: Cloud, server: Server, seed: int) -> Never:
    """Run that many devices until cancelled; they begin to connect one after the other."""
    upkeep = Upkeep(cloud.registry, random.Random(f"{seed}/upkeep"), count)  # noqa: S311
    async with asyncio.TaskGroup() as group:
        fleet = Fleet(group, cloud, upkeep, server, seed)
        await fleet.install()
        await fleet.keep_up()
    raise AssertionError("the upkeep of a fleet has no end")
