"""The totals of the catalog that outlive a restart, as the state file keeps them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from presenced.metrics.catalog import CATALOG
from presenced.metrics.declaration import (
    Attribute,
    CollectedMetric,
    Labels,
    MetricSources,
    label_values,
)
from presenced.presence.counts import Distribution
from presenced.store.totals import Total


def kept_totals(sources: MetricSources) -> Iterator[Total]:
    """Return each total that is to be written to the state file, and restored from it.

    A histogram is two of them: its sums, and its buckets, each of which is kept by itself and not
    together with those below it.
    """
    for metric in CATALOG.values():
        if metric.kept and metric.kind == "histogram":
            yield _buckets(metric, sources)
            yield _sums(metric, sources)
        elif metric.kept:
            yield _numbers(metric, sources)


def _numbers(metric: CollectedMetric, sources: MetricSources) -> Total:
    def add(labels: Labels, value: float) -> None:
        totals: Any = (metric.totals or metric.read)(sources)
        if isinstance(totals, Attribute):
            setattr(*totals, getattr(*totals) + int(value))
            return
        keys = {label_values(key): key for key in totals}
        # A counter has only those keys that have been counted.
        new = labels if len(labels) > 1 else labels[0]
        if labels in keys or isinstance(totals, Counter):
            totals[keys.get(labels, new)] += int(value)

    return Total(metric.name, metric.labels, lambda: metric.values(sources), add)


def _buckets(metric: CollectedMetric, sources: MetricSources) -> Total:
    def read() -> Iterator[tuple[Labels, float]]:
        for labels, distribution in metric.values(sources):
            for bound, count in zip(_bounds(distribution), distribution.buckets, strict=True):
                yield (*labels, bound), count

    def add(labels: Labels, value: float) -> None:
        *wanted, bound = labels
        distribution = dict(metric.values(sources)).get(tuple(wanted))
        if distribution is not None and bound in (bounds := _bounds(distribution)):
            distribution.buckets[bounds.index(bound)] += int(value)

    return Total(f"{metric.name}_bucket", (*metric.labels, "le"), read, add)


def _sums(metric: CollectedMetric, sources: MetricSources) -> Total:
    def read() -> Iterator[tuple[Labels, float]]:
        for labels, distribution in metric.values(sources):
            yield labels, distribution.sum

    def add(labels: Labels, value: float) -> None:
        distribution = dict(metric.values(sources)).get(labels)
        if distribution is not None:
            distribution.sum += value

    return Total(f"{metric.name}_sum", metric.labels, read, add)


def _bounds(distribution: Distribution) -> list[str]:
    return [*(f"{bound:g}" for bound in distribution.bounds), "+Inf"]
