"""Totals that go on after a restart, as rows of the state file, by the names of their metrics."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import cache
from itertools import chain
from typing import Any, Protocol

import msgspec

from presenced.metrics.catalog import CATALOG
from presenced.pipeline import Pipeline
from presenced.presence import Distribution
from presenced.sources.gap_detector import GapDetector
from presenced.store.changes import Changes
from presenced.store.schema import CounterRow

_Labels = tuple[str, ...]


class Tallies:
    """Every total of the fleet and its events: read into changes where it moved, and restored."""

    def __init__(self, pipeline: Pipeline, gap_detector: GapDetector) -> None:
        self._tallies = {each.name: each for each in _tallies(pipeline, gap_detector)}
        self._written: dict[tuple[str, str], float] = {}

    def collect(self, changes: Changes) -> None:
        """Add to `changes` each total that is another one than when it was last collected."""
        for each in self._tallies.values():
            for name, labels, value in each.rows():
                if value and self._written.get((name, labels)) != value:
                    self._written[name, labels] = value
                    changes.count(name, labels, value)

    def restore(self, rows: Iterable[CounterRow]) -> None:
        """Add what was stored to what has been counted; totals that are none any more are left."""
        for row in rows:
            self._written[row.name, row.labels] = row.value
            for each in self._tallies.values():
                if row.name.startswith(each.name):
                    each.add(row)


class _Tally(Protocol):
    name: str

    def rows(self) -> Iterator[tuple[str, str, float]]: ...

    def add(self, row: CounterRow) -> None: ...


class _Number:
    """A total that is an attribute."""

    def __init__(self, name: str, owner: object, attribute: str) -> None:
        self.name = name
        self._owner, self._attribute = owner, attribute

    def rows(self) -> Iterator[tuple[str, str, float]]:
        yield self.name, "{}", getattr(self._owner, self._attribute)

    def add(self, row: CounterRow) -> None:
        if row.name == self.name:
            total = getattr(self._owner, self._attribute) + int(row.value)
            setattr(self._owner, self._attribute, total)


class _Numbers:
    """Totals by label; those of `more` are part of the same metric."""

    def __init__(
        self, name: str, numbers: MutableMapping[Any, int], *more: Mapping[Any, int]
    ) -> None:
        self.name = name
        self._numbers, self._more = numbers, more

    def rows(self) -> Iterator[tuple[str, str, float]]:
        if not self._more:
            for key, value in self._numbers.items():
                yield self.name, _json(self.name, _labels(key)), value
            return
        total: Counter[_Labels] = Counter()
        for key, value in chain(self._numbers.items(), *(more.items() for more in self._more)):
            total[_labels(key)] += value
        for labels, value in total.items():
            yield self.name, _json(self.name, labels), value

    def add(self, row: CounterRow) -> None:
        if row.name != self.name:
            return
        wanted = _values(row)
        if wanted is None:
            return
        for key in self._numbers:
            if _labels(key) == wanted:
                self._numbers[key] += int(row.value)
                return
        if isinstance(self._numbers, Counter):
            self._numbers[wanted if len(wanted) > 1 else wanted[0]] += int(row.value)


class _Histograms:
    """Distributions by label. Each bucket is stored by itself, and not with those below it."""

    def __init__(self, name: str, distributions: Mapping[_Labels, Distribution]) -> None:
        self.name = name
        self._distributions = distributions

    def rows(self) -> Iterator[tuple[str, str, float]]:
        for labels, distribution in self._distributions.items():
            for bound, count in zip(_bounds(distribution), distribution.buckets, strict=True):
                yield f"{self.name}_bucket", _json(self.name, labels, bound), count
            yield f"{self.name}_sum", _json(self.name, labels), distribution.sum

    def add(self, row: CounterRow) -> None:
        for labels, distribution in self._distributions.items():
            if row.name == f"{self.name}_sum" and row.labels == _json(self.name, labels):
                distribution.sum += row.value
            if row.name == f"{self.name}_bucket":
                for place, bound in enumerate(_bounds(distribution)):
                    if row.labels == _json(self.name, labels, bound):
                        distribution.buckets[place] += int(row.value)


def _tallies(pipeline: Pipeline, gap_detector: GapDetector) -> Iterator[_Tally]:
    presence, events = pipeline.presence.counts, pipeline.counts
    for name, numbers in (
        ("iot_client_transitions_total", presence.transitions),
        ("iot_client_disconnects_total", presence.disconnects),
        ("iot_client_connect_failures_total", events.connect_failures),
        ("iot_clients_forgotten_total", presence.forgotten),
        ("iot_events_total", events.decoded),
        ("iot_events_rejected_total", events.rejected),
        ("iot_events_missed_total", presence.missed),
        ("iot_registry_changes_total", events.registry_changes),
        ("presenced_gaps_total", gap_detector.gaps),
    ):
        yield _Numbers(name, numbers)
    yield _Numbers("iot_events_ignored_total", events.ignored, presence.ignored)
    for name, family in (
        ("iot_job_events_total", "job"),
        ("iot_job_executions_total", "job_execution"),
        ("iot_command_executions_total", "command_execution"),
    ):
        yield _Numbers(name, events.tallied[family])
    for name, owner, attribute in (
        ("iot_client_flaps_suppressed_total", presence, "flaps_suppressed"),
        ("iot_client_connections_replaced_total", presence, "connections_replaced"),
        ("iot_clients_supposed_online_total", presence, "supposed_online"),
        ("iot_certificates_registered_total", events, "certificates_registered"),
        ("iot_event_version_resets_total", presence, "version_resets"),
        ("iot_event_topic_disagreements_total", events, "topic_disagreements"),
    ):
        yield _Number(name, owner, attribute)
    yield _Histograms("iot_client_session_duration_seconds", {(): presence.session_duration})
    yield _Histograms("iot_client_offline_duration_seconds", {(): presence.offline_duration})
    yield _Histograms(
        "iot_event_delay_seconds", {(family,): delay for family, delay in events.delays.items()}
    )


def _values(row: CounterRow) -> _Labels | None:
    """The values of a row's labels; None where they are not the labels that the metric has now."""
    try:
        told = msgspec.json.decode(row.labels, type=dict[str, str])
    except msgspec.MsgspecError:
        return None
    labels = CATALOG[row.name].labels
    return tuple(told[label] for label in labels) if told.keys() == set(labels) else None


def _labels(key: object) -> _Labels:
    return tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)


def _bounds(distribution: Distribution) -> list[str]:
    return [*(f"{bound:g}" for bound in distribution.bounds), "+Inf"]


@cache
def _json(name: str, labels: _Labels, bound: str | None = None) -> str:
    named = dict(zip(CATALOG[name].labels, labels, strict=True))
    if bound is not None:
        named["le"] = bound
    return msgspec.json.encode(dict(sorted(named.items()))).decode()
