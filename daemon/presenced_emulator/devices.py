"""The simulated devices: kinds and names, how connections last and end, and what goes wrong.

Pure: the same seed gives the same behaviour.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from presenced_emulator.lifecycle import DisconnectReason

STATUS_FILTER = "devices/+/status"
ONLINE, OFFLINE = b"online", b"offline"
"""What a device that reports its status publishes, and its Last Will."""

MEAN_DURATION = 30.0
SHORTEST_DURATION = 0.5


class Ending(Enum):
    """How a device's connection ends.

    The values are the reason that AWS reports, and the shortest and the longest time in seconds
    until the device connects again.
    """

    SLEEP = (DisconnectReason.CLIENT_INITIATED_DISCONNECT, 6.0, 15.0)
    """The device disconnects cleanly and comes back later."""
    FLAP = (DisconnectReason.CONNECTION_LOST, 0.0, 2.5)
    """The connection breaks and the device reconnects within the offline delay."""
    TAKEOVER = (DisconnectReason.DUPLICATE_CLIENTID, 0.0, 0.0)
    """A second connection with the same client ID replaces the first."""
    VANISH = (DisconnectReason.CONNECTION_LOST, 6.0, 15.0)
    """The connection breaks and the device stays away for a while."""
    SILENCE = (DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT, 0.0, 8.0)
    """The device sends nothing, not even pings, until the keep-alive time is over."""

    def __init__(self, reason: DisconnectReason, shortest: float, longest: float) -> None:
        self.reason = reason
        self.away = (shortest, longest)


class Incident(StrEnum):
    """An incident that begins at half of the duration and lasts until its end."""

    DARK_HALL = "dark-hall"
    """The devices of a hall lose their connections within 20 s."""
    SHARED_CLIENT_ID = "shared-client-id"
    """Two devices with one client ID take the connection from each other every 1 to 3 s."""
    REFUSED_DEVICE = "refused-device"
    """A device is cut off, as when its certificate is revoked, and refused every 5 to 10 s."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of device. `endings` are relative frequencies in the order of `Ending`."""

    endings: tuple[int, int, int, int, int]
    thing_type: str
    models: tuple[str, ...]


KINDS = {
    "sensor": Kind((6, 2, 0, 1, 1), "sensor", ("T-100", "T-200")),
    "gateway": Kind((1, 4, 4, 1, 0), "gateway", ("G-4", "G-5")),
    "camera": Kind((1, 3, 1, 2, 3), "sensor", ("C-1", "C-2")),
    "plant/pump": Kind((2, 2, 2, 2, 2), "actuator", ("P-30", "P-60")),
}


class PlannedConnection(NamedTuple):
    """How long a connection lasts, how it ends, and how long the device then stays away."""

    duration: float
    ending: Ending
    away: float


def client_ids(count: int, kinds: Sequence[str] = tuple(KINDS)) -> list[str]:
    """Return the client IDs of a fleet, all kinds in turn: `sensor-0001`, `gateway-0002`, ..."""
    return [f"{kinds[n % len(kinds)]}-{n + 1:04}" for n in range(count)]


def kind_name(client_id: str) -> str:
    """Return the key in `KINDS` of a device."""
    return client_id.rpartition("-")[0]


def kind_of(client_id: str) -> Kind:
    """Return the kind of a device."""
    return KINDS[kind_name(client_id)]


def thing_name(client_id: str) -> str:
    """Return the name of a device's thing: the client ID without `/`, which AWS does not allow."""
    return client_id.replace("/", "-")


def status_topic(client_id: str) -> str:
    """Return the topic on which a device reports its status."""
    return STATUS_FILTER.replace("+", client_id)


def plan_connections(
    client_id: str, seed: int, weights: Sequence[float]
) -> Iterator[PlannedConnection]:
    """Generate the connections of one device, without end.

    `weights` are the frequencies of each ending in the order of `Ending`.
    """
    rng = random.Random(f"{seed}/{client_id}")  # noqa: S311  # repeatable, not secret
    while True:
        (ending,) = rng.choices(list(Ending), weights)
        duration = max(SHORTEST_DURATION, rng.expovariate(1 / MEAN_DURATION))
        yield PlannedConnection(duration, ending, rng.uniform(*ending.away))
