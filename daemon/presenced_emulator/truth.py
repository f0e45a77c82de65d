"""What is true about the fleet, as the broker knows it.

Presence by thing type and group: what the daemon says beside what is true. Pure.

What the daemon says beside what is true. Pure: texts and sets in, verdicts and lines out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Standing(NamedTuple):
    """What a thing counts towards: its type and all its groups; and its attributes."""

    thing_type: str
    groups: frozenset[str]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Roll:
    """The things of the registry at one moment, and which thing each client was last.

    `in_flight` are things of which events are still under way.
    """

    things: Mapping[str, Standing] = field(default_factory=dict)
    thing_of: Mapping[str, str] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Truth:
    """Who is connected at one moment, and of whom events are still under way."""

    connected: frozenset[str]
    in_flight: frozenset[str]
    roll: Roll = field(default_factory=Roll)

    def without(self, client_id: str) -> Self:
        """The same, leaving one client out of account."""
        return replace(
            self,
            connected=self.connected - {client_id},
            in_flight=self.in_flight - {client_id},
        )


ATTRIBUTES = ("site", "model")
"""The attributes of things that the daemon is configured to show."""

METRICS = {"iot_thing_type_clients": "thing_type", "iot_thing_group_clients": "thing_group"}

Part = tuple[str, str]
"""A part of the fleet: `thing_type` or `thing_group`, and the name of one."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Clients by part of the fleet and state, and what is said of each client, by label."""

    counts: Mapping[Part, Mapping[str, int]] = field(default_factory=dict)
    clients: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, samples: Iterable[Sample]) -> Self:
        """Read it from the samples of a scrape; others are passed over."""
        counts: dict[Part, dict[str, int]] = defaultdict(dict)
        clients = {}
        for sample in samples:
            labels = dict(sample.labels)
            if (label := METRICS.get(sample.name)) is not None:
                counts[label, labels[label]][labels["state"]] = int(sample.value)
            elif sample.name == "iot_client_info":
                clients[labels.pop("client_id")] = labels
        return cls(dict(counts), clients)


def is_right(breakdown: Breakdown, before: Truth, after: Truth) -> bool:
    """Whether it tells the truth that held before and after it was taken.

    Only clients and things whose events were under way meanwhile may be told either way.
    """
    view = _View(before, after)
    online, things = view.online(), view.all_things()
    told = breakdown.counts
    return all(
        online.allow(part, told.get(part, {}).get("online", 0))
        and things.allow(part, sum(told.get(part, {}).values()))
        for part in {*told, *things.least}
    ) and all(
        breakdown.clients.get(client_id) == _labels(standing)
        for client_id, standing in view.certain.items()
    )


@dataclass(slots=True)
class _Bounds:
    """How many there may be of each part of the fleet; `anywhere` are those that may be of any."""

    least: Counter[Part] = field(default_factory=Counter)
    most: Counter[Part] = field(default_factory=Counter)
    anywhere: int = 0

    def allow(self, part: Part, count: int) -> bool:
        return self.least[part] <= count <= self.most[part] + self.anywhere


class _View:
    """What is sure and what is possible, by two truths between which nothing else is known."""

    def __init__(self, before: Truth, after: Truth) -> None:
        self._rolls = (before.roll, after.roll)
        self._unsure = before.roll.in_flight | after.roll.in_flight
        doubtful = before.in_flight | after.in_flight
        self._possible = before.connected | after.connected | doubtful
        self._steady = {
            name: standing
            for name, standing in after.roll.things.items()
            if name not in self._unsure and before.roll.things.get(name) == standing
        }
        self.certain = {
            client_id: self._steady[name]
            for client_id in (before.connected & after.connected) - doubtful
            if (name := after.roll.thing_of.get(client_id, client_id)) in self._steady
        }
        """The clients that are connected for sure, and what their things are for sure."""

    def online(self) -> _Bounds:
        names = (
            {roll.thing_of.get(client_id, client_id) for roll in self._rolls}
            for client_id in self._possible
        )
        return self._bounds(self.certain.values(), names)

    def all_things(self) -> _Bounds:
        known = self._rolls[0].things.keys() | self._rolls[1].things.keys() | self._unsure
        return self._bounds(self._steady.values(), ({name} for name in known))

    def _bounds(self, sure: Iterable[Standing], possible: Iterable[set[str]]) -> _Bounds:
        """Bounds by what is sure, and by the names of things that each of the rest may be."""
        bounds = _Bounds()
        for standing in sure:
            bounds.least.update(_parts(standing))
        for names in possible:
            if names & self._unsure:
                bounds.anywhere += 1
            else:
                bounds.most.update(self._ever(names))
        return bounds

    def _ever(self, names: set[str]) -> set[Part]:
        standings = (roll.things.get(name) for name in names for roll in self._rolls)
        return {part for standing in standings if standing for part in _parts(standing)}


def _parts(standing: Standing) -> set[Part]:
    kind = {("thing_type", standing.thing_type)} if standing.thing_type else set()
    return kind | {("thing_group", group) for group in standing.groups}


def _labels(standing: Standing) -> dict[str, str]:
    """The labels of a client's `iot_client_info`, beside its client ID."""
    shown = {name: standing.attributes.get(name, "") for name in ATTRIBUTES}
    return {"thing_type": standing.thing_type, **shown}


@dataclass(frozen=True, slots=True)
class Scrape:
    """The state of the fleet as `/metrics` tells it.

    `shown_online` are the clients whose own series is 1, which means online or pending.
    """

    online: int
    pending: int
    offline: int
    shown_online: frozenset[str]
    breakdown: Breakdown = field(default_factory=Breakdown)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the exposition text."""
        states: dict[str, int] = defaultdict(int)
        shown_online = set()
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        for sample in samples:
            if sample.name == "iot_clients":
                states[sample.labels["state"]] = int(sample.value)
            elif sample.name == "iot_client_connected" and sample.value == 1:
                shown_online.add(sample.labels["client_id"])
        return cls(
            states["online"],
            states["pending"],
            states["offline"],
            frozenset(shown_online),
            Breakdown.read(samples),
        )


def agree(scrape: Scrape, before: Truth, after: Truth) -> bool:
    """Whether the scrape tells the truth that held before and after it was taken.

    Only clients whose events were under way meanwhile may be told either way. Names count, not
    only numbers: two mistakes do not cancel out.
    """
    doubtful = before.in_flight | after.in_flight
    certainly = (before.connected & after.connected) - doubtful
    possibly = before.connected | after.connected | doubtful
    return (
        len(certainly) <= scrape.online <= len(possibly)
        and certainly <= scrape.shown_online
        and len(scrape.shown_online - possibly) <= scrape.pending
    )


def report_line(now: datetime, scrape: Scrape, truth: Truth, *, agreed: bool) -> str:
    """One line that shows both sides and the verdict."""
    return (
        f"{now:%H:%M:%S}  presenced: online {scrape.online:3}  pending {scrape.pending:2}  "
        f"offline {scrape.offline:2} | broker: connected {len(truth.connected):3}  "
        f"in flight {len(truth.in_flight):2} | {'agree' if agreed else 'settling'}"
    )


@dataclass(slots=True)
class Tally:
    """How often both sides agreed, or what else `claim` says."""

    agreed: int = 0
    total: int = 0
    claim: str = "presenced and the broker agreed"

    def count(self, *, agreed: bool) -> None:
        """Count one sample."""
        self.total += 1
        self.agreed += agreed

    def __str__(self) -> str:
        return f"{self.claim} in {self.agreed} of {self.total} samples"
