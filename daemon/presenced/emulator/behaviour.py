"""What simulated devices do with their lives. Pure: the randomness is an argument."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["AWAY", "KINDS", "MEAN_STAY", "Act", "Ending", "client_ids", "script"]

MEAN_STAY = 30.0
SHORTEST_STAY = 0.5


class Ending(Enum):
    """How a device's connection ends."""

    SLEEP = auto()
    """Disconnects cleanly and comes back later."""
    FLAP = auto()
    """Drops the connection and reconnects within the offline delay."""
    TAKEOVER = auto()
    """A second connection with the same client ID takes over."""
    VANISH = auto()
    """Drops the connection without a word and stays away for a while."""
    SILENCE = auto()
    """Stops pinging, until the broker's patience ends."""


@dataclass(frozen=True, slots=True)
class Act:
    """One connection of a device: how long it stays, how it ends, how long the device is away."""

    stay: float
    ending: Ending
    away: float


AWAY: dict[Ending, tuple[float, float]] = {
    Ending.SLEEP: (6.0, 15.0),
    Ending.FLAP: (0.0, 2.5),
    Ending.TAKEOVER: (0.0, 0.0),
    Ending.VANISH: (6.0, 15.0),
    Ending.SILENCE: (0.0, 8.0),
}

# Each kind has its own character: the share of each ending in the order of `Ending`.
KINDS: dict[str, tuple[int, int, int, int, int]] = {
    "sensor": (6, 2, 0, 1, 1),
    "gateway": (1, 4, 4, 1, 0),
    "camera": (1, 3, 1, 2, 3),
    "plant/pump": (2, 2, 2, 2, 2),
}


def client_ids(count: int) -> list[str]:
    """Names for a fleet of this size, all kinds in turn: `sensor-0001`, `gateway-0002`, ..."""
    kinds = list(KINDS)
    return [f"{kinds[n % len(kinds)]}-{n + 1:04}" for n in range(count)]


def script(client_id: str, seed: int, weights: Sequence[float] | None = None) -> Iterator[Act]:
    """Make up the acts of one device, without end; the same seed gives the same life.

    `weights` are the shares of each ending, in the order of `Ending`; None for those of its kind.
    """
    rng = random.Random(f"{seed}/{client_id}")  # noqa: S311  # repeatable, not secret
    weights = weights or KINDS[client_id.rpartition("-")[0]]
    while True:
        (ending,) = rng.choices(list(Ending), weights)
        stay = max(SHORTEST_STAY, rng.expovariate(1 / MEAN_STAY))
        yield Act(stay, ending, rng.uniform(*AWAY[ending]))
