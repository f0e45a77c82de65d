"""High availability: two daemons, each with its own client ID; and two by mistake with one."""

import json
import signal
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
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
