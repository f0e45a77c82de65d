"""The table that is printed, and the file that is kept."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.broker import mosquitto
from benchmarks.exporters import PEERS, Mqtt2Prometheus
from benchmarks.figures import Figure
from benchmarks.kafka_broker import kafka_version

__all__ = ["machine", "table", "versions", "write"]

_LIBRARIES = ("awscrt", "msgspec", "prometheus-client", "aiohttp", "confluent-kafka")


def machine() -> dict[str, Any]:
    """What it was measured on."""
    processors = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": processors[0] if processors else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """What was measured, and with what."""
    commit = _first_line(["git", "rev-parse", "--short", "HEAD"])
    return {
        "presenced": f"{version('presenced')} ({commit})",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
        "mosquitto": _first_line([mosquitto(), "-h"]),
        "kafka": kafka_version(),
        "mqtt2prometheus": _first_line(
            ["dpkg-query", "--show", "--showformat=${Version}", Mqtt2Prometheus.executable]
        ),
        "mqtt-exporter": _first_line(
            [
                str(PEERS / "python"),
                "-c",
                "import importlib.metadata as m; print(m.version('mqtt-exporter'))",
            ]
        ),
    }


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]


def table(results: Mapping[str, Sequence[Figure]]) -> str:
    """A table in Markdown of every figure."""
    lines = [
        "| row | what | median | against | median | ratio | must be | |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for row, figures in results.items():
        lines.extend(_line(row, figure) for figure in figures)
    return "\n".join(lines)


def _line(row: str, figure: Figure) -> str:
    reference, ratio = figure.reference, figure.ratio
    cells = (
        row,
        figure.what,
        _number(figure.value, figure.unit),
        figure.against,
        "" if reference is None else _number(reference, figure.unit),
        "" if ratio is None else f"{ratio:.2f} x",
        _demand(figure),
        "" if figure.met is None else "yes" if figure.met else "**no**",
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 1000 or value == int(value) else 1 if value >= 100 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def _demand(figure: Figure) -> str:
    if figure.at_least is not None:
        return f"≥ {figure.at_least:g} x"
    return "" if figure.at_most is None else f"≤ {_number(figure.at_most, figure.unit)}"


def write(path: Path, results: Mapping[str, Sequence[Figure]], runs: int) -> None:
    """Write all to a JSON file."""
    path.parent.mkdir(exist_ok=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs": runs,
        "machine": machine(),
        "versions": versions(),
        "rows": {row: [each.as_json() for each in figures] for row, figures in results.items()},
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
