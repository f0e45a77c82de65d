"""Presence by thing type and group: what the daemon says beside what is true. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from prometheus_client.samples import Sample

from presenced.emulator.truth import Standing, Truth

__all__ = ["ATTRIBUTES", "Breakdown", "is_right"]

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
