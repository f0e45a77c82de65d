"""The true state of the fleet, as the broker knows it, and what presenced reports beside it.

A report is compared with the truth before and after it was taken. Clients and things with messages
in flight meanwhile may be reported either way. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families

ATTRIBUTES = ("site", "model")
"""The attributes of things that the daemon is configured to show."""

Part = tuple[str, str]
"""A part of the fleet: `thing_type` or `thing_group`, and a name."""

_PARTS = {"iot_thing_type_clients": "thing_type", "iot_thing_group_clients": "thing_group"}


class ThingState(NamedTuple):
    """A thing's type, all its groups, and its attributes."""

    thing_type: str
    groups: frozenset[str]
    attributes: Mapping[str, str]

    @property
    def parts(self) -> set[Part]:
        """The parts of the fleet that the thing counts towards."""
        parts = {("thing_group", group) for group in self.groups}
        return parts | {("thing_type", self.thing_type)} if self.thing_type else parts

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the client's `iot_client_info`, beside its client ID."""
        shown = {name: self.attributes.get(name, "") for name in ATTRIBUTES}
        return {"thing_type": self.thing_type, **shown}


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """The things of the registry at one moment, and the last thing of each client."""

    things: Mapping[str, ThingState] = field(default_factory=dict)
    thing_of: Mapping[str, str] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Truth:
    """The clients that are connected at one moment, and the registry."""

    connected: frozenset[str]
    in_flight: frozenset[str]
    registry: RegistrySnapshot = field(default_factory=RegistrySnapshot)

    def without(self, client_id: str) -> Self:
        """Return the same without one client."""
        left_out = {client_id}
        return replace(
            self, connected=self.connected - left_out, in_flight=self.in_flight - left_out
        )


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Clients by part of the fleet and state, and the labels of each client's info metric."""

    counts: Mapping[Part, Mapping[str, int]] = field(default_factory=dict)
    clients: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scrape:
    """The state of the fleet in `/metrics`.

    `shown_online` are the clients whose own series is 1: those online or pending.
    """

    online: int
    pending: int
    offline: int
    shown_online: frozenset[str]
    breakdown: Breakdown = field(default_factory=Breakdown)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the exposition text."""
        states: Counter[str] = Counter()
        shown_online = set()
        counts: dict[Part, dict[str, int]] = defaultdict(dict)
        clients = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                if (part := _PARTS.get(sample.name)) is not None:
                    counts[part, labels[part]][labels["state"]] = int(sample.value)
                elif sample.name == "iot_clients":
                    states[labels["state"]] = int(sample.value)
                elif sample.name == "iot_client_connected" and sample.value == 1:
                    shown_online.add(labels["client_id"])
                elif sample.name == "iot_client_info":
                    clients[labels.pop("client_id")] = labels
        return cls(
            states["online"],
            states["pending"],
            states["offline"],
            frozenset(shown_online),
            Breakdown(dict(counts), clients),
        )


def presence_agrees(scrape: Scrape, before: Truth, after: Truth) -> bool:
    """Return whether presence is reported truly.

    Client IDs count, not only numbers: two mistakes do not cancel out.
    """
    uncertain = before.in_flight | after.in_flight
    certain = (before.connected & after.connected) - uncertain
    possible = before.connected | after.connected | uncertain
    return (
        len(certain) <= scrape.online <= len(possible)
        and certain <= scrape.shown_online
        and len(scrape.shown_online - possible) <= scrape.pending
    )


def breakdown_agrees(breakdown: Breakdown, before: Truth, after: Truth) -> bool:
    """Return whether presence by thing type and group is reported truly."""
    possible = _Possibilities(before, after)
    online, things = possible.online(), possible.all_things()
    counts = breakdown.counts
    return all(
        online.allow(part, counts.get(part, {}).get("online", 0))
        and things.allow(part, sum(counts.get(part, {}).values()))
        for part in {*counts, *things.least}
    ) and all(
        breakdown.clients.get(client_id) == thing.labels
        for client_id, thing in possible.certain.items()
    )


@dataclass(slots=True)
class _Bounds:
    """The least and the largest number in each part; `anywhere` may be in any part or in none."""

    least: Counter[Part] = field(default_factory=Counter)
    largest: Counter[Part] = field(default_factory=Counter)
    anywhere: int = 0

    def allow(self, part: Part, count: int) -> bool:
        return self.least[part] <= count <= self.largest[part] + self.anywhere


class _Possibilities:
    """What is certain and what is possible between two truths."""

    def __init__(self, before: Truth, after: Truth) -> None:
        self._snapshots = (before.registry, after.registry)
        self._uncertain = before.registry.in_flight | after.registry.in_flight
        in_flight = before.in_flight | after.in_flight
        self._possible = before.connected | after.connected | in_flight
        self._unchanged = {
            name: thing
            for name, thing in after.registry.things.items()
            if name not in self._uncertain and before.registry.things.get(name) == thing
        }
        self.certain = {
            client_id: self._unchanged[name]
            for client_id in (before.connected & after.connected) - in_flight
            if (name := after.registry.thing_of.get(client_id, client_id)) in self._unchanged
        }
        """The things of the clients that are certainly connected and whose things are certain."""

    def online(self) -> _Bounds:
        names = (
            {snapshot.thing_of.get(client_id, client_id) for snapshot in self._snapshots}
            for client_id in self._possible
        )
        return self._bounds(self.certain.values(), names)

    def all_things(self) -> _Bounds:
        names = {name for snapshot in self._snapshots for name in snapshot.things}
        return self._bounds(self._unchanged.values(), ({name} for name in names | self._uncertain))

    def _bounds(self, certain: Iterable[ThingState], possible: Iterable[set[str]]) -> _Bounds:
        """Return bounds from what is certain, and from the things that each client may be."""
        bounds = _Bounds()
        for thing in certain:
            bounds.least.update(thing.parts)
        for names in possible:
            if names & self._uncertain:
                bounds.anywhere += 1
                continue
            things = (snapshot.things.get(name) for name in names for snapshot in self._snapshots)
            bounds.largest.update({part for thing in things if thing for part in thing.parts})
        return bounds


def report_line(now: datetime, scrape: Scrape, truth: Truth, *, agreed: bool) -> str:
    """Return one line that shows both sides and whether they agree."""
    return (
        f"{now:%H:%M:%S}  presenced: online {scrape.online:3}  pending {scrape.pending:2}  "
        f"offline {scrape.offline:2} | broker: connected {len(truth.connected):3}  "
        f"in flight {len(truth.in_flight):2} | {'agree' if agreed else 'settling'}"
    )


@dataclass(slots=True)
class Tally:
    """Counts the samples in which a claim was true."""

    claim: str
    true: int = 0
    total: int = 0

    def count(self, *, true: bool) -> None:
        """Count one sample."""
        self.total += 1
        self.true += true

    def __str__(self) -> str:
        return f"{self.claim} in {self.true} of {self.total} samples"
