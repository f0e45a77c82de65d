"""The collector of the metrics that are read when Prometheus asks for them."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from presenced.metrics.catalog import CATALOG
from presenced.metrics.declaration import CollectedMetric, Labels, MetricSources


class CatalogCollector(Collector):
    """Reads the metrics of the catalog: everything that is not per client."""

    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Return the families of the catalog with their present values."""
        groups = self._sources.clients.classes.labels
        for metric in CATALOG.values():
            if not metric.by_class:
                yield self._family(metric, metric.labels)
            elif groups:
                yield self._family(metric, (*groups, *metric.labels))

    def _family(self, metric: CollectedMetric, labels: Labels) -> Metric:
        values = metric.values(self._sources)
        if metric.kind == "histogram":
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
            for each, distribution in values:
                bounds = [*map(floatToGoString, distribution.bounds), "+Inf"]
                buckets = list(zip(bounds, accumulate(distribution.buckets), strict=True))
                histogram.add_metric(each, buckets, distribution.sum)
            return histogram
        family_type = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
        family = family_type(metric.name, metric.help, labels=labels)
        for each, value in values:
            family.add_metric(each, value)
        return family
