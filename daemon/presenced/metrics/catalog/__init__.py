"""Every metric: its name, type, labels and meaning. The only place that names them."""

from presenced.metrics.catalog.daemon import DAEMON
from presenced.metrics.catalog.fleet import CLIENTS, EVENTS, FLEET, REGISTRY
from presenced.metrics.metric import Metric

__all__ = ["CATALOG", "PER_CLIENT", "Metric"]

CATALOG: dict[str, Metric] = {
    metric.name: metric for metric in (*FLEET, *EVENTS, *REGISTRY, *DAEMON)
}
"""The totals, in the order in which they are exposed."""

PER_CLIENT: dict[str, Metric] = {metric.name: metric for metric in CLIENTS}
"""Those that have a series of its own for each client."""
