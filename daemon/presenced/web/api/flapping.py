"""Which clients flap, or fight over a client ID, in all parts that are shown."""

from collections.abc import Iterable
from heapq import nlargest
from operator import itemgetter

from presenced.pipeline.flapping import MAX_SHOWN
from presenced.presence import Client
from presenced.presence.recent_counts import WINDOW
from presenced.web.api import answers
from presenced.web.api.parts import FleetPart


def flapping_answer(parts: Iterable[FleetPart], now: float) -> answers.Flapping:
    """Return the clients of which the most connections ended, at the wall-clock time `now`."""
    found = [
        (count, part, client)
        for part in parts
        for client_id, count in part.flapping.worst(now)
        if (client := part.fleet.presence.clients.get(client_id)) is not None
    ]
    worst = nlargest(MAX_SHOWN, found, key=itemgetter(0))
    return answers.Flapping(
        clients=[_client(part, client, now) for _, part, client in worst],
        window_seconds=round(WINDOW),
    )


def _client(part: FleetPart, client: Client, now: float) -> answers.FlappingClient:
    flapping = part.flapping
    return answers.FlappingClient(
        client_id=client.client_id,
        **flapping.recent.of(client.client_id, now)._asdict(),
        state=client.state,
        held=flapping.held_until(client.client_id, now) is not None,
    )
