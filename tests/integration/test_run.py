"""`presenced run` against a mosquitto that requires client certificates."""

import json
import signal
from typing import Any

import pytest

from brokers import Mosquitto, lifecycle_events
from certificates import Certificates
from daemons import Daemon
from waiting import wait_for

TRANSPORTS = [
    {"transport": "awscrt"},
    {"transport": "aiomqtt", "protocol": "5"},
    {"transport": "aiomqtt", "protocol": "3.1.1"},
]
IDS = ["awscrt", "aiomqtt-5", "aiomqtt-3.1.1"]
EVENTS = 10_000


@pytest.fixture(params=TRANSPORTS, ids=IDS)
def transport(request: pytest.FixtureRequest) -> dict[str, str]:
    return request.param


def event(client_id: str, kind: str, version: int, **fields: Any) -> tuple[str, bytes]:
    payload = {
        "clientId": client_id,
        "eventType": kind,
        "timestamp": 1_700_000_000_000 + version,
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
        **fields,
    }
    return f"$aws/events/presence/{kind}/{client_id}", json.dumps(payload).encode()


def applied(daemon: Daemon) -> float:
    samples = daemon.scrape()
    return sum(value for (name, _), value in samples.items() if name == "iot_events_total")


def test_ten_thousand_events_and_a_broker_restart_in_the_middle(
    broker_of: Any, daemon_of: Any, certificates: Certificates, transport: dict[str, str]
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon: Daemon = daemon_of(broker=broker, tls=certificates.client, mqtt=transport)
    daemon.wait_until_ready()
    assert daemon.value("presenced_mqtt_connected", connection="presenced") == 1
    events = lifecycle_events(EVENTS)

    broker.publish(events[: EVENTS // 2])
    wait_for(lambda: applied(daemon) == EVENTS // 2, what="the first half")
    broker.stop()
    wait_for(
        lambda: daemon.value("presenced_mqtt_connected", connection="presenced") == 0,
        what="the connection seen as down",
    )
    assert not daemon.ready
    assert (
        daemon.value(
            "presenced_mqtt_subscription_granted", connection="presenced", filter="$aws/events/#"
        )
        == 0
    )
    broker.start()
    daemon.wait_until_ready()
    assert daemon.value("presenced_mqtt_connected", connection="presenced") == 1
    broker.publish(events[EVENTS // 2 :])
    wait_for(lambda: applied(daemon) == EVENTS, what="the second half")

    messages = daemon.value("presenced_mqtt_messages_total", connection="presenced", qos="1")
    assert messages == EVENTS
    assert daemon.value("presenced_pipeline_backlog_messages") == 0
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=5) == 0
    wait_for(lambda: broker.saw_disconnect("presenced"), what="DISCONNECT on the wire")


def test_a_broker_that_is_down_at_start(
    broker_of: Any, daemon_of: Any, certificates: Certificates, transport: dict[str, str]
) -> None:
    broker: Mosquitto = broker_of(start=False, certificates=certificates)
    daemon: Daemon = daemon_of(broker=broker, tls=certificates.client, mqtt=transport)

    def refused() -> float:
        labels = {"connection": "presenced", "reason": "unreachable"}
        return daemon.value("presenced_mqtt_connection_failures_total", **labels) or 0

    wait_for(refused, what="a failed attempt counted")
    assert "localhost" in daemon.get("/-/ready")[1]
    broker.start()
    daemon.wait_until_ready()


def test_stopping_while_the_broker_is_down(daemon_of: Any, transport: dict[str, str]) -> None:
    daemon: Daemon = daemon_of(mqtt=transport)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=5) == 0


def test_every_known_label_value_is_there_from_the_start(daemon_of: Any) -> None:
    samples = daemon_of().scrape()
    names = {name for name, _ in samples}
    assert ("iot_events_total", frozenset({("family", "job"), ("type", "completed")})) in samples
    disconnects = [labels for name, labels in samples if name == "iot_client_disconnects_total"]
    assert len(disconnects) == 14 * 2
    for states in ("online", "pending", "offline", "unknown"):
        assert samples["iot_clients", frozenset({("state", states)})] == 0
    assert {"process_resident_memory_bytes", "python_info"} <= names


@pytest.mark.parametrize("kind", ["thing", "job"])
def test_other_families_are_counted(broker_of: Any, daemon_of: Any, kind: str) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker)
    daemon.wait_until_ready()
    message = {
        "thing": ("$aws/events/thing/t/created", b'{"eventType":"THING_EVENT"}'),
        "job": ("$aws/events/job/j/completed", b'{"eventType":"JOB","timestamp":1700000000}'),
    }[kind]
    broker.publish([message, ("$aws/events/other/thing", b"{}")])
    wait_for(lambda: applied(daemon) == 1)
    wait_for(lambda: daemon.value("iot_events_rejected_total", reason="unknown_topic") == 1)


def test_several_connections_feed_one_state(
    broker_of: Any, daemon_of: Any, transport: dict[str, str]
) -> None:
    broker: Mosquitto = broker_of()
    filters = [["$aws/events/presence/connected/#"], ["$aws/events/presence/disconnected/#"]]
    daemon: Daemon = daemon_of(
        broker=broker,
        mqtt={**transport, "connections": filters},
        presence={"offline_delay": "0s"},
    )
    daemon.wait_until_ready()
    broker.publish([event("a", "connected", 1), event("presenced-2", "connected", 1)])
    wait_for(lambda: daemon.value("iot_client_connected", client_id="a") == 1)
    broker.publish([event("a", "disconnected", 1, disconnectReason="CONNECTION_LOST")])
    wait_for(lambda: daemon.value("iot_client_connected", client_id="a") == 0)
    for connection, messages in (("presenced", 2), ("presenced-2", 1)):
        assert (
            daemon.value("presenced_mqtt_messages_total", connection=connection, qos="1")
            == messages
        )
    assert daemon.value("iot_events_ignored_total", reason="own_client") == 1
    assert daemon.value("iot_client_connected", client_id="presenced-2") is None


def test_saturated_seconds(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, mqtt={"max_message_rate": 50})
    daemon.wait_until_ready()
    broker.publish(lifecycle_events(2000))
    wait_for(lambda: applied(daemon) == 2000)
    assert daemon.value("presenced_mqtt_saturated_seconds_total", connection="presenced") >= 1


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_the_limit_of_aws_is_not_that_of_other_brokers(
    broker_of: Any, daemon_of: Any, transport: str
) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, mqtt={"transport": transport})
    daemon.wait_until_ready()
    broker.publish(lifecycle_events(1000))
    wait_for(lambda: applied(daemon) == 1000)
    assert daemon.value("presenced_mqtt_saturated_seconds_total", connection="presenced") == 0
    assert daemon.value("presenced_gaps_total", reason="rate_limit") == 0


def test_logs_tell_transitions_and_no_secrets(
    broker_of: Any, daemon_of: Any, certificates: Certificates, transport: dict[str, str]
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon: Daemon = daemon_of(broker=broker, tls=certificates.client, mqtt=transport)
    daemon.wait_until_ready()
    secrets = {"principalIdentifier": "the-principal", "ipAddress": "203.0.113.7"}
    broker.publish([event("a", "connected", 1, **secrets)])
    broker.publish([("$aws/events/presence/connected/b", b'{"clientId":5,"ipAddress":"203"}')] * 50)
    wait_for(lambda: daemon.value("iot_events_rejected_total", reason="invalid_payload") == 50)
    lines = [line for line in daemon.log if line["event"] == "client went online"]
    assert [line["client_id"] for line in lines] == ["a"]
    assert len([line for line in daemon.log if line["event"] == "message rejected"]) == 1
    text = daemon.log_file.read_text() + daemon.get("/metrics")[1]
    assert "the-principal" not in text
    assert "203.0.113.7" not in text


def test_sighup_reloads(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, presence={"offline_delay": "1h"})
    daemon.wait_until_ready()

    daemon.settings["presence"]["offline_delay"] = "soon"
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.value("presenced_config_last_reload_successful") == 0)
    assert daemon.ready
    assert "presence.offline_delay" in daemon.log_file.read_text()

    daemon.settings["presence"]["offline_delay"] = "0s"
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.value("presenced_config_last_reload_successful") == 1)
    broker.publish([event("a", "connected", 1), event("a", "disconnected", 1)])
    wait_for(lambda: daemon.value("iot_client_connected", client_id="a") == 0)

    daemon.settings["mqtt"]["client_id"] = "renamed"
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.value("presenced_mqtt_connected", connection="renamed") == 1)
    assert broker.saw_disconnect("presenced")
    assert daemon.value("iot_client_connected", client_id="a") == 0, "presence is kept"


def test_reload_over_http(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker)
    daemon.wait_until_ready()
    assert daemon.post("/-/reload")[0] == 404, "off by default"
    broker.publish([event("pump-1", "connected", 1)])
    wait_for(lambda: daemon.value("iot_client_connected", client_id="pump-1") == 1)

    daemon.settings["metrics"]["enable_reload_endpoint"] = True
    daemon.settings["metrics"]["client_id_pattern"] = "^(?P<kind>[a-z]+)-"
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.get("/-/reload")[0] == 405)
    assert daemon.value("iot_client_connected", client_id="pump-1", kind="pump") == 1
    assert daemon.value("iot_class_clients", kind="pump", state="online") == 1
    broker.publish([event("pump-2", "connected", 1)])
    wait_for(lambda: daemon.value("iot_class_clients", kind="pump", state="online") == 2)

    daemon.settings["metrics"]["per_client"] = False
    daemon.settings["presence"] = {"offline_delay": "soon"}
    daemon.write()
    status, text = daemon.post("/-/reload")
    assert status == 500
    assert "presence.offline_delay" in text
    assert daemon.value("iot_client_connected", client_id="pump-1", kind="pump") == 1
    del daemon.settings["presence"]
    daemon.write()
    assert daemon.post("/-/reload") == (200, "The configuration was reloaded.\n")
    assert daemon.value("iot_client_connected", client_id="pump-1", kind="pump") is None
    assert daemon.value("iot_class_clients", kind="pump", state="online") == 2


def test_a_taken_address_is_told(daemon_of: Any) -> None:
    first: Daemon = daemon_of()
    second: Daemon = daemon_of(start=False)
    second.settings["metrics"]["listen"] = first.settings["metrics"]["listen"]
    second.write()
    with pytest.raises(AssertionError, match=r"cannot listen on .* metrics\.listen"):
        second.start()
    assert second.wait(timeout=5) == 1
