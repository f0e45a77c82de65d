"""The reference of all metrics: `python -m presenced.metrics.reference`.

The output is `docs/reference/metrics.md`.
"""

import sys

from presenced.metrics.catalog import CATALOG, PER_CLIENT
from presenced.metrics.metric import Metric

_HEAD = """# Metrics

Written by `make docs` from `daemon/presenced/metrics/catalog/`; a test keeps it current.

Series with known label values start at 0, so that `rate()` sees the first event. `connection` is
the MQTT client ID of one of the daemon's connections. `state` is `online`, `pending` (disconnected,
within the offline delay), `offline` or `unknown`. Values that AWS does not document become `other`.
presenced also exports the `process_*` and `python_*` metrics of the Prometheus client library.
"""
_TABLE = """
## {title}

| metric | type | labels | meaning | for example |
| --- | --- | --- | --- | --- |
"""
_SECTIONS = {
    "iot_client": "The fleet",
    "iot_class": "The fleet",
    "iot_event": "Events",
    "iot_client_info": "The registry and the rest",
    "iot_": "The registry and the rest",
    "presenced_": "The daemon",
}
"""The section of each metric, by the longest prefix of its name."""


def reference() -> str:
    """Return the page as Markdown, with one table for each group of metrics."""
    tables = {title: _TABLE.format(title=title) for title in _SECTIONS.values()}
    for metric in (PER_CLIENT | CATALOG).values():
        prefix = max(filter(metric.name.startswith, _SECTIONS), key=len)
        tables[_SECTIONS[prefix]] += _row(metric)
    return _HEAD + "".join(tables.values())


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    query = metric.query.replace("|", "\\|")  # a plain | would begin a new cell
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | `{query}` |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
