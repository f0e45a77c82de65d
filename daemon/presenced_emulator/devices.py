"""What simulated devices do with their lives. Pure: the randomness is an argument.

What the demo's fleet consists of: kinds of devices, their types and models, and where they are.

Pure names and numbers. The groups are a tree of three levels: the plants, their sites, and the
halls of each site.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil

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


TOP = "plants"
SITES = ("north", "south")
FEWEST_HALLS = 4
DEVICES_PER_HALL = 25
DEVICES_PER_SPARE = 10

TYPES = {
    "sensor": "sensor",
    "gateway": "gateway",
    "camera": "sensor",
    "plant/pump": "actuator",
}
"""The thing type of each kind of device."""

MODELS = {
    "sensor": ("T-100", "T-200"),
    "gateway": ("G-4", "G-5"),
    "camera": ("C-1", "C-2"),
    "plant/pump": ("P-30", "P-60"),
}
"""The models of each kind of device."""


def kind_of(client_id: str) -> str:
    """The kind of a device."""
    return client_id.rpartition("-")[0]


def thing(client_id: str) -> str:
    """The name of a device's thing: its client ID, but that things may have no `/` in theirs."""
    return client_id.replace("/", "-")


def spares(devices: int) -> int:
    """How many things of a fleet never connect."""
    return max(1, devices // DEVICES_PER_SPARE)


def halls(things: int) -> list[str]:
    """The halls that a fleet fills."""
    count = max(FEWEST_HALLS, ceil(things / DEVICES_PER_HALL))
    return [f"hall-{number + 1}" for number in range(count)]


def site_group(site: str) -> str:
    """The group of a site."""
    return f"site-{site}"
