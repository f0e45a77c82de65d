"""From a state file that could be opened only later, beside what has become known meanwhile.

It is done in slices, between which the event loop goes on. No message may be applied between them,
and no deadline fire.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from presenced.fleet import Fleet
from presenced.mqtt.background import in_thread
from presenced.presence import State
from presenced.state.file import StateFile
from presenced.state.records import Offsets, thing_group_of, thing_of, thing_type_of
from presenced.state.restoration import Interned, Notes, restore_client
from presenced.state.rows import (
    ClientRow,
    DisconnectRow,
    Row,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.touched import Touched

__all__ = ["Pace", "restore_beside", "rows_of", "touch_all"]

R = TypeVar("R", bound=Row)

_SLICE = 0.004


class Pace:
    """Lets the event loop go on whenever a slice of time has been used up."""

    def __init__(self) -> None:
        self._until = 0.0

    async def keep(self) -> None:
        """Pause, if it is time for it."""
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _SLICE


async def touch_all(fleet: Fleet, touched: Touched, pace: Pace) -> None:
    """Have all that is known written down."""
    presence, inventory = fleet.presence, fleet.inventory
    for names, known in (
        (touched.clients, [*presence.clients, *presence.departed]),
        (touched.things, [*inventory.things.live, *inventory.things.gone]),
        (touched.thing_groups, [*inventory.groups.live, *inventory.groups.gone]),
        (touched.thing_types, [*inventory.types.live, *inventory.types.gone]),
    ):
        for name in known:
            await pace.keep()
            names.add(name)


async def rows_of(file: StateFile, row_type: type[R], pace: Pace) -> AsyncIterator[R]:
    """The rows of a table, read in a thread, at a pace that leaves the event loop room."""
    chunks = file.read(row_type)
    while (rows := await _read(chunks)) is not None:
        for row in rows:
            await pace.keep()
            yield row


async def _read(chunks: Iterator[list[R]]) -> list[R] | None:
    reading = in_thread(lambda: next(chunks, None), name="state file")
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])  # the file is about to be closed
        raise


async def restore_beside(
    file: StateFile, fleet: Fleet, notes: Notes, now: float, wall: float, offsets: Offsets
) -> None:
    """Take on what the file holds of clients and the registry beside what is known.

    Of a client of which something has been heard that stands: it is newer. Clients of the file are
    unverified. Of things, types and groups each fact is set against those of the file, and the
    later one stands. `now` is monotonic time, `wall` that of the wall clock, in seconds. Raises
    StateDamagedError, and StateUnusableError where the file cannot be read now; it may then be
    tried again.
    """
    pace = Pace()
    # As many as all of the file have seen, and the one that lies between.
    gaps = notes.gaps + 1
    fleet.presence.count_on(gaps, wall)
    for client in list(fleet.presence.clients.values()):
        await pace.keep()
        client.gaps += gaps
    await _restore_disconnects(file, fleet, pace)
    # Things count their clients and groups as they come, and so come last.
    async for group in rows_of(file, ThingGroupRow, pace):
        fleet.inventory.merge_group(thing_group_of(group))
    async for kind in rows_of(file, ThingTypeRow, pace):
        fleet.inventory.merge_type(thing_type_of(kind))
    await _restore_clients(file, fleet, now, offsets, pace)
    async for thing in rows_of(file, ThingRow, pace):
        fleet.inventory.merge_thing(thing_of(thing))


async def _restore_disconnects(file: StateFile, fleet: Fleet, pace: Pace) -> None:
    disconnects = fleet.presence.disconnects
    later = disconnects.set_aside()
    try:
        async for row in rows_of(file, DisconnectRow, pace):
            disconnects.restore([row])
    finally:
        for digest in later:
            await pace.keep()
            disconnects.remember(digest)


async def _restore_clients(
    file: StateFile, fleet: Fleet, now: float, offsets: Offsets, pace: Pace
) -> None:
    presence = fleet.presence
    interned: Interned = {}
    async for row in rows_of(file, ClientRow, pace):
        known = presence.clients.get(row.client_id)
        if row.client_id in presence.departed or (known and known.state is not State.UNKNOWN):
            continue
        restore_client(row, fleet, now, offsets, interned, fleet.take_on)
