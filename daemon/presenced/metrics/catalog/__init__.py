"""Every metric: its name, type, labels and meaning. The only place that names them."""

from presenced.metrics.catalog.clients import CLIENTS
from presenced.metrics.catalog.daemon import DAEMON
from presenced.metrics.catalog.events import EVENTS
from presenced.metrics.catalog.fleet import FLEET
from presenced.metrics.catalog.metric import Metric
from presenced.metrics.catalog.registry import REGISTRY

__all__ = ["CATALOG", "PER_CLIENT", "Metric"]

CATALOG: dict[str, Metric] = {
    metric.name: metric for metric in (*FLEET, *EVENTS, *REGISTRY, *DAEMON)
}
"""The totals, in the order in which they are exposed."""

PER_CLIENT: dict[str, Metric] = {metric.name: metric for metric in CLIENTS}
"""Those that have a series of its own for each client."""
