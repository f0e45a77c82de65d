"""From the state file into presence, registry and totals, at the start of the daemon.

From a state file that could be opened only later, beside what has become known meanwhile.

It is done in slices, between which the event loop goes on. No message may be applied between them,
and no deadline fire.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple, TypeVar

import msgspec

from presenced.fleet import Fleet
from presenced.presence import Client, State
from presenced.presence.client import ConnectionKey
from presenced.sources.gap_detector import Session
from presenced.store.errors import StateDamagedError
from presenced.store.file import StateFile
from presenced.store.records import (
    Offsets,
    awaited_of,
    client_of,
    deadline_of,
    thing_group_of,
    thing_of,
    thing_type_of,
)
from presenced.store.schema import (
    ClientRow,
    DisconnectRow,
    MetaRow,
    Row,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.system.loop import in_thread
from presenced.touched import Touched

GAPS, DOUBTED_AT = "gaps", "doubted_at"
"""The keys of how many gaps there have been, and when the last one was."""
LIVED = "lived"
"""The key of how long the daemon had run in all, in seconds."""
CLOCK_SET_BY = "clock_set_by"
"""The key of by how many seconds the wall clock was set in all while the daemon ran."""
SESSION = "session "
"""What the keys of sessions begin with; the MQTT client ID follows."""
FILTERS = "filters "
"""The same of their topic filters: a JSON object with the QoS of each."""

Interned = dict[str | None, str | None]
Take = Callable[[Client, float | None, Iterable[tuple[ConnectionKey, float]]], None]
"""What takes a restored client on: see `Presence.restore`."""


class Notes(NamedTuple):
    """Single facts that an earlier process noted; durations in seconds, times by the wall clock."""

    gaps: int
    doubted_at: float
    lived: float
    clock_set_by: float
    sessions: list[Session]


def notes_of(rows: Iterable[MetaRow]) -> Notes:
    """The facts that the rows of `meta` hold."""
    noted = {row.key: row.value for row in rows}
    return Notes(
        int(noted.get(GAPS, 0)),
        float(noted.get(DOUBTED_AT, 0.0)),
        float(noted.get(LIVED, 0.0)),
        float(noted.get(CLOCK_SET_BY, 0.0)),
        [
            _session(client_id, value, noted.get(FILTERS + client_id))
            for client_id, value in _with_prefix(noted, SESSION)
        ],
    )


def restore_fleet(
    file: StateFile, fleet: Fleet, notes: Notes, now: float, offsets: Offsets
) -> None:
    """Take on what the file holds of clients and the registry; `Fleet.recount` is to follow.

    Nothing must be known yet. `now` is monotonic time, in seconds. Raises StateDamagedError, and
    StateUnusableError where the file cannot be read now.
    """
    presence = fleet.presence
    fleet.inventory.restore(
        map(thing_of, chain.from_iterable(file.read(ThingRow))),
        map(thing_type_of, chain.from_iterable(file.read(ThingTypeRow))),
        map(thing_group_of, chain.from_iterable(file.read(ThingGroupRow))),
    )
    presence.count_on(notes.gaps, notes.doubted_at)
    presence.disconnects.restore(chain.from_iterable(file.read(DisconnectRow)))
    interned: Interned = {}
    for row in chain.from_iterable(file.read(ClientRow)):
        restore_client(row, fleet, now, offsets, interned, fleet.restore)


def restore_client(
    row: ClientRow,
    fleet: Fleet,
    now: float,
    offsets: Offsets,
    interned: Interned,
    take: Take,
) -> None:
    """Have a client taken on by `take`, and what is kept of forgotten ones by presence."""
    presence = fleet.presence
    client = client_of(row, interned)
    if row.departed:
        presence.departed.add(client)
        return
    if row.state == State.UNKNOWN and client.is_known:
        # It was forgotten, and is known because there is its thing: see `unknown_row`.
        client.state = State.ONLINE if row.connected else State.OFFLINE
        presence.departed.add(client)
        client = Client(row.client_id)
        client.gaps = row.gaps
    take(
        client,
        deadline_of(row, presence.rules, now, offsets),
        awaited_of(row, presence.rules, now, offsets),
    )


@contextmanager
def sound(file: StateFile) -> Iterator[None]:
    """Take values of the file that presenced never wrote for damage: raises StateDamagedError."""
    try:
        yield
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise StateDamagedError(file.path, repr(error)) from error


def _with_prefix(noted: dict[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in noted.items():
        if key.startswith(prefix):
            yield key.removeprefix(prefix), value


def _session(client_id: str, times: str, filters: str | None) -> Session:
    alive_at, _, missing_since = times.partition(" ")
    missing = float(missing_since) if missing_since else None
    return Session(client_id, float(alive_at), _filters(filters), missing)


def _filters(noted: str | None) -> dict[str, int] | None:
    return None if noted is None else msgspec.json.decode(noted, type=dict[str, int])


R = TypeVar("R", bound=Row)

_SLICE = 0.004


class CooperativeScheduler:
    """Lets the event loop go on whenever a slice of time has been used up."""

    def __init__(self) -> None:
        self._until = 0.0

    async def keep(self) -> None:
        """Pause, if it is time for it."""
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _SLICE


async def touch_all(fleet: Fleet, touched: Touched, pace: CooperativeScheduler) -> None:
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


async def rows_of(
    file: StateFile, row_type: type[R], pace: CooperativeScheduler
) -> AsyncIterator[R]:
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
    pace = CooperativeScheduler()
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


async def _restore_disconnects(file: StateFile, fleet: Fleet, pace: CooperativeScheduler) -> None:
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
    file: StateFile, fleet: Fleet, now: float, offsets: Offsets, pace: CooperativeScheduler
) -> None:
    presence = fleet.presence
    interned: Interned = {}
    async for row in rows_of(file, ClientRow, pace):
        known = presence.clients.get(row.client_id)
        if row.client_id in presence.departed or (known and known.state is not State.UNKNOWN):
            continue
        restore_client(row, fleet, now, offsets, interned, fleet.take_on)
