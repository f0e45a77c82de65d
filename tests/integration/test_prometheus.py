"""A real Prometheus scrapes the daemon; promtool reads what it scrapes."""

import gzip
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
from presenced.metrics.metric import CHUNK
from prometheus_server import Prometheus, tool
from waiting import wait_for

DELAY = 3.0


def message(kind: str, version: int, client_id: str = "pump") -> tuple[str, bytes]:
    payload = {
        "clientId": client_id,
        "timestamp": round(time.time() * 1000),
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
    }
    return f"$aws/events/presence/{kind}/{client_id}", json.dumps(payload).encode()


@pytest.fixture
def stage(
    broker_of: Any, daemon_of: Any, tmp_path: Path
) -> Iterator[tuple[Mosquitto, Daemon, Prometheus]]:
    tool("prometheus")
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, presence={"offline_delay": f"{DELAY}s"})
    daemon.wait_until_ready()
    prometheus = Prometheus(tmp_path, daemon.port)
    yield broker, daemon, prometheus
    prometheus.stop()


def test_prometheus_tells_presence(stage: tuple[Mosquitto, Daemon, Prometheus]) -> None:
    broker, daemon, prometheus = stage
    connected = 'iot_client_connected{client_id="pump"}'
    broker.publish([message("connected", 1)])
    wait_for(lambda: prometheus.query(connected) == 1, timeout=30, what="online in Prometheus")

    # A disconnect shorter than the offline delay: pending is seen, offline never.
    broker.publish([message("disconnected", 1)])
    wait_for(lambda: prometheus.query('iot_clients{state="pending"}') == 1)
    broker.publish([message("connected", 2)])
    wait_for(lambda: prometheus.query("iot_client_flaps_suppressed_total") == 1)
    assert prometheus.query(f"min_over_time({connected}[10m])") == 1

    # A longer one.
    before = time.time()
    broker.publish([message("disconnected", 2)])
    wait_for(lambda: prometheus.query(connected) == 0, timeout=30, what="offline in Prometheus")
    since = prometheus.query('iot_client_last_transition_timestamp_seconds{client_id="pump"}')
    assert before - 1 <= since <= time.time() - DELAY
    assert prometheus.query('iot_client_transitions_total{to="offline"}') == 1
    assert daemon.value("iot_client_connected", client_id="pump") == 0


def test_prometheus_sees_each_of_many_clients_change(
    stage: tuple[Mosquitto, Daemon, Prometheus],
) -> None:
    broker, _, prometheus = stage
    names = [f"pump-{number}" for number in range(2 * CHUNK + 1)]
    broker.publish([message("connected", 1, name) for name in names])
    wait_for(
        lambda: prometheus.query("sum(iot_client_connected)") == len(names),
        timeout=30,
        what="all online in Prometheus",
    )
    broker.publish([message("disconnected", 1, name) for name in names[::CHUNK]])
    wait_for(
        lambda: prometheus.query("count(iot_client_connected == 0)") == 3,
        timeout=30,
        what="one client in each block offline in Prometheus",
    )
    assert prometheus.query("count(iot_client_connected)") == len(names)
    assert prometheus.query("count(iot_client_info)") == len(names)


def test_the_queries_of_the_readme(
    stage: tuple[Mosquitto, Daemon, Prometheus],
) -> None:
    """Each is valid and, once a device has disconnected, has an answer where one is due."""
    broker, _, prometheus = stage
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    block = re.findall(r"```promql\n(.*?)```", readme, re.DOTALL)[0]
    queries = [q for q in block.strip().splitlines() if q and not q.startswith("#")]
    assert len(queries) == 3
    broker.publish([message("connected", 1)])
    wait_for(lambda: prometheus.query(queries[0]) == 1, what="the whole fleet online")
    broker.publish([message("disconnected", 1)])
    wait_for(lambda: prometheus.query('iot_clients{state="offline"}') == 1)
    assert prometheus.query(queries[0]) == 0
    assert prometheus.query(queries[1]) is None, "not for ten minutes yet"
    assert prometheus.query(queries[1].replace("600", "1 - 1")) == 0
    wait_for(
        lambda: (prometheus.query(f"max({queries[2]})") or 0) > 0, what="a rate of disconnects"
    )


@pytest.fixture(scope="module")
def hostile_names() -> list[str]:
    return ['quote"', "back\\slash", "new\nline", "snow \N{SNOWMAN}", "a/b c", "{brace}"]


def test_promtool_and_both_formats(
    broker_of: Any, daemon_of: Any, hostile_names: list[str]
) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker)
    daemon.wait_until_ready()
    broker.publish(
        [
            (
                "$aws/events/presence/connected/x",
                json.dumps({"clientId": name, "timestamp": 5}).encode(),
            )
            for name in hostile_names
        ]
    )
    wait_for(lambda: daemon.value("iot_clients", state="online") == len(hostile_names))
    for name in hostile_names:
        assert daemon.value("iot_client_connected", client_id=name) == 1

    promtool = tool("promtool")
    text = daemon.get("/metrics")[1]
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.port}/metrics",
        headers={
            "Accept": "application/openmetrics-text;version=1.0.0",
            "Accept-Encoding": "gzip",
        },
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        openmetrics = gzip.decompress(answer.read()).decode()
    assert openmetrics.endswith("# EOF\n")
    assert openmetrics.count("# EOF") == 1
    # Prometheus would store them as series.
    assert "_created" not in text + openmetrics
