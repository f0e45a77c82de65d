"""Metrics that are read at a scrape: how they are declared, exposed, and kept in the state file."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from heapq import nlargest
from itertools import accumulate
from operator import itemgetter
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.utils import floatToGoString

from presenced.aws.client import RequestCounts
from presenced.aws.reconciler import Reconciler
from presenced.fleet import Partition
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.metric import Metric
from presenced.pipeline import EventCounts, Pipeline
from presenced.presence.counts import Distribution, PresenceCounts
from presenced.registry.inventory import Inventory
from presenced.sources.gaps import GapReason
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.source import MqttSource
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.traffic import Traffic
from presenced.sources.sqs.source import SqsSource
from presenced.store.totals import Labels, Total
from presenced.store.writer import WriterCounts


@dataclass(slots=True)
class FleetSources:
    """The sources of the metrics of a fleet, or of the part of it in one partition of Kafka.

    `clock` returns the wall-clock time, in seconds since the epoch.
    """

    pipeline: Pipeline
    clients: ClientMetrics
    gaps: dict[GapReason, int] = field(default_factory=lambda: dict.fromkeys(GapReason, 0))
    inbox: Inbox | None = None
    partition: Partition | None = None
    clock: Callable[[], float] = time.time

    @property
    def events(self) -> EventCounts:
        """What the pipeline has counted."""
        return self.pipeline.counts

    @property
    def presence(self) -> PresenceCounts:
        """What presence has counted."""
        return self.pipeline.fleet.presence.counts

    @property
    def inventory(self) -> Inventory:
        """The things, thing groups and thing types of the fleet."""
        return self.pipeline.fleet.inventory


class KafkaCounts(Protocol):
    """What the metrics of Kafka are read from; the source itself needs an extra."""

    @property
    def ownership(self) -> Mapping[int, bool]:
        """Whether this worker has each partition of the fleet."""

    @property
    def lag(self) -> Mapping[int, int]:
        """How many records each of its partitions is behind."""

    @property
    def misplaced(self) -> int:
        """Records in another partition than that of their key."""


class CommitCounts(Protocol):
    """What the metrics of the kept state are read from: a file, or topics of Kafka."""

    unavailable: bool
    commits: int
    failures: Counter[str]
    durations: Distribution
    last_commit: float


def always_ready() -> bool:
    """Return that a replay, which waits for nothing, is ready."""
    return True


@dataclass(slots=True)
class MetricSources:
    """The sources of all metrics. `certificate_expiry` and `reloaded_at` are epoch seconds.

    `fleets` returns the one fleet, or its partitions that may be shown now; it is `partitioned` if
    they come from Kafka. Of the sources of events, `mqtt`,
    `sqs` and `kafka`, one is there at most. `aws_requests` and `reconciler` are None if
    AWS is not asked.
    """

    fleets: Callable[[], Sequence[FleetSources]]
    transport: str
    mqtt: MqttSource | None = None
    sqs: SqsSource | None = None
    kafka: KafkaCounts | None = None
    state: CommitCounts = field(default_factory=WriterCounts)
    certificate_expiry: dict[str, float] = field(default_factory=dict)
    aws_requests: RequestCounts | None = None
    reconciler: Reconciler | None = None
    partitioned: bool = False
    is_ready: Callable[[], bool] = always_ready
    reload_successful: bool = True
    reloaded_at: float = field(default_factory=time.time)

    @property
    def statuses(self) -> Sequence[ConnectionStatus]:
        """The status of each connection."""
        return self.mqtt.statuses if self.mqtt else ()

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        """What came over each connection, by client ID."""
        return self.mqtt.traffic if self.mqtt else {}


class Attribute(NamedTuple):
    """A number that is an attribute of an object."""

    owner: object
    name: str


Values = float | Attribute | Distribution | dict[Any, Any]
"""A number, a distribution, or such values by a label value or by a tuple of label values."""


S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class CollectedMetric(Metric, Generic[S]):
    """A metric that is read at each scrape, from all sources of its kind.

    A metric that is `by_class` has one more label for each group of `metrics.client_id_pattern`;
    without a pattern it is left out. One that is `global_` is the same in all partitions, and has
    no label for them.
    """

    family_type: ClassVar[type[GaugeMetricFamily | CounterMetricFamily]]

    read: Callable[[S], Values] = field(kw_only=True)
    by_class: bool = field(default=False, kw_only=True)
    global_: bool = field(default=False, kw_only=True)

    def values(self, sources: S) -> list[tuple[Labels, Any]]:
        """Return label values, each with its present number or distribution."""
        values = self.read(sources)
        if isinstance(values, dict):
            return _flattened(values)
        return [((), getattr(*values) if isinstance(values, Attribute) else values)]

    def collect(
        self, sources: Iterable[tuple[Labels, S]], more_labels: Sequence[str] = ()
    ) -> MetricFamily:
        """Return the present samples; each source comes with values of the first labels."""
        family = self.family_type(self.name, self.help, labels=(*more_labels, *self.labels))
        for first, source in sources:
            for labels, value in self.values(source):
                family.add_metric((*first, *labels), value)
        return family


class GaugeMetric(CollectedMetric[S]):
    """A number that goes up and down."""

    kind = "gauge"
    family_type = GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class WorstClientsMetric(GaugeMetric[FleetSources]):
    """A number of single clients, by client ID: the highest `limit` of all partitions together.

    It has the labels of the other series of clients: one more for each group of
    `metrics.client_id_pattern`, which is empty if the client ID does not match.
    """

    limit: int = field(kw_only=True)

    def collect(
        self, sources: Iterable[tuple[Labels, FleetSources]], more_labels: Sequence[str] = ()
    ) -> MetricFamily:
        """Return the present samples; `more_labels` ends with the groups of the pattern."""
        family = self.family_type(self.name, self.help, labels=(*more_labels, *self.labels))
        samples = [
            (value, (*first, *source.clients.classes.values(labels[0]), *labels))
            for first, source in sources
            for labels, value in self.values(source)
        ]
        for value, labels in nlargest(self.limit, samples, key=itemgetter(0)):
            family.add_metric(labels, value)
        return family


class CounterMetric(CollectedMetric[S]):
    """A number that only goes up."""

    kind = "counter"
    family_type = CounterMetricFamily


@dataclass(frozen=True, slots=True)
class KeptCounter(CounterMetric[FleetSources]):
    """A counter that outlives a restart.

    The numbers of the state file are added to those that `read` returns, or `totals` if `read`
    makes a copy.
    """

    totals: Callable[[FleetSources], Values] | None = field(default=None, kw_only=True)

    def kept_totals(self, sources: FleetSources) -> list[Total]:
        """Return the totals that the state file keeps."""

        def add(labels: Labels, value: float) -> None:
            totals: Any = (self.totals or self.read)(sources)
            if isinstance(totals, Attribute):
                setattr(*totals, getattr(*totals) + int(value))
                return
            key = labels if len(labels) > 1 else labels[0]
            # A Counter has only those keys that have been counted.
            if key in totals or isinstance(totals, Counter):
                totals[key] += int(value)

        return [Total(self.name, self.labels, lambda: self.values(sources), add)]


class HistogramMetric(CollectedMetric[S]):
    """Distributions."""

    kind = "histogram"

    def collect(
        self, sources: Iterable[tuple[Labels, S]], more_labels: Sequence[str] = ()
    ) -> MetricFamily:
        """Return the present buckets and sums."""
        family = HistogramMetricFamily(self.name, self.help, labels=(*more_labels, *self.labels))
        for first, source in sources:
            for labels, distribution in self.values(source):
                bounds = [*map(floatToGoString, distribution.bounds), "+Inf"]
                buckets = list(zip(bounds, accumulate(distribution.buckets), strict=True))
                family.add_metric((*first, *labels), buckets, distribution.sum)
        return family


class KeptHistogram(HistogramMetric[FleetSources]):
    """Distributions that outlive a restart.

    The state file has each bucket without the buckets below it.
    """

    def kept_totals(self, sources: FleetSources) -> list[Total]:
        """Return the buckets and the sums."""

        def buckets() -> Iterator[tuple[Labels, float]]:
            for labels, distribution in self.values(sources):
                bounds = _label_bounds(distribution.bounds)
                for bound, count in zip(bounds, distribution.buckets, strict=True):
                    yield (*labels, bound), count

        def add_to_bucket(labels: Labels, value: float) -> None:
            *series, bound = labels
            distribution = dict(self.values(sources)).get(tuple(series))
            if distribution is not None and bound in _label_bounds(distribution.bounds):
                at = _label_bounds(distribution.bounds).index(bound)
                distribution.buckets[at] += int(value)

        def sums() -> Iterator[tuple[Labels, float]]:
            return ((labels, each.sum) for labels, each in self.values(sources))

        def add_to_sum(labels: Labels, value: float) -> None:
            distribution = dict(self.values(sources)).get(labels)
            if distribution is not None:
                distribution.sum += value

        return [
            Total(f"{self.name}_bucket", (*self.labels, "le"), buckets, add_to_bucket),
            Total(f"{self.name}_sum", self.labels, sums, add_to_sum),
        ]


def _flattened(values: dict[Any, Any]) -> list[tuple[Labels, Any]]:
    flat: list[tuple[Labels, Any]] = []
    for key, value in values.items():
        labels = key if isinstance(key, tuple) else (str(key),)
        if isinstance(value, dict):
            flat += [((*labels, *inner), each) for inner, each in _flattened(value)]
        else:
            flat.append((labels, value))
    return flat


@cache
def _label_bounds(bounds: tuple[float, ...]) -> list[str]:
    return [*(f"{bound:g}" for bound in bounds), "+Inf"]
