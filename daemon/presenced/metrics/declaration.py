"""How a metric that is read at scrape is declared, and what it is read from."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from presenced.metrics.metric import Metric
from presenced.metrics.series import ClassCounts, ClientSeries
from presenced.pipeline import EventCounts, Pipeline
from presenced.presence.counts import Distribution, PresenceCounts
from presenced.registry.inventory import Inventory
from presenced.sources.gaps import GapReason
from presenced.sources.status import ConnectionStatus
from presenced.store import WriterCounts


def _no_backlog() -> int:
    return 0


@dataclass(slots=True)
class MetricSources:
    """What metrics are read from. `certificate_expiry` and `reloaded_at` are epoch seconds."""

    pipeline: Pipeline
    series: ClientSeries
    transport: str
    classes: ClassCounts = field(default_factory=ClassCounts)
    connections: Sequence[ConnectionStatus] = ()
    backlog: Callable[[], int] = _no_backlog
    gaps: dict[GapReason, int] = field(default_factory=lambda: dict.fromkeys(GapReason, 0))
    state: WriterCounts = field(default_factory=WriterCounts)
    certificate_expiry: dict[str, float] = field(default_factory=dict)
    reload_successful: bool = True
    reloaded_at: float = field(default_factory=time.time)

    @property
    def events(self) -> EventCounts:
        """What the pipeline has counted."""
        return self.pipeline.counts

    @property
    def presence(self) -> PresenceCounts:
        """What presence has counted."""
        return self.pipeline.presence.counts

    @property
    def inventory(self) -> Inventory:
        """The things, thing groups and thing types of the fleet."""
        return self.pipeline.fleet.inventory


class Attribute(NamedTuple):
    """A number that is an attribute of an object."""

    owner: object
    name: str


Values = float | Attribute | Mapping[Any, float] | Mapping[Any, Distribution]
"""A number, or numbers or distributions by label value, or by a tuple of label values."""

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectedMetric(Metric):
    """A metric that is read when Prometheus asks for it.

    A metric that is `kept` outlives a restart: what the state file holds is added to what `read`
    returns, or to what `totals` returns where `read` makes a copy. A metric that is `by_class` has
    one more label for each group of `metrics.client_id_pattern`, and is left out without one.
    """

    read: Callable[[MetricSources], Values] = field(kw_only=True)
    kept: bool = field(default=False, kw_only=True)
    totals: Callable[[MetricSources], Values] | None = field(default=None, kw_only=True)
    by_class: bool = field(default=False, kw_only=True)

    def values(self, sources: MetricSources) -> list[tuple[Labels, Any]]:
        """Return label values, each with its present number or distribution."""
        values = self.read(sources)
        if isinstance(values, Mapping):
            return [(label_values(key), value) for key, value in values.items()]
        if isinstance(values, Attribute):
            return [((), getattr(values.owner, values.name))]
        return [((), values)]


class GaugeMetric(CollectedMetric):
    """A number that goes up and down."""

    kind = "gauge"


class CounterMetric(CollectedMetric):
    """A number that only goes up."""

    kind = "counter"


class HistogramMetric(CollectedMetric):
    """Distributions."""

    kind = "histogram"


def label_values(key: object) -> Labels:
    """Return the label values that a key of `Values` stands for."""
    return key if isinstance(key, tuple) else (str(key),)
