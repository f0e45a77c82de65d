"""Sessions that keep less, or other things, than the configuration asks for: against mosquitto."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
from waiting import wait_for

PRESENCE = "$aws/events/presence/#"
THINGS = "$aws/events/thing/#"
JOBS = "$aws/events/job/#"


both = pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])


def connected(client_id: str, version: int = 1) -> tuple[str, bytes]:
    payload = {
        "clientId": client_id,
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
        "timestamp": 1_700_000_000_000 + version,
    }
    return f"$aws/events/presence/connected/{client_id}", json.dumps(payload).encode()


def online(daemon: Daemon, count: int) -> None:
    wait_for(lambda: daemon.value("iot_clients", state="online") == count)


def gaps(daemon: Daemon) -> dict[str, float]:
    return {
        dict(labels)["reason"]: value
        for (name, labels), value in daemon.scrape().items()
        if name == "presenced_gaps_total" and value
    }


def lines(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log if line["event"] == event]


def unsubscribed(broker: Mosquitto) -> list[str]:
    """The topic filters that mosquitto was told to end subscriptions to."""
    log = broker.log.splitlines()
    return [
        log[number + 1].split("\t")[-1]
        for number, line in enumerate(log)
        if "Received UNSUBSCRIBE from presenced" in line
    ]


def use_filters(daemon: Daemon, *filters: str) -> None:
    daemon.settings["mqtt"]["connections"] = [list(filters)]
    daemon.write()


def restart(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    daemon.start()
    daemon.wait_until_ready()


@pytest.mark.parametrize(
    ("transport", "protocol", "how"),
    [
        ("awscrt", "5", "restart"),
        ("aiomqtt", "5", "reload"),
        ("aiomqtt", "3.1.1", "restart"),
    ],
)
def test_filters_that_change_under_a_kept_session(
    broker_of: Any, daemon_of: Any, tmp_path: Path, transport: str, protocol: str, how: str
) -> None:
    """The old ones end, and what the new ones missed is a gap. A reload needs no state file."""
    broker: Mosquitto = broker_of()
    state = {"path": str(tmp_path / "presenced.db")} if how == "restart" else {}
    mqtt = {"transport": transport, "protocol": protocol, "connections": [[PRESENCE]]}
    daemon: Daemon = daemon_of(broker=broker, state=state, mqtt=mqtt)
    daemon.wait_until_ready()
    broker.publish([connected("a")])
    online(daemon, 1)

    def change(*filters: str) -> None:
        use_filters(daemon, *filters)
        if how == "restart":
            restart(daemon)
        else:
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.value(granted, connection="presenced", filter=filters[0]) == 1)
            daemon.wait_until_ready()

    granted = "presenced_mqtt_subscription_granted"
    change(THINGS)
    wait_for(lambda: unsubscribed(broker) == [PRESENCE])
    broker.publish([connected("missed"), (THINGS.replace("#", "end/created"), b'{"timestamp": 5}')])
    wait_for(lambda: daemon.value("iot_things") == 1, what="what was sent after it")
    assert daemon.value("iot_clients", state="online") == 1
    assert gaps(daemon) == {}, "no presence was to be had"

    change(PRESENCE, JOBS)
    wait_for(lambda: unsubscribed(broker) == [PRESENCE, THINGS])
    wait_for(lambda: gaps(daemon) == {"filters_changed": 1})
    assert daemon.value("iot_clients_unverified") == 1
    (line,) = lines(daemon, "events may have been lost")
    assert line["reason"] == "filters_changed"
    broker.publish([connected("a", 2), connected("b")])
    online(daemon, 2)
    assert daemon.value("iot_clients_unverified") == 0


@both
def test_a_filter_granted_at_qos_0_keeps_nothing(
    broker_of: Any, daemon_of: Any, tmp_path: Path, transport: str
) -> None:
    broker: Mosquitto = broker_of(max_qos=0)
    state = {"path": str(tmp_path / "presenced.db")}
    daemon: Daemon = daemon_of(broker=broker, state=state, mqtt={"transport": transport})
    daemon.wait_until_ready()
    assert "granted $aws/events/# at QoS 0 only" in daemon.get("/-/ready")[1]
    (line,) = lines(daemon, "events come at QoS 0")
    assert "each outage is a gap" in line["detail"]
    assert "Configure the broker to grant QoS 1" in line["remedy"]
    broker.publish([connected("a")])
    online(daemon, 1)
    assert gaps(daemon) == {}
    restart(daemon)
    wait_for(lambda: gaps(daemon) == {"clean_session": 1})
    assert daemon.value("iot_clients_unverified") == 1


@both
def test_events_published_at_qos_0_are_kept_by_nobody(
    broker_of: Any, daemon_of: Any, transport: str
) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, mqtt={"transport": transport})
    daemon.wait_until_ready()
    assert "QoS 0" not in daemon.get("/-/ready")[1]
    broker.publish([connected("a")], qos=0)
    online(daemon, 1)
    wait_for(lambda: "come at QoS 0" in daemon.get("/-/ready")[1])
    assert daemon.ready, "a warning"
    broker.restart()
    wait_for(lambda: gaps(daemon) == {"clean_session": 1})
    assert daemon.value("iot_clients_unverified") == 1
