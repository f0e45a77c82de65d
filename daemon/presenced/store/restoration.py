"""From the state file into presence, registry and totals, at the start of the daemon."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import msgspec

from presenced.fleet import Fleet
from presenced.presence import Client, State
from presenced.sources.gap_detector import MqttSession
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
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)

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


class Notes(NamedTuple):
    """Single facts that an earlier process noted; durations in seconds, times by the wall clock."""

    gaps: int
    doubted_at: float
    lived: float
    clock_set_by: float
    sessions: list[MqttSession]


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
    presence.restore_gaps(notes.gaps, notes.doubted_at)
    presence.disconnects.restore(chain.from_iterable(file.read(DisconnectRow)))
    interned: Interned = {}
    for row in chain.from_iterable(file.read(ClientRow)):
        _restore_client(row, fleet, now, offsets, interned)


def _restore_client(
    row: ClientRow, fleet: Fleet, now: float, offsets: Offsets, interned: Interned
) -> None:
    presence = fleet.presence
    client = client_of(row, interned)
    if row.departed:
        presence.forgotten.add(client)
        return
    if row.state == State.UNKNOWN and client.has_event:
        # It was forgotten, and is known because there is its thing: see `unknown_row`.
        client.state = State.ONLINE if row.connected else State.OFFLINE
        presence.forgotten.add(client)
        client = Client(row.client_id)
        client.gap_epoch = row.gaps
    fleet.restore(
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


def _session(client_id: str, times: str, filters: str | None) -> MqttSession:
    alive_at, _, missing_since = times.partition(" ")
    missing = float(missing_since) if missing_since else None
    return MqttSession(client_id, float(alive_at), _filters(filters), missing)


def _filters(noted: str | None) -> dict[str, int] | None:
    return None if noted is None else msgspec.json.decode(noted, type=dict[str, int])
