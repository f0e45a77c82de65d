"""From the state file into presence, registry and totals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

import msgspec

from presenced.completeness import Session
from presenced.fleet import Fleet
from presenced.presence import Client, State
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.registry.shelf import Shelf
from presenced.state.errors import StateDamagedError
from presenced.state.file import StateFile
from presenced.state.records import (
    awaited_of,
    client_of,
    deadline_of,
    thing_group_of,
    thing_of,
    thing_type_of,
)
from presenced.state.rows import (
    ClientRow,
    DisconnectRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)

__all__ = ["DOUBTED_AT", "FILTERS", "GAPS", "SESSION", "restore_fleet", "sessions_of", "sound"]

GAPS, DOUBTED_AT = "gaps", "doubted_at"
"""The keys of how many gaps there have been, and when the last one was."""
SESSION = "session "
"""What the keys of sessions begin with; the MQTT client ID follows."""
FILTERS = "filters "
"""The same of their topic filters: a JSON object with the QoS of each."""

T = TypeVar("T", Thing, ThingType, ThingGroup)
R = TypeVar("R", ThingRow, ThingTypeRow, ThingGroupRow)


def restore_fleet(
    file: StateFile, fleet: Fleet, now: float, offset: float, *, late: bool = False
) -> None:
    """Take on what the file holds of clients and the registry; `Fleet.recount` is to follow.

    `late` is beside what is known already. That stays as it is: it is newer. Clients of the file
    are then unverified. `now` is monotonic time and `offset` makes it wall-clock time, in seconds.
    Raises StateDamagedError, and StateUnusableError where the file cannot be read now.
    """
    presence, inventory = fleet.presence, fleet.inventory
    inventory.restore(
        _unknown(file, ThingRow, thing_of, inventory.things),
        _unknown(file, ThingTypeRow, thing_type_of, inventory.types),
        _unknown(file, ThingGroupRow, thing_group_of, inventory.groups),
    )
    noted = {row.key: row.value for row in _meta(file)}
    gaps, doubted_at = int(noted.get(GAPS, 0)), float(noted.get(DOUBTED_AT, 0.0))
    presence.count_on(gaps + late, now + offset if late else doubted_at)
    presence.disconnects.restore(chain.from_iterable(file.read(DisconnectRow)))
    interned: dict[str | None, str | None] = {}
    for row in chain.from_iterable(file.read(ClientRow)):
        known = presence.clients.get(row.client_id)
        if row.client_id in presence.departed or (known and known.state is not State.UNKNOWN):
            continue
        client = client_of(row, interned)
        if row.departed:
            presence.departed.add(client)
            continue
        if row.state == State.UNKNOWN and client.is_known:
            # It was forgotten, and is known because there is its thing: see `unknown_row`.
            client.state = State.ONLINE if row.connected else State.OFFLINE
            presence.departed.add(client)
            client = Client(row.client_id)
            client.gaps = row.gaps
        presence.restore(
            client,
            deadline_of(row, presence.rules, now, offset),
            awaited_of(row, presence.rules, now, offset),
        )
        fleet.adopt(client)


@contextmanager
def sound(file: StateFile) -> Iterator[None]:
    """Take values of the file that presenced never wrote for damage: raises StateDamagedError."""
    try:
        yield
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise StateDamagedError(file.path, repr(error)) from error


def sessions_of(file: StateFile) -> list[Session]:
    """The MQTT sessions that the daemon had."""
    noted = {row.key: row.value for row in _meta(file)}
    return [
        Session(client_id, float(value), _filters(noted.get(FILTERS + client_id)))
        for client_id, value in _with_prefix(noted, SESSION)
    ]


def _filters(noted: str | None) -> dict[str, int] | None:
    return None if noted is None else msgspec.json.decode(noted, type=dict[str, int])


def _with_prefix(noted: dict[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in noted.items():
        if key.startswith(prefix):
            yield key.removeprefix(prefix), value


def _meta(file: StateFile) -> Iterator[MetaRow]:
    return chain.from_iterable(file.read(MetaRow))


def _unknown(
    file: StateFile, row_type: type[R], make: Callable[[R], T], shelf: Shelf[T]
) -> Iterator[T]:
    rows = chain.from_iterable(file.read(row_type))
    return (make(row) for row in rows if shelf.get(row.name) is None)
