"""Every metric: name, type, labels, help, how it is read, and whether it outlives a restart."""

from collections.abc import Iterator

from presenced.metrics.catalog.daemon import COMMIT_DURATION, DAEMON
from presenced.metrics.catalog.fleet import (
    CLASS_CLIENTS,
    EVENT_DELAY,
    FLEET,
    OFFLINE_DURATION,
    SESSION_DURATION,
)
from presenced.metrics.declaration import (
    CollectedMetric,
    KeptCounter,
    KeptHistogram,
    MetricSources,
)
from presenced.metrics.series import PER_CLIENT
from presenced.store.totals import Total

__all__ = ["CATALOG", "PER_CLIENT", "kept_totals"]

CATALOG: dict[str, CollectedMetric] = {
    metric.name: metric
    for metric in (
        *FLEET,
        *DAEMON,
        CLASS_CLIENTS,
        SESSION_DURATION,
        OFFLINE_DURATION,
        COMMIT_DURATION,
        EVENT_DELAY,
    )
}
"""The metrics that are read at scrape, in the order of the exposition."""


def kept_totals(sources: MetricSources) -> Iterator[Total]:
    """Yield the totals that outlive a restart, as the state file has them."""
    for metric in CATALOG.values():
        if isinstance(metric, KeptCounter | KeptHistogram):
            yield from metric.kept_totals(sources)
