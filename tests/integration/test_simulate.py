"""`presenced simulate` on a real mosquitto, with a real daemon that must find the truth."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from certificates import Certificates
from daemons import Daemon
from waiting import wait_for

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PRESENCED_")}
COMMAND = (sys.executable, "-m", "presenced", "simulate")
ROUGH = ("--storms", "2", "--outage", "1s", "--flaps", "30%", "--takeovers", "20%")
LATE = ("--reorder", "30%", "--duplicates", "20%", "--delay", "1s")


def simulate(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--config", str(daemon.config), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=ENVIRONMENT,
    )


def shown(daemon: Daemon) -> dict[str, str]:
    """The state of each client that has a series."""
    return {
        dict(labels)["client_id"]: "online" if value else "offline"
        for (name, labels), value in daemon.scrape().items()
        if name == "iot_client_connected"
    }


def settled(daemon: Daemon) -> bool:
    return daemon.value("iot_clients", state="pending") == 0


def truth(file: Path) -> dict[str, str]:
    lines = map(json.loads, file.read_text().splitlines())
    return {line["client_id"]: line["state"] for line in lines}


@pytest.mark.parametrize(
    "mqtt",
    [{"transport": "awscrt"}, {"transport": "aiomqtt", "protocol": "3.1.1", "qos": 0}],
    ids=["awscrt", "aiomqtt-3.1.1"],
)
def test_presence_equals_the_truth(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    tmp_path: Path,
    mqtt: dict[str, Any],
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon: Daemon = daemon_of(
        broker=broker, tls=certificates.client, mqtt=mqtt, presence={"offline_delay": "2s"}
    )
    daemon.wait_until_ready()
    file = tmp_path / "truth.jsonl"
    wanted = ("--devices", "60", "--duration", "6s", "--rate", "150", "--seed", "3")
    done = simulate(daemon, *wanted, *ROUGH, *LATE, "--truth", str(file))
    assert done.returncode == 0, done.stderr
    wait_for(lambda: shown(daemon) == truth(file) and settled(daemon), what="the truth")
    states = list(truth(file).values())
    assert set(states) == {"online", "offline"}
    assert len(states) == 60
    for state in ("online", "offline"):
        assert f"\n{states.count(state)} {state}: " in done.stdout
        assert daemon.value("iot_clients", state=state) == states.count(state)
    assert daemon.value("iot_things") == 60
    ignored = (daemon.value("iot_events_ignored_total", reason=r) for r in ("duplicate", "stale"))
    assert all(ignored), "late and doubled messages did come"
    assert not daemon.value("presenced_gaps_total", reason="rate_limit"), "no limit but AWS's"


def test_an_end_by_signal_tells_the_truth_of_that_moment(
    broker_of: Any, daemon_of: Any, tmp_path: Path
) -> None:
    daemon: Daemon = daemon_of(broker=broker_of(), presence={"offline_delay": "1s"})
    daemon.wait_until_ready()
    file = tmp_path / "truth.jsonl"
    process = subprocess.Popen(
        [*COMMAND, "--config", str(daemon.config), "--duration", "1h", "--truth", str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    wait_for(lambda: len(shown(daemon)) == 50, timeout=30, what="the whole fleet")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "At the end:" in out
    wait_for(lambda: shown(daemon) == truth(file) and settled(daemon), what="the truth")


def test_nobody_listens(broker_of: Any, daemon_of: Any) -> None:
    daemon: Daemon = daemon_of(broker=broker_of(), start=False)
    done = simulate(daemon, "--duration", "1s", "--devices", "2")
    assert done.returncode == 0
    assert "No client is subscribed to them on this broker." in done.stdout


def test_a_broker_that_is_not_there(daemon_of: Any) -> None:
    done = simulate(daemon_of(start=False))
    assert done.returncode == 1
    assert done.stderr.startswith("presenced: the broker at localhost:")
    assert "refused the TCP connection" in done.stderr


def test_a_broker_that_goes_away(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, start=False)
    process = subprocess.Popen(
        [*COMMAND, "--config", str(daemon.config), "--duration", "1h"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
    )
    wait_for(lambda: "Received PUBLISH from presenced-simulate" in broker.log)
    broker.stop()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "presenced: the simulation ended early: " in err


def test_a_broker_that_lets_nobody_publish_there(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of(start=False)
    rules = broker.directory / "acl"
    rules.write_text("topic read $aws/events/#\n")
    config = broker.directory / "mosquitto.conf"
    listener = f"listener {broker.port} 127.0.0.1\n"
    config.write_text(config.read_text().replace(listener, f"{listener}acl_file {rules}\n"))
    broker.start()
    done = simulate(daemon_of(broker=broker, start=False), "--duration", "10s")
    assert done.returncode == 1
    assert "refuses messages below $aws/events/ (Not authorized)" in done.stderr
    assert "allow presenced-simulate to publish there" in done.stderr


def test_aws_is_refused(daemon_of: Any, certificates: Certificates) -> None:
    name = "abc-ats.iot.eu-west-1.amazonaws.com"
    daemon: Daemon = daemon_of(start=False, endpoint=name, tls=certificates.client)
    done = simulate(daemon)
    assert done.returncode == 2
    assert f"mqtt.endpoint = {name}: is AWS IoT Core, which lets no client publish" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--flaps", "0.2"],
        ["--flaps", "101%"],
        ["--devices", "0"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--start", "today"],
        ["--duration", "0s"],
        ["--flaps", "60%", "--takeovers", "50%"],
    ],
)
def test_wrong_usage(daemon_of: Any, arguments: list[str]) -> None:
    done = simulate(daemon_of(start=False), *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


def test_a_truth_that_cannot_be_written(broker_of: Any, daemon_of: Any, tmp_path: Path) -> None:
    daemon: Daemon = daemon_of(broker=broker_of(), start=False)
    file = tmp_path / "nowhere" / "truth"
    done = simulate(daemon, "--duration", "1s", "--devices", "2", "--truth", str(file))
    assert done.returncode == 1
    assert f"presenced: cannot write {file}: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("mqtt", "key"),
    [
        ({"auth": "sigv4", "tls": {}}, "mqtt.auth"),
        ({"tls": {"pkcs11": {"library": "/lib/hsm.so"}}}, "mqtt.tls.pkcs11"),
    ],
)
def test_a_connection_that_only_awscrt_can_make(
    daemon_of: Any, mqtt: dict[str, Any], key: str
) -> None:
    done = simulate(daemon_of(start=False, mqtt=mqtt, aws={"region": "eu-west-1"}))
    assert done.returncode == 2
    assert f"{key}: is not supported by `presenced simulate`" in done.stderr
