"""A fleet that lives on a virtual clock: what AWS would publish of it, and what is true.

Pure: the same plan gives the same messages, byte for byte. The truth is kept by what happens to
devices, without a look at what is published.

What is to happen in a simulation. Pure numbers.

What is true at the end of a simulation, for people and for programs.
"""

import hashlib
import heapq
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import NamedTuple

from presenced_emulator.devices import (
    AWAY,
    KINDS,
    MEAN_STAY,
    Act,
    Ending,
    client_ids,
    kind_of,
    script,
)
from presenced_emulator.events import Event
from presenced_emulator.lifecycle import Connection, DisconnectReason, Ledger, Manners, delays
from presenced_emulator.registry import Registry
from presenced_emulator.upkeep import Upkeep

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


_REASONS = {
    Ending.SLEEP: DisconnectReason.CLIENT_INITIATED_DISCONNECT,
    Ending.FLAP: DisconnectReason.CONNECTION_LOST,
    Ending.VANISH: DisconnectReason.CONNECTION_LOST,
    Ending.SILENCE: DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT,
}
_RECOVERY = 5.0
_HOSTS = 254


class Post(NamedTuple):
    """A message to be published, so many seconds after the start."""

    at: float
    topic: str
    payload: bytes


class Standing(NamedTuple):
    """What is true of a client, and since when, in seconds after the start.

    `connection` is its present one, or its last; `reason` is why that ended, None while it stands.
    """

    connection: Connection
    since: float
    reason: DisconnectReason | None


class _Device:
    """A device, its life, and what is true of it; `stays` counts its connections."""

    def __init__(self, client_id: str, acts: Iterator[Act]) -> None:
        self.client_id = client_id
        self.acts = acts
        self.stays = 0
        self.connection: Connection | None = None


class Life:
    """One simulation; `messages` is to be walked through once."""

    def __init__(self, plan: Plan) -> None:
        self.truth: dict[str, Standing] = {}
        """What is true of each client that has connected, at the time of the last message."""
        self._plan = plan
        self._pace = plan.pace
        self._until = plan.duration
        self._delivery = self._random("delivery")
        self._storms = self._random("storms")
        self._registry = Registry(self._random("registry"))
        self._upkeep = Upkeep(self._registry, self._random("upkeep"), plan.devices)
        # AWS counts on from an earlier simulation, too: a version that began anew would be stale.
        first_version = round(plan.start * 1000)
        self._ledger = Ledger(self._random("ledger"), first_version=first_version)
        self._devices = [
            _Device(name, script(name, plan.seed, plan.weights(name)))
            for name in self._upkeep.devices
        ]
        self._numbers = count()
        self._agenda: list[tuple[float, int, Callable[[float], None] | Post]] = []

    def messages(self) -> Iterator[Post]:
        """The messages in the order in which they are to be published."""
        self._at(0.0, self._begin)
        for moment in self._plan.storm_times:
            self._at(moment, self._storm)
        while self._agenda:
            at, _, what = heapq.heappop(self._agenda)
            if isinstance(what, Post):
                yield what
            elif at <= self._until:
                what(at)

    def end(self) -> None:
        """Let nothing happen from now on; messages that are under way are still published."""
        self._until = float("-inf")

    def _begin(self, at: float) -> None:
        self._tell(self._upkeep.found(self._plan.start + at), at)
        for number, device in enumerate(self._devices):
            self._at(self._plan.first_connect(number), partial(self._install, device))

    def _install(self, device: _Device, at: float) -> None:
        self._tell(self._upkeep.install(device.client_id, self._plan.start + at), at)
        self._connect(device, at)

    def _connect(self, device: _Device, at: float) -> None:
        client_id, now = device.client_id, self._plan.start + at
        connection = device.connection = self._ledger.open(
            client_id,
            principal=hashlib.sha256(client_id.encode()).hexdigest(),
            ip_address=f"198.51.100.{len(self.truth) % _HOSTS + 1}",
            thing_name=self._registry.exclusive_thing(client_id),
        )
        device.stays += 1
        self.truth[client_id] = Standing(connection, at, None)
        topics = [f"devices/{client_id}/commands"]
        self._tell([self._ledger.connected(connection, now)], at)
        self._tell([self._ledger.subscribed(connection, topics, now)], at)
        act = next(device.acts)
        self._at(at + act.stay * self._pace, partial(self._end_stay, device, act, device.stays))

    def _end_stay(self, device: _Device, act: Act, stay: int, at: float) -> None:
        connection = device.connection
        if connection is None or stay != device.stays:
            return  # a storm came before
        if act.ending is Ending.TAKEOVER:
            self._connect(device, at)
            taken_over = DisconnectReason.DUPLICATE_CLIENTID
            self._tell([self._ledger.disconnected(connection, taken_over, self._now(at))], at)
            return
        self._disconnect(device, connection, _REASONS[act.ending], at)
        # A flap is over before anybody takes the device for offline, at any pace.
        pace = min(1.0, self._pace) if act.ending is Ending.FLAP else self._pace
        self._at(at + act.away * pace, partial(self._connect, device))

    def _storm(self, at: float) -> None:
        for device in self._devices:
            connection = device.connection
            if connection is None or self._storms.random() >= self._plan.storm_share:
                continue
            self._disconnect(device, connection, DisconnectReason.CONNECTION_LOST, at)
            back = self._plan.outage + self._storms.uniform(0.0, _RECOVERY)
            self._at(at + back, partial(self._connect, device))

    def _disconnect(
        self, device: _Device, connection: Connection, reason: DisconnectReason, at: float
    ) -> None:
        device.connection = None
        self.truth[device.client_id] = Standing(connection, at, reason)
        self._tell([self._ledger.disconnected(connection, reason, self._now(at))], at)

    def _tell(self, events: Iterable[Event], at: float) -> None:
        for event in events:
            for delay in delays(event, self._delivery, self._plan.manners):
                post = Post(at + delay, event.topic, event.payload)
                heapq.heappush(self._agenda, (post.at, next(self._numbers), post))

    def _at(self, moment: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._agenda, (moment, next(self._numbers), action))

    def _now(self, at: float) -> float:
        return self._plan.start + at

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self._plan.seed}/{purpose}")  # noqa: S311  # repeatable, not secret


_SHOWN = 10


def truth_lines(truth: Mapping[str, Standing], start: float) -> Iterator[str]:
    """One JSON line for each client, by client ID, with the keys of `replay --print clients`.

    `since` is when its present connection began, or its last one ended, in seconds since the epoch.
    """
    for client_id, standing in sorted(truth.items()):
        fields = {
            "client_id": client_id,
            "state": "online" if standing.reason is None else "offline",
            "since": round(start + standing.since, 3),
            "version": standing.connection.version,
            "session": standing.connection.session,
            "reason": standing.reason,
        }
        yield json.dumps(fields) + "\n"


def summary(truth: Mapping[str, Standing]) -> Iterator[str]:
    """Lines that tell people who is online, and who is not."""
    for state, wanted in (("online", True), ("offline", False)):
        names = sorted(name for name, each in truth.items() if (each.reason is None) is wanted)
        yield f"{len(names)} {state}{_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f": {', '.join(names[:_SHOWN])}{more}."
