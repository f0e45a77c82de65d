"""From the state file into presence, registry and totals."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

from presenced.completeness import Session
from presenced.fleet import Fleet
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.registry.shelf import Shelf
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

__all__ = ["GAPS", "SESSION", "restore_fleet", "sessions_of"]

GAPS = "gaps"
SESSION = "session "
"""What the keys of sessions begin with; the MQTT client ID follows."""

T = TypeVar("T", Thing, ThingType, ThingGroup)
R = TypeVar("R", ThingRow, ThingTypeRow, ThingGroupRow)

_NEVER_HEARD_OF = -1


def restore_fleet(file: StateFile, fleet: Fleet, now: float, offset: float) -> None:
    """Take on what the file holds of clients and the registry, beside what is known already.

    What is known already stays as it is: it is newer. `now` is monotonic time and `offset` makes
    it wall-clock time, in seconds. Raises StateDamagedError.
    """
    presence, inventory = fleet.presence, fleet.inventory
    is_late = bool(presence.clients or inventory.things.live)
    inventory.restore(
        _unknown(file, ThingRow, thing_of, inventory.things),
        _unknown(file, ThingTypeRow, thing_type_of, inventory.types),
        _unknown(file, ThingGroupRow, thing_group_of, inventory.groups),
    )
    if not is_late:
        presence.gaps = int(next((row.value for row in _meta(file) if row.key == GAPS), 0))
    for number, digest in chain.from_iterable(file.read(DisconnectRow)):
        presence.disconnects.restore(number, digest)
    interned: dict[str | None, str | None] = {}
    for row in chain.from_iterable(file.read(ClientRow)):
        if row.client_id in presence.clients or row.client_id in presence.departed:
            continue
        client = client_of(row, interned)
        if is_late:
            client.gaps = _NEVER_HEARD_OF
        if row.departed:
            presence.departed.add(client)
            continue
        presence.restore(
            client,
            deadline_of(row, presence.rules, now, offset),
            awaited_of(row, presence.rules, now, offset),
        )
        fleet.adopt(client)


def sessions_of(file: StateFile) -> list[Session]:
    """The MQTT sessions that the daemon had."""
    return [
        Session(row.key.removeprefix(SESSION), float(row.value))
        for row in _meta(file)
        if row.key.startswith(SESSION)
    ]


def _meta(file: StateFile) -> Iterator[MetaRow]:
    return chain.from_iterable(file.read(MetaRow))


def _unknown(
    file: StateFile, row_type: type[R], make: Callable[[R], T], shelf: Shelf[T]
) -> Iterator[T]:
    rows = chain.from_iterable(file.read(row_type))
    return (make(row) for row in rows if shelf.get(row.name) is None)
