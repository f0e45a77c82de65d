"""The log and `/-/ready` distinguish what is wrong with a connection."""

import json
import re
import time
from typing import Any

import pytest

from brokers import Mosquitto
from certificates import Certificates
from daemons import Daemon
from waiting import wait_for


@pytest.fixture(params=["awscrt", "aiomqtt"])
def transport(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"transport": request.param}


@pytest.mark.parametrize(
    ("fault", "reason", "told"),
    [
        ("mismatched_key", "tls_files", "does not belong"),
        ("expired_client", "tls_client_certificate", "expired"),
        ("foreign_client", "tls_client_certificate", "client certificate"),
        ("wrong_ca", "tls_server_certificate", "cannot be verified with"),
    ],
)
def test_certificates(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    transport: dict[str, str],
    fault: str,
    reason: str,
    told: str,
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon: Daemon = daemon_of(broker=broker, tls=getattr(certificates, fault), mqtt=transport)

    def counted() -> float:
        labels = {"connection": "presenced", "reason": reason}
        return daemon.value("presenced_mqtt_connection_failures_total", **labels) or 0

    wait_for(counted, timeout=60, what=f"{reason} in metrics")
    wait_for(lambda: told in daemon.get("/-/ready")[1], what=f"{told} in /-/ready")
    assert daemon.get("/-/ready")[0] == 503
    wait_for(
        lambda: any(line.get("reason") == reason and told in str(line) for line in daemon.log),
        what=f"{told} in the log",
    )


def test_a_clock_that_is_behind_is_named(broker_of: Any, daemon_of: Any) -> None:
    """By such a clock all times are wrong, and some events may be taken for older ones."""
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker)
    daemon.wait_until_ready()
    assert daemon.get("/-/ready")[1].count("\n") == 1
    event = {
        "clientId": "device-0",
        "eventType": "connected",
        "timestamp": round((time.time() + 7200) * 1000),
        "sessionIdentifier": "s",
        "versionNumber": 0,
    }
    broker.publish([("$aws/events/presence/connected/device-0", json.dumps(event).encode())])
    wait_for(lambda: daemon.value("iot_events_dated_ahead_total") == 1)
    status, text = daemon.get("/-/ready")
    assert status == 200
    assert re.search(r"dated (2h|1h59m\S*) ahead of the clock of this machine", text)
    assert "timedatectl" in text


def test_the_endpoint_may_have_capitals_and_a_dot_at_its_end(
    broker_of: Any, daemon_of: Any, certificates: Certificates, transport: dict[str, str]
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon: Daemon = daemon_of(
        broker=broker, tls=certificates.client, endpoint="LocalHost.", mqtt=transport
    )
    daemon.wait_until_ready()


CONNECTS, DISCONNECTS = "$aws/events/presence/connected/#", "$aws/events/presence/disconnected/#"


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (DISCONNECTS, "Clients shown as online may be offline: not all disconnects have been"),
        ("$aws/events/thing/#", "The states of the clients are those of now: connects and"),
    ],
)
def test_one_of_several_filters_is_not_received(
    broker_of: Any, daemon_of: Any, refused: str, told: str
) -> None:
    broker: Mosquitto = broker_of(refused_filters=[refused])
    connections = [[CONNECTS, "$aws/events/thing/#"], [DISCONNECTS]]
    daemon: Daemon = daemon_of(broker=broker, mqtt={"connections": connections})

    def overview() -> dict[str, Any]:
        status, text = daemon.get("/api/v1/overview")
        assert status == 200
        found: dict[str, Any] = json.loads(text)["daemon"]
        return found

    wait_for(lambda: overview()["not_received"] == [refused], what="the other filters")
    found = overview()
    assert found["state"] == "receiving_partly"
    assert found["is_current"] == (refused != DISCONNECTS)
    assert found["meaning"][0].startswith(told)
    assert daemon.get("/-/ready")[0] == 503


def test_a_refused_filter(broker_of: Any, daemon_of: Any, transport: dict[str, str]) -> None:
    refused = "$aws/events/thing/#"
    broker: Mosquitto = broker_of(refused_filters=[refused])
    filters = [["$aws/events/presence/#", refused]]
    daemon: Daemon = daemon_of(broker=broker, mqtt={**transport, "connections": filters})
    labels = {"connection": "presenced", "filter": "$aws/events/presence/#"}
    wait_for(lambda: daemon.value("presenced_mqtt_subscription_granted", **labels) == 1)
    status, text = daemon.get("/-/ready")
    assert status == 503
    assert refused in text
    assert '"Action": "iot:Subscribe"' in text
    assert "topicfilter/$aws/events/thing/*" in text
    assert '"Action": "iot:Receive"' in text
    labels = {"connection": "presenced", "filter": refused}
    assert daemon.value("presenced_mqtt_subscription_granted", **labels) == 0
    assert any(
        line.get("filter") == refused and "iot:Subscribe" in line.get("remedy", "")
        for line in daemon.log
    )
