"""`presenced doctor` against real brokers that refuse each step in turn."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, lifecycle_events
from certificates import Certificates
from daemons import Daemon
from presenced.cli import main
from waiting import wait_for
from websocket_endpoint import KEY_ID, SECRET, websocket_endpoint

ENDPOINT = "localhost"
FILTER = "$aws/events/#"
STEPS = [
    "certificate files",
    "name resolution",
    "TCP",
    "TLS",
    "CONNACK",
    f"SUBACK {FILTER}",
    "first message",
]

Steps = dict[str, dict[str, str]]


@pytest.fixture(params=["awscrt", "aiomqtt", "aiomqtt 3.1.1"])
def transport(request: pytest.FixtureRequest) -> dict[str, str]:
    name, _, protocol = request.param.partition(" ")
    return {"transport": name, "protocol": protocol or "5"}


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[Steps]]]:
    """Runs the command; gives its exit status and the steps of each connection, by name."""

    def run(daemon: Daemon, *arguments: str) -> tuple[int, list[Steps]]:
        status = main(["doctor", "--config", str(daemon.config), "--json", *arguments])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (status == 0)
        connections = [c["steps"] for c in report["connections"]]
        return status, [{step["step"]: step for step in steps} for steps in connections]

    return run


def failed_at(steps: Steps) -> dict[str, str]:
    """The step that failed, when those before it succeeded and those after it were skipped."""
    statuses = [step["status"] for step in steps.values()]
    place = statuses.index("failed")
    assert set(statuses[:place]) <= {"ok", "skipped"}
    assert set(statuses[place + 1 :]) <= {"skipped"}
    return list(steps.values())[place]


def publish_on_suback(broker: Mosquitto, subscriber: str, *, qos: int = 1) -> threading.Thread:
    """Publish one event as soon as the subscriber's subscription is granted."""

    def publish() -> None:
        wait_for(lambda: f"Sending SUBACK to {subscriber}" in broker.log)
        broker.publish(lifecycle_events(1), qos=qos)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    return thread


def test_every_step_succeeds(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    transport: dict[str, str],
    doctor: Any,
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    certificates.client.key.chmod(0o600)
    daemon = daemon_of(start=False, broker=broker, tls=certificates.client, mqtt=transport)
    publisher = publish_on_suback(broker, "presenced-doctor")
    status, [steps] = doctor(daemon, "--timeout", "20s")
    publisher.join(20)
    assert (status, list(steps)) == (0, STEPS)
    assert {step["status"] for step in steps.values()} == {"ok"}, steps
    assert "TLSv1.3" in steps["TLS"]["detail"]
    assert "valid until" in steps["TLS"]["detail"]
    assert "client certificate valid until" in steps["certificate files"]["detail"]
    assert steps["first message"]["detail"] == "$aws/events/presence/connected/device-0, QoS 1"
    wait_for(lambda: broker.saw_disconnect("presenced-doctor"))


@pytest.mark.parametrize("token", ["token-1", "expired"])
def test_a_signed_connection(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    doctor: Any,
    token: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    broker: Mosquitto = broker_of()
    with websocket_endpoint(certificates, broker.port, expired={"expired"}) as endpoint:
        mqtt = {"auth": "sigv4", "port": endpoint.port, "tls": {"ca": str(certificates.ca)}}
        daemon = daemon_of(start=False, mqtt=mqtt, aws={"region": "eu-west-1"})
        if token != "expired":
            publish_on_suback(broker, "presenced-doctor")
        status, [steps] = doctor(daemon, "--timeout", "20s")
    assert list(steps) == [STEPS[0], "credentials", *STEPS[1:4], "WebSocket", *STEPS[4:]]
    assert "from environment variables" in steps["credentials"]["detail"]
    if token == "expired":
        step = failed_at(steps)
        assert (status, step["step"]) == (1, "WebSocket")
        assert "the session token has expired" in step["detail"]
        return
    assert status == 0
    assert {step["status"] for step in steps.values()} == {"ok"}, steps
    assert steps["WebSocket"]["detail"] == "accepted, signed for eu-west-1"
    assert steps["first message"]["detail"] == "$aws/events/presence/connected/device-0, QoS 1"


def test_no_such_host(daemon_of: Any, doctor: Any) -> None:
    status, [steps] = doctor(daemon_of(start=False, endpoint="nowhere.invalid"))
    step = failed_at(steps)
    assert (status, step["step"]) == (1, "name resolution")
    assert "nowhere.invalid cannot be resolved" in step["detail"]
    assert "aws iot describe-endpoint" in step["remedy"]


def test_closed_port(daemon_of: Any, doctor: Any) -> None:
    status, [steps] = doctor(daemon_of(start=False))
    step = failed_at(steps)
    assert (status, step["step"]) == (1, "TCP")
    assert "refused the TCP connection" in step["detail"]
    assert "firewalls" in step["remedy"]


@pytest.mark.parametrize(
    ("files", "place", "detail", "remedy"),
    [
        ("wrong_ca", "TLS", "cannot be verified with the CA file", "mqtt.tls.ca"),
        ("foreign_client", "TLS", "rejects the client certificate", "aws iot list-certificates"),
        ("expired_client", "certificate files", "expired on", "renew the certificate"),
        ("mismatched_key", "certificate files", "does not belong to", "created together"),
    ],
)
def test_certificates(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    doctor: Any,
    files: str,
    place: str,
    detail: str,
    remedy: str,
) -> None:
    broker = broker_of(certificates=certificates)
    tls = getattr(certificates, files)
    tls.key.chmod(0o600)
    status, [steps] = doctor(daemon_of(start=False, broker=broker, tls=tls))
    step = failed_at(steps)
    assert (status, step["step"]) == (1, place)
    assert detail in step["detail"]
    assert remedy in step["remedy"]


def test_a_server_with_another_name(
    broker_of: Any, daemon_of: Any, certificates: Certificates, doctor: Any
) -> None:
    broker = broker_of(certificates=certificates, server=certificates.other_name_server)
    certificates.client.key.chmod(0o600)
    _, [steps] = doctor(daemon_of(start=False, broker=broker, tls=certificates.client))
    assert failed_at(steps)["step"] == "TLS"
    assert "mqtt.endpoint" in failed_at(steps)["remedy"]


def test_refused_connect(
    broker_of: Any, daemon_of: Any, transport: dict[str, str], doctor: Any
) -> None:
    broker = broker_of(users={"somebody": "secret"})
    daemon = daemon_of(start=False, broker=broker, mqtt=transport)
    status, [steps] = doctor(daemon)
    step = failed_at(steps)
    assert (status, step["step"]) == (1, "CONNACK")
    assert "refused the connection of presenced-doctor (not authorized" in step["detail"]
    assert "client/presenced-doctor" in step["remedy"]
    assert '"iot:Connect"' in step["remedy"]
    assert "--client-id presenced" in step["remedy"]
    _, [steps] = doctor(daemon, "--client-id", "presenced")
    assert "client/presenced" in steps["CONNACK"]["remedy"]
    assert "--client-id" not in steps["CONNACK"]["remedy"]


def test_refused_filter(
    broker_of: Any, daemon_of: Any, transport: dict[str, str], doctor: Any
) -> None:
    refused, granted = "$aws/events/thing/#", "$aws/events/presence/#"
    broker = broker_of(refused_filters=[refused])
    mqtt = {**transport, "connections": [[refused, granted]]}
    status, [steps] = doctor(daemon_of(start=False, broker=broker, mqtt=mqtt))
    step = steps[f"SUBACK {refused}"]
    assert (status, step["status"]) == (1, "failed")
    assert "topicfilter/$aws/events/thing/*" in step["remedy"]
    assert '"iot:Receive"' in step["remedy"]
    assert steps[f"SUBACK {granted}"]["status"] == "ok"
    assert steps["first message"]["status"] == "skipped"


def test_no_message_on_a_granted_filter(
    broker_of: Any, daemon_of: Any, transport: dict[str, str], doctor: Any
) -> None:
    broker = broker_of()
    daemon = daemon_of(start=False, broker=broker, mqtt=transport)
    # On a busy machine the probe needs longer, and the doctor says that there was none.
    for timeout in ("3s", "15s", "1m"):
        status, [steps] = doctor(daemon, "--timeout", timeout)
        step = failed_at(steps)
        assert (status, step["step"]) == (1, "first message")
        assert f"subscription granted, but no message received within {timeout}" in step["detail"]
        if "presenced-doctor-probe connected meanwhile" in step["detail"]:
            break
    assert "presenced-doctor-probe connected meanwhile" in step["detail"]
    assert broker.saw_disconnect("presenced-doctor-probe")
    assert '"iot:Receive"' in step["remedy"]
    assert "topic/$aws/events/*" in step["remedy"]


def test_a_grant_at_qos_0_is_a_warning(
    broker_of: Any, daemon_of: Any, transport: dict[str, str], doctor: Any
) -> None:
    broker = broker_of(max_qos=0)
    publisher = publish_on_suback(broker, "presenced-doctor")
    daemon = daemon_of(start=False, broker=broker, mqtt=transport)
    status, [steps] = doctor(daemon, "--timeout", "20s")
    publisher.join(20)
    assert status == 0
    step = steps[f"SUBACK {FILTER}"]
    assert step["status"] == "warning"
    assert f"granted {FILTER} at QoS 0 only, though mqtt.qos is 1" in step["detail"]
    assert "each outage is a gap" in step["detail"]
    assert "max_qos" in step["remedy"]
    assert steps["first message"]["status"] == "ok", "reported once"
    daemon.settings["mqtt"]["qos"] = 0
    daemon.write()
    _, [steps] = doctor(daemon, "--timeout", "0s")
    assert steps[f"SUBACK {FILTER}"]["status"] == "ok", "as requested"


def test_an_event_published_at_qos_0_is_a_warning(
    broker_of: Any, daemon_of: Any, transport: dict[str, str], doctor: Any
) -> None:
    broker = broker_of()
    publisher = publish_on_suback(broker, "presenced-doctor", qos=0)
    daemon = daemon_of(start=False, broker=broker, mqtt=transport)
    status, [steps] = doctor(daemon, "--timeout", "20s")
    publisher.join(20)
    assert status == 0
    assert steps[f"SUBACK {FILTER}"]["status"] == "ok"
    step = steps["first message"]
    assert step["status"] == "warning"
    assert "$aws/events/presence/connected/device-0 come at QoS 0" in step["detail"]


def test_no_message_on_a_quiet_fleet(broker_of: Any, daemon_of: Any, doctor: Any) -> None:
    mqtt = {"transport": "aiomqtt", "connections": [["$aws/events/job/#"]]}
    daemon = daemon_of(start=False, broker=broker_of(), mqtt=mqtt)
    status, [steps] = doctor(daemon, "--timeout", "100ms")
    assert (status, failed_at(steps)["step"]) == (1, "first message")
    assert "perhaps because no event matched" in failed_at(steps)["detail"]
    status, [steps] = doctor(daemon, "--timeout", "0s")
    assert (status, steps["first message"]["status"]) == (0, "skipped")


def test_each_connection_has_its_own_steps(broker_of: Any, daemon_of: Any, doctor: Any) -> None:
    refused = "$aws/events/thing/#"
    mqtt = {"transport": "aiomqtt", "connections": [[FILTER.replace("#", "job/#")], [refused]]}
    daemon = daemon_of(start=False, broker=broker_of(refused_filters=[refused]), mqtt=mqtt)
    status, [first, second] = doctor(daemon, "--timeout", "0s")
    assert status == 1
    assert first["CONNACK"]["detail"] == "presenced-doctor is accepted"
    assert second["CONNACK"]["detail"] == "presenced-doctor-2 is accepted"
    assert failed_at(second)["step"] == f"SUBACK {refused}"
    assert not [step for step in first.values() if step["status"] == "failed"]


def test_a_running_daemon_stays_connected(
    broker_of: Any, daemon_of: Any, transport: dict[str, str], doctor: Any
) -> None:
    broker = broker_of()
    daemon: Daemon = daemon_of(broker=broker, mqtt=transport)
    daemon.wait_until_ready()
    publisher = publish_on_suback(broker, "presenced-doctor")
    assert doctor(daemon, "--timeout", "20s")[0] == 0
    publisher.join(20)
    assert daemon.ready
    assert daemon.value("presenced_mqtt_connects_total", connection="presenced", session="new") == 1
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1, what="the event")


def test_lines_for_people(
    daemon_of: Any, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates.client.key.chmod(0o600)
    daemon = daemon_of(start=False, tls=certificates.client)
    assert main(["doctor", "--config", str(daemon.config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"presenced-doctor at {ENDPOINT}:")
    assert lines[1].startswith("  ok       certificate files: client certificate valid until")
    assert lines[3] == "  FAILED   TCP"
    assert lines[4].strip().endswith("refused the TCP connection")
    assert lines[5].strip().startswith("Remedy: ")
    assert lines[6:] == [*(f"  skipped  {step}" for step in STEPS[3:]), "1 failed."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--client-id", "a+b"], "--client-id"),
        (["--config", "/nowhere/presenced.yaml"], "/nowhere/presenced.yaml"),
    ],
)
def test_wrong_configuration(
    daemon_of: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    daemon = daemon_of(start=False)
    assert main(["doctor", "--config", str(daemon.config), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_derived_client_id_that_is_too_long(
    daemon_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = daemon_of(start=False, mqtt={"client_id": "x" * 125})
    assert main(["doctor", "--config", str(daemon.config)]) == 2
    assert "128 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["soon", "-1s", "5"])
def test_wrong_timeout(text: str) -> None:
    with pytest.raises(SystemExit) as wrong:
        main(["doctor", f"--timeout={text}"])
    assert wrong.value.code == 2
