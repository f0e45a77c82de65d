"""What is to happen in a simulation. Pure numbers."""

from dataclasses import dataclass, field

from presenced.emulator.behaviour import AWAY, KINDS, MEAN_STAY, Ending, client_ids
from presenced.emulator.delivery import Manners
from presenced.emulator.plants import kind_of

__all__ = ["Plan"]

# A connect, what the device subscribes to, and the disconnect.
_MESSAGES_PER_CONNECTION = 3
_FIRST_CONNECTS_PER_SECOND = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A simulation. Times are in seconds, shares from 0 to 1.

    `start` is the moment at which it begins, in seconds since the epoch: event times count from
    it. `rate` is how many messages a second there are on average, None for devices that live as
    those of the demo. `flaps` and `takeovers` are the shares of connections that end so, None for
    the demo's. In each of `storms`, `storm_share` of those online lose their connection at once
    and stay away for `outage`.
    """

    devices: int
    duration: float
    seed: int
    start: float
    rate: float | None = None
    flaps: float | None = None
    takeovers: float | None = None
    storms: int = 0
    storm_share: float = 0.5
    outage: float = 30.0
    manners: Manners = field(default_factory=Manners)

    def weights(self, client_id: str) -> list[float]:
        """The share of each ending of this device's connections, in the order of `Ending`."""
        given = {Ending.FLAP: self.flaps, Ending.TAKEOVER: self.takeovers}
        chosen = {ending: share for ending, share in given.items() if share is not None}
        usual = dict(zip(Ending, KINDS[kind_of(client_id)], strict=True))
        rest = sum(weight for ending, weight in usual.items() if ending not in chosen)
        left = 1.0 - sum(chosen.values())
        return [
            chosen[ending] if ending in chosen else left * weight / rest
            for ending, weight in usual.items()
        ]

    @property
    def pace(self) -> float:
        """By which factor the times of devices are longer than the demo's, to meet the rate."""
        if self.rate is None:
            return 1.0
        connections = sum(1 / self._mean_cycle(each) for each in client_ids(self.devices))
        copies = 1 + self.manners.duplicate_rate
        return connections * _MESSAGES_PER_CONNECTION * copies / self.rate

    def first_connect(self, number: int) -> float:
        """When the device of this number connects first, after the start."""
        spread = min(self.duration / 4, self.devices / _FIRST_CONNECTS_PER_SECOND)
        return spread * number / self.devices

    @property
    def storm_times(self) -> list[float]:
        """When storms come, after the start: at equal distances."""
        return [self.duration * (n + 1) / (self.storms + 1) for n in range(self.storms)]

    def _mean_cycle(self, client_id: str) -> float:
        """The mean time from one connect of a device to its next, at the demo's pace."""
        away = zip(AWAY.values(), self.weights(client_id), strict=True)
        return MEAN_STAY + sum(share * sum(bounds) / 2 for bounds, share in away)
