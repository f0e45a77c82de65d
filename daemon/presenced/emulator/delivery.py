"""How late and how often AWS delivers an event message. Pure: the randomness is an argument."""

import random

from presenced.emulator.event import Event
from presenced.emulator.lifecycle import DisconnectReason

__all__ = ["LONGEST_DELAY", "delays"]

LATE_RATE = 0.05
TAKEN_OVER_LATE_RATE = 0.75
DUPLICATE_RATE = 0.05
SHORTEST_DELAY = 0.2
LONGEST_DELAY = 1.5


def delays(event: Event, rng: random.Random) -> tuple[float, ...]:
    """After how many seconds each copy of the message is delivered; the first is the original.

    Most come at once. Now and then one is late, so that the next ones overtake it, and now and
    then one comes twice. The disconnect of a connection that was taken over mostly comes after the
    connect that took over: AWS drops the old connection in its own time.
    """
    taken_over = event.fields.get("disconnectReason") == DisconnectReason.DUPLICATE_CLIENTID
    late_rate = TAKEN_OVER_LATE_RATE if taken_over else LATE_RATE
    first = _some_delay(rng) if rng.random() < late_rate else 0.0
    if rng.random() >= DUPLICATE_RATE:
        return (first,)
    return (first, _some_delay(rng))


def _some_delay(rng: random.Random) -> float:
    return rng.uniform(SHORTEST_DELAY, LONGEST_DELAY)
