"""High availability: two daemons, each with its own client ID; and two by mistake with one."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
from prometheus_server import Prometheus
from waiting import wait_for

CLIENTS = 40


def message(kind: str, client: int, version: int) -> tuple[str, bytes]:
    payload = {"sessionIdentifier": f"s{version}", "versionNumber": version}
    return f"$aws/events/presence/{kind}/device-{client}", json.dumps(payload).encode()


def merged(daemons: list[Daemon]) -> dict[str, float]:
    """What `max by (client_id) (iot_client_connected)` gives over the daemons that are up."""
    presence: dict[str, float] = {}
    for daemon in daemons:
        for (name, labels), value in daemon.scrape().items():
            if name == "iot_client_connected":
                client_id = dict(labels)["client_id"]
                presence[client_id] = max(value, presence.get(client_id, 0))
    return presence


def test_one_is_killed_and_presence_stays_right(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    first, second = (
        daemon_of(broker=broker, mqtt={"client_id": name}, presence={"offline_delay": "0s"})
        for name in ("presenced-a", "presenced-b")
    )
    for daemon in (first, second):
        daemon.wait_until_ready()
    broker.publish([message("connected", client, 1) for client in range(CLIENTS)])
    online = {f"device-{client}": 1.0 for client in range(CLIENTS)}
    wait_for(lambda: merged([first]) == merged([second]) == online)
    assert merged([first, second]) == online

    first.signal(signal.SIGKILL)
    first.wait(timeout=5)
    half = range(CLIENTS // 2)
    broker.publish([message("disconnected", client, 1) for client in half])
    truth = online | {f"device-{client}": 0.0 for client in half}
    wait_for(lambda: merged([second]) == truth)

    # A restart begins without presence: what it does not know it does not show, and the other
    # one's answer stands.
    first.start()
    first.wait_until_ready()
    assert merged([first, second]) == truth
    broker.publish([message("connected", client, 2) for client in half])
    wait_for(lambda: merged([second]) == online)
    wait_for(lambda: len(merged([first])) == CLIENTS // 2)
    assert merged([first, second]) == online
    broker.publish([message("disconnected", client, 2) for client in half])
    wait_for(lambda: merged([first, second]) == truth)


def test_the_documented_queries_merge_two(broker_of: Any, daemon_of: Any, tmp_path: Path) -> None:
    """With a real Prometheus, over a device's life and the death of one daemon."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "high-availability.md").read_text()
    queries = re.findall(r"```promql\n\s*(.*?)\n\s*```", page, re.DOTALL)
    presence, fleet, offline_for, disconnects, differing = queries
    broker: Mosquitto = broker_of()
    first, second = (
        daemon_of(broker=broker, mqtt={"client_id": name}, presence={"offline_delay": "0s"})
        for name in ("presenced-a", "presenced-b")
    )
    for daemon in (first, second):
        daemon.wait_until_ready()
    prometheus = Prometheus(tmp_path, first.port, second.port)
    try:
        broker.publish([message("connected", 1, 1)])
        wait_for(lambda: prometheus.values("iot_client_connected") == [1, 1], timeout=30)
        assert prometheus.values(presence) == [1]
        assert prometheus.values(fleet.replace("(iot", '(iot_clients{state="online"} and iot')) == [
            1
        ]
        assert prometheus.values(differing) == []

        first.signal(signal.SIGKILL)
        first.wait(timeout=5)
        wait_for(lambda: prometheus.values("iot_client_connected") == [1], timeout=30)
        assert prometheus.values(presence) == [1]
        broker.publish([message("disconnected", 1, 1)])
        wait_for(lambda: prometheus.values(presence) == [0], timeout=30)
        assert prometheus.values(offline_for) == []
        assert prometheus.values(offline_for.replace("- 600", "+ 600")) == [0]
        wait_for(lambda: max(prometheus.values(disconnects) or [0]) > 0, timeout=30)
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(10)


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_two_with_one_client_id_are_told_so(broker_of: Any, daemon_of: Any, transport: str) -> None:
    broker: Mosquitto = broker_of()
    settings = {"transport": transport, "client_id": "twin"}
    twins: list[Daemon] = [daemon_of(broker=broker, mqtt=settings) for _ in range(2)]
    wait_for(
        lambda: any("client ID twin" in str(line) for twin in twins for line in twin.log),
        timeout=90,
        what="the hint in a log",
    )
