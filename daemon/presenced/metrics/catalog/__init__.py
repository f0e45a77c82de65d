"""Every metric: name, type, labels, help, how it is read, and whether it outlives a restart."""

from collections.abc import Iterator

from presenced.metrics.catalog.daemon import COMMIT_DURATION, DAEMON
from presenced.metrics.catalog.flapping import FLAPPING
from presenced.metrics.catalog.fleet import (
    CLASS_CLIENTS,
    EVENT_DELAY,
    FLEET,
    OFFLINE_DURATION,
    PIPELINE,
    SESSION_DURATION,
)
from presenced.metrics.declaration import (
    CollectedMetric,
    FleetSources,
    KeptCounter,
    KeptHistogram,
    MetricSources,
)
from presenced.metrics.metric import Metric
from presenced.metrics.series import PER_CLIENT
from presenced.store.totals import Total

__all__ = ["CATALOG", "OF_DAEMON", "OF_FLEET", "PER_CLIENT", "kept_totals"]

OF_FLEET: dict[str, CollectedMetric[FleetSources]] = {
    metric.name: metric
    for metric in (
        *FLEET,
        *FLAPPING,
        CLASS_CLIENTS,
        SESSION_DURATION,
        OFFLINE_DURATION,
        EVENT_DELAY,
        *PIPELINE,
    )
}
"""The metrics of clients and events, in the order of the exposition."""

OF_DAEMON: dict[str, CollectedMetric[MetricSources]] = {
    metric.name: metric for metric in (*DAEMON, COMMIT_DURATION)
}
"""The metrics of the process and its source, which follow."""

CATALOG: dict[str, Metric] = {**OF_FLEET, **OF_DAEMON}
"""All metrics that are read at a scrape."""


def kept_totals(sources: FleetSources) -> Iterator[Total]:
    """Yield the totals that outlive a restart, as the state file has them."""
    for metric in OF_FLEET.values():
        if isinstance(metric, KeptCounter | KeptHistogram):
            yield from metric.kept_totals(sources)
