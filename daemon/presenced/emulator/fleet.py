"""Simulated devices: real MQTT clients that act out their scripts."""

import asyncio
from typing import Never

from presenced.emulator.behaviour import Ending, client_ids, script
from presenced.emulator.wire import Link, Server

__all__ = ["Device", "run_fleet"]

KEEP_ALIVE = 6
LONGEST_SILENCE = 3.0 * KEEP_ALIVE
RETRY_AFTER = 1.0
CONNECTS_PER_SECOND = 50


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


async def run_fleet(count: int, server: Server, seed: int) -> Never:
    """Run that many devices until cancelled; they begin to connect one after the other."""
    async with asyncio.TaskGroup() as group:
        for number, client_id in enumerate(client_ids(count)):
            device = Device(client_id, server)
            group.create_task(device.run(seed, delay=number / CONNECTS_PER_SECOND))
    raise AssertionError("the script of a device has no end")
