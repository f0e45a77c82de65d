"""The sources of the metrics of one fleet, as a replay has them."""

import time
from collections.abc import Callable

from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources, MetricSources
from presenced.pipeline import Pipeline


def metric_sources(
    pipeline: Pipeline, clients: ClientMetrics, clock: Callable[[], float] = time.time
) -> MetricSources:
    """The sources without a source of events."""
    fleet = FleetSources(pipeline, clients, clock=clock)
    return MetricSources(lambda: [fleet], "awscrt")
