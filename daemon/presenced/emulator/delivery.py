"""How late and how often AWS delivers an event message. Pure: the randomness is an argument."""

import random
from dataclasses import dataclass

from presenced.emulator.event import Event
from presenced.emulator.lifecycle import DisconnectReason

__all__ = ["LONGEST_DELAY", "Manners", "delays"]

SHORTEST_DELAY = 0.2
LONGEST_DELAY = 1.5


@dataclass(frozen=True, slots=True)
class Manners:
    """Which share of messages is late and which comes twice, and how late; delays in seconds."""

    late_rate: float = 0.05
    taken_over_late_rate: float = 0.75
    duplicate_rate: float = 0.05
    shortest_delay: float = SHORTEST_DELAY
    longest_delay: float = LONGEST_DELAY

    def some_delay(self, rng: random.Random) -> float:
        """A delay of a message that is late."""
        return rng.uniform(self.shortest_delay, self.longest_delay)


_AWS = Manners()


def delays(event: Event, rng: random.Random, manners: Manners = _AWS) -> tuple[float, ...]:
    """After how many seconds each copy of the message is delivered; the first is the original.

    Most come at once. Now and then one is late, so that the next ones overtake it, and now and
    then one comes twice. The disconnect of a connection that was taken over mostly comes after the
    connect that took over: AWS drops the old connection in its own time.
    """
    taken_over = event.fields.get("disconnectReason") == DisconnectReason.DUPLICATE_CLIENTID
    late_rate = manners.taken_over_late_rate if taken_over else manners.late_rate
    first = manners.some_delay(rng) if rng.random() < late_rate else 0.0
    if rng.random() >= manners.duplicate_rate:
        return (first,)
    return (first, manners.some_delay(rng))
