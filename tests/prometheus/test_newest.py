"""The newest Prometheus scrapes the daemon in all the ways that it can be configured to.

`make test-prometheus` puts it before Debian's in the path, for these tests and for those that
run with either.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
from debian import PROJECT
from prometheus_server import Prometheus, tool
from waiting import wait_for

CLIENTS = ("pump", 'snow \N{SNOWMAN} "quoted" \\ {brace}')
HISTOGRAMS = ("iot_client_session_duration_seconds", "iot_client_offline_duration_seconds")
PROTOCOLS = (
    *("PrometheusText0.0.4", "PrometheusText1.0.0", "PrometheusProto"),
    *("OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "OpenMetricsText2.0.0"),
)
SCRAPES: dict[str, dict[str, Any]] = {
    "default": {},
    **{protocol: {"scrape_protocols": [protocol]} for protocol in PROTOCOLS},
    "native histograms": {"scrape_native_histograms": True},
    "legacy names": {"metric_name_validation_scheme": "legacy"},
    **{
        f"escaping {scheme}": {"metric_name_escaping_scheme": scheme}
        for scheme in ("allow-utf-8", "underscores", "dots", "values")
    },
}
Series = frozenset[tuple[str, str]]


@pytest.fixture
def daemon(broker_of: Any, daemon_of: Any) -> Daemon:
    """A daemon with series of clients, and a value in each histogram of the fleet."""
    broker: Mosquitto = broker_of()
    started: Daemon = daemon_of(broker=broker, presence={"offline_delay": "0s"})
    started.wait_until_ready()
    for version, kind in ((1, "connected"), (1, "disconnected"), (2, "connected")):
        broker.publish([event(kind, client, version) for client in CLIENTS])
    wait_for(lambda: started.value("iot_clients", state="online") == len(CLIENTS))
    return started


def event(kind: str, client: str, version: int) -> tuple[str, bytes]:
    payload = {"clientId": client, "versionNumber": version, "sessionIdentifier": f"s{version}"}
    return f"$aws/events/presence/{kind}/x", json.dumps(payload | {"timestamp": version}).encode()


@pytest.fixture
def scrapes(daemon: Daemon, tmp_path: Path) -> Iterator[Any]:
    """Starts a Prometheus that scrapes it with more in its scrape_config."""
    started: list[Prometheus] = []

    def start(**scrape: Any) -> Prometheus:
        started.append(Prometheus(tmp_path, daemon.port, **scrape))
        return started[-1]

    yield start
    for prometheus in started:
        prometheus.stop()


def stored(prometheus: Prometheus) -> set[Series]:
    """What of the daemon is in Prometheus, without the labels of the target."""
    try:
        result = prometheus.get("query", query='{job="presenced",__name__!~"up|scrape_.+"}')
    except OSError:
        return set()
    return {
        frozenset((k, v) for k, v in each["metric"].items() if k not in {"job", "instance"})
        for each in result["result"]
    }


def exposed(daemon: Daemon) -> set[Series]:
    """What the daemon exposes; an empty label is none to Prometheus."""
    return {
        frozenset({("__name__", name), *(label for label in labels if label[1])})
        for name, labels in daemon.scrape()
    }


@pytest.mark.parametrize("program", ["prometheus", "promtool"])
def test_it_is_the_one_that_was_built(program: str) -> None:
    assert Path(tool(program)).parent == PROJECT / "build" / "prometheus", "make test-prometheus"


@pytest.mark.parametrize("name", SCRAPES)
def test_it_stores_what_is_exposed(name: str, daemon: Daemon, scrapes: Any) -> None:
    prometheus = scrapes(**SCRAPES[name])
    wait_for(lambda: stored(prometheus) == exposed(daemon), timeout=30, what="all series")
    # A scrape that fails on a busy machine leaves no series until the next one.
    wait_for(lambda: prometheus.query("sum(iot_client_connected)") == len(CLIENTS))
    assert prometheus.values('{__name__=~".+_created"}') == []


def test_it_can_convert_histograms_and_keep_what_the_rules_read(
    daemon: Daemon, scrapes: Any
) -> None:
    prometheus = scrapes(
        convert_classic_histograms_to_nhcb=True, always_scrape_classic_histograms=True
    )
    converted = {frozenset({("__name__", name)}) for name in HISTOGRAMS}
    wanted = converted | exposed(daemon)
    wait_for(lambda: wanted <= stored(prometheus), timeout=30, what="native histograms")
    for name in HISTOGRAMS:
        classic = prometheus.query(f"{name}_count")
        assert classic == prometheus.query(f"histogram_count({name})")
