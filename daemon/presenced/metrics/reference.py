"""The reference of all metrics: `python -m presenced.metrics.reference` writes `docs/metrics.md`.

With the path of the README it writes the list that stands there.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from presenced.metrics.catalog import CATALOG, PER_CLIENT
from presenced.metrics.metric import Metric

_HEAD = """# Metrics

Written by `make docs` from `daemon/presenced/metrics/catalog/`; a test keeps it current.

All known label values are there at 0 from the start, so that `rate()` sees a first event.
`connection` is the MQTT client ID of one of the daemon's own connections. `state` is `online`,
`pending` (disconnected, inside the offline delay), `offline` or `unknown`. Values of open sets
that AWS does not list go to `other`. `process_*` and `python_*` are those of every Prometheus
client in Python.
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
_BEGIN, _END = "<!-- metrics: `make docs` -->\n", "<!-- end of metrics -->\n"


def reference() -> str:
    """The page `docs/metrics.md` as Markdown, one table for each group of metrics."""
    return _HEAD + "".join(
        f"\n## {title}\n\n" + _table(title, ("metric", "type", "labels", "meaning", "for example"))
        for title in _SECTIONS
    )


def summary(readme: str) -> str:
    """The README with the list of all metrics in its place, between two comments."""
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    tables = "\n".join(
        f"**{title}**\n\n" + _table(title, ("metric", "meaning", "for example"))
        for title in _SECTIONS
    )
    return f"{before}{_BEGIN}\n{tables}\n{_END}{after}"


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
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(summary(path.read_text()))
    else:
        sys.stdout.write(reference())
