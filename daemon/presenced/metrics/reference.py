"""The reference of all metrics: `python -m presenced.metrics.reference`.

The output is `docs/reference/metrics.md`.
"""

import sys
from collections.abc import Callable, Sequence

from presenced.metrics.catalog import CATALOG, PER_CLIENT
from presenced.metrics.metric import Metric

_HEAD = """# Metrics

Written by `make docs` from `daemon/presenced/metrics/catalog/`; a test keeps it current.

Series with known label values start at 0, so that `rate()` sees the first event. `connection` is
the MQTT client ID of one of the daemon's connections. `state` is `online`, `pending` (disconnected,
within the offline delay), `offline` or `unknown`. Values that AWS does not document become `other`.
presenced also exports the `process_*` and `python_*` metrics of the Prometheus client library.
"""
_SECTIONS = {
    "The fleet": ("iot_client", "iot_class"),
    "Events": ("iot_event",),
    "The registry and the rest": (
        "iot_client_info",
        "iot_thing",
        "iot_registry",
        "iot_job",
        "iot_certificate",
        "iot_command",
    ),
    "The daemon": ("presenced_",),
}


def reference() -> str:
    """Return the page as Markdown, with one table for each group of metrics."""
    return _HEAD + "".join(
        f"\n## {title}\n\n" + _table(title, ("metric", "type", "labels", "meaning", "for example"))
        for title in _SECTIONS
    )


def _table(section: str, columns: Sequence[str]) -> str:
    metrics = [m for m in (PER_CLIENT | CATALOG).values() if _section(m) == section]
    rows = [columns, ["---"] * len(columns), *([_CELLS[c](m) for c in columns] for m in metrics)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _section(metric: Metric) -> str:
    """The section with the longest prefix that fits."""
    fitting = {
        prefix: title
        for title, prefixes in _SECTIONS.items()
        for prefix in prefixes
        if metric.name.startswith(prefix)
    }
    return fitting[max(fitting, key=len)]


def _query(metric: Metric) -> str:
    escaped = metric.query.replace("|", "\\|")  # else a new cell begins
    return f"`{escaped}`"


_CELLS: dict[str, Callable[[Metric], str]] = {
    "metric": lambda metric: f"`{metric.name}`",
    "type": lambda metric: metric.kind,
    "labels": lambda metric: ", ".join(f"`{label}`" for label in metric.labels),
    "meaning": lambda metric: metric.help,
    "for example": _query,
}


if __name__ == "__main__":
    sys.stdout.write(reference())
