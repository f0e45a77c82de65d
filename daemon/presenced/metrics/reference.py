"""The reference of all metrics, for `docs/metrics.md`: `python -m presenced.metrics.reference`."""

import sys

from presenced.metrics.catalog import CATALOG, PER_CLIENT, Metric

__all__ = ["reference"]

_HEAD = """# Metrics

Written by `make docs` from `daemon/presenced/metrics/catalog.py`; a test keeps it current.

All known label values are there at 0 from the start, so that `rate()` sees a first event.
`connection` is the MQTT client ID of one of the daemon's own connections. `state` is `online`,
`pending` (disconnected, inside the offline delay), `offline` or `unknown`. Values of open sets
that AWS does not list go to `other`. `process_*` and `python_*` are those of every Prometheus
client in Python.
"""
_HEADER = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
_SECTIONS = {
    "The fleet": ("iot_client", "iot_class"),
    "Events": ("iot_event",),
    "The daemon": ("presenced_",),
}


def reference() -> str:
    """The page as Markdown, one table for each group of metrics."""
    metrics = (PER_CLIENT | CATALOG).values()
    return _HEAD + "".join(
        _table(title, [metric for metric in metrics if metric.name.startswith(prefixes)])
        for title, prefixes in _SECTIONS.items()
    )


def _table(title: str, metrics: list[Metric]) -> str:
    rows = "".join(
        f"| `{metric.name}` | {metric.kind} | {_labels(metric)} | {metric.help} |\n"
        for metric in metrics
    )
    return f"\n## {title}\n\n{_HEADER}{rows}"


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


if __name__ == "__main__":
    sys.stdout.write(reference())
