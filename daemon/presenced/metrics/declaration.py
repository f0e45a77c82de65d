"""How a metric that is read at scrape is declared, and what it is read from."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from presenced.metrics.clients import ClientMetrics
from presenced.metrics.metric import Metric
from presenced.pipeline import EventCounts, Pipeline
from presenced.presence.counts import Distribution, PresenceCounts
from presenced.registry.inventory import Inventory
from presenced.sources.connections import Connections
from presenced.sources.gaps import GapReason
from presenced.sources.inbox import Inbox
from presenced.sources.status import ConnectionStatus
from presenced.sources.traffic import Traffic
from presenced.store import WriterCounts


@dataclass(slots=True)
class MetricSources:
    """What metrics are read from. `certificate_expiry` and `reloaded_at` are epoch seconds.

    A replay has no connections and no inbox.
    """

    pipeline: Pipeline
    clients: ClientMetrics
    transport: str
    connections: Connections | None = None
    inbox: Inbox | None = None
    gaps: dict[GapReason, int] = field(default_factory=lambda: dict.fromkeys(GapReason, 0))
    state: WriterCounts = field(default_factory=WriterCounts)
    certificate_expiry: dict[str, float] = field(default_factory=dict)
    reload_successful: bool = True
    reloaded_at: float = field(default_factory=time.time)

    @property
    def statuses(self) -> Sequence[ConnectionStatus]:
        """The status of each connection."""
        return self.connections.statuses if self.connections else ()

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        """What came over each connection, by client ID."""
        return self.connections.traffic if self.connections else {}

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

    read: Callable[[MetricSources], Values]
    kept: bool = False
    totals: Callable[[MetricSources], Values] | None = None
    by_class: bool = False

    def values(self, sources: MetricSources) -> list[tuple[Labels, Any]]:
        """Return label values, each with its present number or distribution."""
        values = self.read(sources)
        if isinstance(values, Mapping):
            return [(label_values(key), value) for key, value in values.items()]
        if isinstance(values, Attribute):
            return [((), getattr(values.owner, values.name))]
        return [((), values)]


def label_values(key: object) -> Labels:
    """Return the label values that a key of `Values` stands for."""
    return key if isinstance(key, tuple) else (str(key),)
