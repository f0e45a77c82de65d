"""Which clients flap, fight over a client ID, or are refused, in all parts that are shown."""

from collections.abc import Callable, Iterable
from heapq import nlargest
from itertools import islice, zip_longest
from operator import attrgetter, itemgetter
from typing import get_args

from presenced.pipeline.flapping import MAX_SHOWN
from presenced.presence.recent_counts import WINDOW, Counts, Kind
from presenced.recent.troubles import Trouble, troubles_of
from presenced.system.timestamps import format_utc
from presenced.web.api import activity_answers, answers
from presenced.web.api.parts import FleetPart

_KINDS: tuple[Callable[[Counts], int], ...] = (attrgetter("ended"), attrgetter("refused"))
_MAX_DEVICES = 3


def flapping_answer(parts: Iterable[FleetPart], now: float) -> answers.Flapping:
    """Return the worst clients at the wall-clock time `now`.

    Those that are refused most have places of their own: after a policy was detached they would
    leave none to the others.
    """
    parts = list(parts)
    found = {
        client_id: part
        for number_of in _KINDS
        for _, client_id, part in worst(parts, number_of, now)
    }
    clients = [_client(part, client_id, now) for client_id, part in found.items()]
    clients.sort(key=lambda each: (-each.flaps - each.takeovers - each.refused, each.client_id))
    return answers.Flapping(clients=clients, window_seconds=round(WINDOW))


def standout_devices(
    parts: Iterable[FleetPart], now: float
) -> list[activity_answers.StandoutDevice]:
    """Return the devices that stand out at a wall-clock time, at most 3.

    The worst of each kind comes before the next ones, however many these are.
    """
    parts = list(parts)
    by_kind = [
        [
            _standout(part, client_id, trouble)
            for _, client_id, part in worst(parts, attrgetter(kind), now)[:_MAX_DEVICES]
            for trouble in troubles_of(part.flapping.recent, client_id, now)
            if trouble.kind == kind
        ]
        for kind in get_args(Kind)
    ]
    ranked = (each for rank in zip_longest(*by_kind) for each in rank if each is not None)
    return list(islice(ranked, _MAX_DEVICES))


def _standout(part: FleetPart, client_id: str, trouble: Trouble) -> activity_answers.StandoutDevice:
    client = part.fleet.presence.clients.get(client_id)
    return activity_answers.StandoutDevice(
        client_id=client_id,
        kind=trouble.kind,
        count=trouble.number,
        since=format_utc(trouble.since),
        state=None if client is None else client.state,
        text=f"{client_id}: {trouble.text}",
    )


def worst(
    parts: Iterable[FleetPart], number_of: Callable[[Counts], int], now: float
) -> list[tuple[int, str, FleetPart]]:
    """Return the clients of all parts with the highest numbers of a kind, with number and part."""
    found = (
        (number, client_id, part)
        for part in parts
        for number, client_id in part.flapping.worst(now, number_of)
    )
    return nlargest(MAX_SHOWN, found, key=itemgetter(0, 1))


def _client(part: FleetPart, client_id: str, now: float) -> answers.FlappingClient:
    flapping, client = part.flapping, part.fleet.presence.clients.get(client_id)
    return answers.FlappingClient(
        client_id=client_id,
        **flapping.recent.of(client_id, now)._asdict(),
        state=None if client is None else client.state,
        held=flapping.held_until(client_id, now) is not None,
    )
