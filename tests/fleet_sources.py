"""The sources of the metrics of one fleet, as a replay has them."""

from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources, MetricSources
from presenced.pipeline import Pipeline


def metric_sources(pipeline: Pipeline, clients: ClientMetrics) -> MetricSources:
    """The sources without a source of events."""
    fleet = FleetSources(pipeline, clients)
    return MetricSources(lambda: [fleet], "awscrt")
