"""The life of a simulated fleet on a virtual clock: which device connects when, and what changes.

The demo performs the steps with MQTT clients in real time; `simulate` turns them into messages.

Pure: the same plan gives the same steps.
"""

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import NamedTuple

from presenced_emulator.delivery import DeliveryModel
from presenced_emulator.devices import (
    KINDS,
    MEAN_DURATION,
    Ending,
    Incident,
    PlannedConnection,
    client_ids,
    kind_of,
    plan_connections,
)
from presenced_emulator.events import EventMessage
from presenced_emulator.provisioning import Provisioner
from presenced_emulator.registry import Registry

FIRST_CONNECTS_PER_SECOND = 50
CHANGE_EVERY = 1.5
RECOVERY = 5.0
"""After a storm, devices come back within this time in seconds."""
DARKENING, FIGHT_EVERY, RETRY_EVERY = 20.0, (1.0, 3.0), (5.0, 10.0)
"""In an incident: seconds until a whole hall is dark, between two takeovers, between attempts."""

# A connect, what the device subscribes to, and the disconnect.
_MESSAGES_PER_CONNECTION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What happens to a fleet. Times are in seconds, shares from 0 to 1.

    `rate` is the mean number of messages per second, None for the usual behaviour of the devices;
    so are `flaps` and `takeovers`, the shares of connections that end in this way. Each of `storms`
    disconnects `storm_share` of the devices at once, for `outage`. With `changes`, something is
    changed, deleted or replaced every 1.5 seconds, and some things never connect. A device that
    falls silent is disconnected after `silence`. With `calm`, all devices are connected at
    `first_connect(devices)`: no connection ends before.
    """

    devices: int
    seed: int
    duration: float = math.inf
    rate: float | None = None
    flaps: float | None = None
    takeovers: float | None = None
    storms: int = 0
    storm_share: float = 0.5
    outage: float = 30.0
    incidents: frozenset[Incident] = frozenset()
    changes: bool = False
    silence: float = 0.0
    calm: bool = False
    kinds: tuple[str, ...] = tuple(KINDS)
    delivery: DeliveryModel = field(default_factory=DeliveryModel)

    def weights(self, client_id: str) -> list[float]:
        """Return the share of each ending of a device's connections, in the order of `Ending`."""
        given = {Ending.FLAP: self.flaps, Ending.TAKEOVER: self.takeovers}
        chosen = {ending: share for ending, share in given.items() if share is not None}
        usual = dict(zip(Ending, kind_of(client_id).endings, strict=True))
        rest = sum(weight for ending, weight in usual.items() if ending not in chosen)
        left = 1.0 - sum(chosen.values())
        return [
            chosen[ending] if ending in chosen else left * weight / rest
            for ending, weight in usual.items()
        ]

    @property
    def pace(self) -> float:
        """The factor by which times of devices are stretched to meet `rate`."""
        if self.rate is None:
            return 1.0
        connections = 0.0  # per second, at a pace of 1
        for client_id in client_ids(self.devices, self.kinds):
            away = zip(Ending, self.weights(client_id), strict=True)
            mean_away = sum(share * sum(ending.away) / 2 for ending, share in away)
            connections += 1 / (MEAN_DURATION + mean_away)
        copies = 1 + self.delivery.duplicate_rate
        return connections * _MESSAGES_PER_CONNECTION * copies / self.rate

    def first_connect(self, number: int) -> float:
        """Return when the device of this number first connects, in seconds after the start."""
        spread = min(self.duration / 4, self.devices / FIRST_CONNECTS_PER_SECOND)
        return spread * number / self.devices

    @property
    def storm_times(self) -> list[float]:
        """When storms come, in seconds after the start: at equal distances."""
        return [self.duration * (n + 1) / (self.storms + 1) for n in range(self.storms)]

    def random(self, purpose: str) -> random.Random:
        """Return a source of randomness that depends on the seed and the purpose only."""
        return random.Random(f"{self.seed}/{purpose}")  # noqa: S311  # repeatable, not secret


class Connect(NamedTuple):
    """A device connects; if it is connected, the new connection takes over."""

    client_id: str


class Disconnect(NamedTuple):
    """A device's connection ends in any way but a takeover."""

    client_id: str
    ending: Ending


class Refuse(NamedTuple):
    """A device tries to connect and is not authorized to."""

    client_id: str


class Remove(NamedTuple):
    """A device that is not connected is removed for good."""

    client_id: str


Step = EventMessage | Connect | Disconnect | Refuse | Remove
"""What happens at one moment; a message reports a change of the registry."""


@dataclass(slots=True)
class _Device:
    client_id: str
    planned: Iterator[PlannedConnection]
    online: bool = False
    connections: int = 0


class FleetLife:
    """The life of the planned fleet, whose things are in `registry`.

    Call `advance` at the time `next_at`, not before: it changes the registry.
    """

    def __init__(self, plan: FleetPlan, registry: Registry) -> None:
        self._plan = plan
        self._pace = plan.pace
        self._provisioner = Provisioner(registry, plan.random("upkeep"), plan.devices, plan.kinds)
        self._storms, self._incidents = plan.random("storms"), plan.random("incidents")
        self._struck: set[str] = set()
        self._first_end = plan.first_connect(plan.devices) if plan.calm else 0.0
        self._devices: dict[str, _Device] = {}
        self._now = 0.0
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[float], Iterator[Step]]]] = []
        self._schedule(0.0, self._begin)
        for moment in plan.storm_times:
            self._schedule(moment, self._storm)
        for incident in sorted(plan.incidents):
            self._schedule(plan.duration / 2, partial(self._begin_incident, incident))

    @property
    def next_at(self) -> float | None:
        """When the next steps happen, in seconds after the start; None after the last."""
        at = self._agenda[0][0] if self._agenda else math.inf
        return at if at <= self._plan.duration else None

    def advance(self, now: float) -> list[Step]:
        """Return the next steps, which happen at once: `now`, in seconds since the epoch."""
        self._now = now
        at, _, action = heapq.heappop(self._agenda)
        return list(action(at))

    def _begin(self, at: float) -> Iterator[Step]:
        yield from self._provisioner.create_groups(self._now)
        if self._plan.changes:
            for client_id in self._provisioner.spares:
                yield from self._provisioner.install(client_id, self._now)
            self._schedule(at + self._plan.first_connect(self._plan.devices), self._change)
        for number, client_id in enumerate(self._provisioner.devices):
            self._schedule(at + self._plan.first_connect(number), partial(self._install, client_id))

    def _install(self, client_id: str, at: float) -> Iterator[Step]:
        yield from self._provisioner.install(client_id, self._now)
        yield from self._add(client_id, at)

    def _add(self, client_id: str, at: float) -> Iterator[Step]:
        planned = plan_connections(client_id, self._plan.seed, self._plan.weights(client_id))
        device = self._devices[client_id] = _Device(client_id, planned)
        return self._connect(device, at)

    def _connect(self, device: _Device, at: float) -> Iterator[Step]:
        if device.client_id not in self._devices:
            return  # removed while it was away, or kept away by an incident
        device.online = True
        device.connections += 1
        yield Connect(device.client_id)
        planned = next(device.planned)
        end = partial(self._end, device, planned, device.connections)
        self._schedule(max(at, self._first_end) + planned.duration * self._pace, end)

    def _end(
        self, device: _Device, planned: PlannedConnection, connection: int, at: float
    ) -> Iterator[Step]:
        if not device.online or connection != device.connections:
            return  # a storm or its removal disconnected the device before
        if planned.ending is Ending.TAKEOVER:
            yield from self._connect(device, at)
            return
        # A flap is over before the offline delay, at any pace.
        pace = min(1.0, self._pace) if planned.ending is Ending.FLAP else self._pace
        silence = self._plan.silence if planned.ending is Ending.SILENCE else 0.0
        yield from self._disconnect(device, planned.ending, at, planned.away * pace + silence)

    def _disconnect(
        self, device: _Device, ending: Ending, at: float, away: float
    ) -> Iterator[Step]:
        device.online = False
        yield Disconnect(device.client_id, ending)
        self._schedule(at + away, partial(self._connect, device))

    def _storm(self, at: float) -> Iterator[Step]:
        for device in self._devices.values():
            if device.online and self._storms.random() < self._plan.storm_share:
                away = self._plan.outage + self._storms.uniform(0.0, RECOVERY)
                yield from self._disconnect(device, Ending.VANISH, at, away)

    def _begin_incident(self, incident: Incident, at: float) -> Iterator[Step]:
        if incident is Incident.DARK_HALL:
            return self._darken(at)
        # Devices of their own, unless there are too few.
        taken = set(self._provisioner.largest_hall()) | self._struck
        devices = self._provisioner.devices
        client_id = self._incidents.choice([d for d in devices if d not in taken] or devices)
        self._struck.add(client_id)
        act = self._fight if incident is Incident.SHARED_CLIENT_ID else self._refuse
        return act(client_id, at)

    def _darken(self, at: float) -> Iterator[Step]:
        """Cut off the devices of a hall, each once."""
        for client_id in self._provisioner.largest_hall():
            moment = at + self._incidents.uniform(0.0, DARKENING)
            self._schedule(moment, partial(self._cut_off, client_id))
        yield from ()

    def _fight(self, client_id: str, at: float) -> Iterator[Step]:
        """Connect a device once more, again and again."""
        device = self._devices.get(client_id)
        if device is not None:
            yield from self._connect(device, at)
            pause = self._incidents.uniform(*FIGHT_EVERY)
            self._schedule(at + pause, partial(self._fight, client_id))

    def _refuse(self, client_id: str, at: float) -> Iterator[Step]:
        """Cut a device off, and let it try to connect again and again."""
        yield from self._cut_off(client_id, at)
        yield Refuse(client_id)
        pause = self._incidents.uniform(*RETRY_EVERY)
        self._schedule(at + pause, partial(self._refuse, client_id))

    def _cut_off(self, client_id: str, at: float) -> Iterator[Step]:
        device = self._devices.pop(client_id, None)
        if device is not None and device.online:
            yield from self._disconnect(device, Ending.VANISH, at, 0.0)

    def _change(self, at: float) -> Iterator[Step]:
        online = {each.client_id for each in self._devices.values() if each.online}
        change = self._provisioner.change(self._now, online)
        yield from change.messages
        if change.removed is not None:
            device = self._devices.pop(change.removed)
            if device.online:
                yield from self._disconnect(device, Ending.SLEEP, at, 0.0)
            yield Remove(change.removed)
        if change.added is not None:
            yield from self._add(change.added, at)
        self._schedule(at + CHANGE_EVERY, self._change)

    def _schedule(self, at: float, action: Callable[[float], Iterator[Step]]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), action))
