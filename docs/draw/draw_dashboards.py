"""Draw docs/images/dashboard-*.svg from a simulated fleet with an incident, scraped by Prometheus.

`python docs/draw/draw_dashboards.py` takes four minutes and needs `prometheus` and `mosquitto` on
the path. The fleet comes over MQTT: `draw_scale_out.py` draws the dashboard Scale-out.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from panel_charts import bars, heat, lines, stat, timeline
from panel_data import Source
from panel_marks import Box, rect, text
from panel_tables import table

PROJECT = Path(__file__).parents[2]
IMAGES = PROJECT / "docs" / "images"
DASHBOARDS = PROJECT / "config" / "grafana" / "dashboards"
WIDTH, COLUMN, ROW = 1200, 50, 30
SPAN, RATE_INTERVAL = 180, 20
BROKER, DAEMON, PROMETHEUS = 9982, "127.0.0.1:9983", "127.0.0.1:9990"
# The pictures show one of the storms, and some of its devices back.
INCIDENT = ("--storms", "2", "--storm-share", "35%", "--outage", "90s")
FLEET = ("--devices", "300", "--seed", "11", *INCIDENT)
KINDS = {
    "stat": stat,
    "timeseries": lines,
    "heatmap": heat,
    "bargauge": bars,
    "state-timeline": timeline,
    "table": table,
}


def draw(dashboard: Mapping[str, Any], source: Source) -> str:
    """Render a dashboard as SVG, with the answers of Prometheus to its queries."""
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"]) * ROW
    parts = [part for panel in dashboard["panels"] for part in _panel(panel, source)]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" role="img">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#f4f5f5"/>\n{body}\n</svg>\n'
    )


def _panel(panel: Mapping[str, Any], source: Source) -> Iterator[str]:
    place = panel["gridPos"]
    box = Box(place["x"] * COLUMN, place["y"] * ROW, place["w"] * COLUMN, place["h"] * ROW)
    frame = box.inside(3, 3, 3, 3)
    title = text(frame.left + 10, frame.top + 18, panel["title"], size=13)
    if panel["type"] == "row":
        yield title
        return
    yield rect(frame, "#fff", 'stroke="#ddd"')
    yield title
    yield from KINDS[panel["type"]](panel, frame.inside(10, 30, 10, 8), source)


def main() -> None:
    """Run the fleet and write the pictures."""
    with TemporaryDirectory() as directory, _running(Path(directory)):
        time.sleep(SPAN + RATE_INTERVAL + 10)
        everything = Source(f"http://{PROMETHEUS}", span=SPAN, rate_interval=20, variables={})
        most_changing = everything.instant(
            f"topk(1, changes(iot_client_connected[{SPAN}s]) and on (client_id) iot_client_info)"
        )
        variables = {"client_id": most_changing[0].labels["client_id"]}
        source = Source(
            f"http://{PROMETHEUS}", span=SPAN, rate_interval=RATE_INTERVAL, variables=variables
        )
        for file in sorted(DASHBOARDS.glob("*.json")):
            if file.stem == "scale-out":
                continue
            picture = draw(json.loads(file.read_text()), source)
            (IMAGES / f"dashboard-{file.stem}.svg").write_text(picture)


@contextmanager
def _running(directory: Path) -> Iterator[None]:
    """Run broker, daemon, fleet, and a Prometheus that scrapes the daemon every second."""
    daemon = {
        "mqtt": {"endpoint": "localhost", "port": BROKER, "tls": False},
        "metrics": {"listen": DAEMON},
        "state": {"path": str(directory / "presenced.db")},
    }
    (directory / "presenced.yaml").write_text(json.dumps(daemon))
    scrape = {"job_name": "presenced", "static_configs": [{"targets": [DAEMON]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    (directory / "prometheus.yml").write_text(json.dumps(config))
    (directory / "mosquitto.conf").write_text(
        f"listener {BROKER} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
    )
    presenced = [sys.executable, "-m", "presenced"]
    of_daemon = ["--config", str(directory / "presenced.yaml")]
    duration = ["--duration", f"{SPAN + RATE_INTERVAL + 60}s"]
    commands = (
        [program("mosquitto"), "-c", str(directory / "mosquitto.conf")],
        [*presenced, "run", *of_daemon],
        [
            program("prometheus"),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={PROMETHEUS}",
            "--log.level=warn",
        ],
        [*presenced, "simulate", *of_daemon, *FLEET, *duration],
    )
    running = []
    try:
        for command in commands:
            running.append(subprocess.Popen(command))  # noqa: S603
            # The broker answers when the daemon connects, and the daemon when the fleet does.
            time.sleep(2)
        yield
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(30)


def program(name: str) -> str:
    """Return the path of a program, also of one for administrators."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name


if __name__ == "__main__":
    main()
