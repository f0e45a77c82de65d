"""Keys in a token of SoftHSM, with which the daemon authenticates to mosquitto."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bcrypt import _bcrypt

from brokers import Mosquitto, lifecycle_events, missing
from certificates import Certificates
from daemons import Daemon
from tokens import PIN, Token, make_token
from waiting import wait_for

FAILURES = "presenced_mqtt_connection_failures_total"


@pytest.fixture
def token(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Token]:
    """A token with the key of the client certificate."""
    monkeypatch.setenv("SOFTHSM2_CONF", "")  # restored at the end
    token = make_token(tmp_path / "softhsm")
    monkeypatch.setenv("PKCS11SPY", str(token.library))
    assert certificates.client.key is not None
    token.add("presenced", "client", certificates.client.key)
    return token


def tls(certificates: Certificates, softhsm: Token, **keys: Any) -> dict[str, Any]:
    cert = certificates.client.cert
    return {"cert": str(cert), "ca": str(certificates.ca), "pkcs11": softhsm.section(**keys)}


def newer_library() -> Path:
    """A library that says it is of PKCS#11 3.0, whatever is behind it."""
    spies = list(Path("/usr/lib").glob("**/pkcs11-spy.so"))
    if not spies:
        missing("pkcs11-spy.so is missing: apt-get install opensc")
    return spies[0]


def doctor(daemon: Daemon, *arguments: str) -> tuple[dict[str, dict[str, str]], str]:
    """The steps of `presenced doctor` in a process of its own, by name, and all it prints."""
    command = [sys.executable, "-m", "presenced", "doctor", "--config", str(daemon.config)]
    done = subprocess.run(
        [*command, "--json", "--timeout", "0", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (connection,) = json.loads(done.stdout)["connections"]
    return {step["step"]: step for step in connection["steps"]}, done.stdout + done.stderr


def test_the_daemon_and_the_doctor_use_it(
    broker_of: Any, daemon_of: Any, certificates: Certificates, token: Token
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    mqtt = {"tls": tls(certificates, token)}
    daemon: Daemon = daemon_of(broker=broker, mqtt=mqtt, log={"level": "debug"})
    daemon.wait_until_ready()
    broker.publish(lifecycle_events(1))
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1)
    expiry = "presenced_certificate_expiry_timestamp_seconds"
    assert daemon.value(expiry, certificate="client") is not None
    steps, printed = doctor(daemon)
    assert {step["status"] for step in steps.values()} == {"ok", "skipped"}, steps
    assert steps["key in hardware"]["detail"] == "the token accepts the login and has the key"
    assert "the key belongs" not in steps["certificate files"]["detail"]
    assert PIN not in printed + daemon.log_file.read_text()


def test_a_renewed_certificate_of_the_same_key_is_used(
    broker_of: Any, daemon_of: Any, certificates: Certificates, token: Token, tmp_path: Path
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    renewed = certificates.renewed_client
    cert = tmp_path / "client.crt"
    cert.write_bytes(Path(str(certificates.client.cert)).read_bytes())
    files = tls(certificates, token) | {"cert": str(cert), "refresh": "1s"}
    daemon: Daemon = daemon_of(broker=broker, mqtt={"tls": files})
    daemon.wait_until_ready()
    expiry = "presenced_certificate_expiry_timestamp_seconds"
    before = daemon.value(expiry, certificate="client")
    cert.write_bytes(renewed.read_bytes())
    wait_for(lambda: broker.log.count("New client connected") == 2, 30, what="a reconnect")
    daemon.wait_until_ready()
    wait_for(lambda: daemon.value(expiry, certificate="client") != before)
    assert not [line for line in daemon.log if line["event"] == "connection attempt failed"]


@pytest.mark.parametrize(
    ("keys", "key", "detail", "remedy"),
    [
        ({"library": "/nowhere/hsm.so"}, "library", "no such file", "Install the PKCS#11 library"),
        ({"library": "TEXT"}, "library", "cannot be loaded", "Install the PKCS#11 library"),
        ({"library": "OTHER"}, "library", "is no PKCS#11 library", "Install the PKCS#11 library"),
        ({"library": "NEWER"}, "library", "is of another version of PKCS#11", "from 2.20 to 2.40"),
        ({"token": "absent"}, "token", "is the label of no token", "--list-token-slots"),
        ({"token": None}, "token", "there is no token, or more than one", "--list-token-slots"),
        ({"key": "absent"}, "key", "is the label of no private key", "--list-objects"),
        ({"pin_file": "WRONG"}, "pin_file", "holds a PIN that the token refuses", "Correct the"),
        ({"pin_file": None}, "pin_file", "is not set, and the token does not", "Set it to a file"),
    ],
)
def test_each_fault_is_told_apart(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    token: Token,
    tmp_path: Path,
    keys: dict[str, Any],
    key: str,
    detail: str,
    remedy: str,
) -> None:
    wrong = tmp_path / "wrong-pin"
    wrong.write_text("pin-31415926")
    text = tmp_path / "text.so"
    text.write_text("text")
    token.create("second")
    placed: dict[str, Any] = {"WRONG": wrong, "TEXT": text, "OTHER": _bcrypt.__file__}
    if "NEWER" in keys.values():
        placed["NEWER"] = newer_library()
    keys = {name: placed.get(value, value) for name, value in keys.items()}
    broker: Mosquitto = broker_of(certificates=certificates)
    mqtt = {"tls": tls(certificates, token, **keys)}
    daemon: Daemon = daemon_of(start=False, broker=broker, mqtt=mqtt)
    steps, printed = doctor(daemon)
    step = steps["key in hardware"]
    assert step["status"] == "failed"
    assert f"mqtt.tls.pkcs11.{key}" in step["detail"]
    assert detail in step["detail"]
    assert remedy in step["remedy"]
    assert PIN not in printed
    assert "31415926" not in printed


def test_a_key_of_another_certificate(
    broker_of: Any, daemon_of: Any, certificates: Certificates, token: Token
) -> None:
    token.add("presenced", "other", certificates.server_key)
    broker: Mosquitto = broker_of(certificates=certificates)
    mqtt = {"tls": tls(certificates, token, key="other")}
    steps, _ = doctor(daemon_of(start=False, broker=broker, mqtt=mqtt))
    assert steps["TLS"]["status"] == "ok"
    assert steps["CONNACK"]["status"] == "failed"
    assert "the key in the token belongs to mqtt.tls.cert" in steps["CONNACK"]["remedy"]


# As the connections of one daemon do, each of which tries again and again.
RUN = """
import sys
from pathlib import Path
from awscrt import io
from presenced.settings import SettingsError
from presenced.settings.files import FileSnapshot
from presenced.settings.pkcs11 import Pkcs11Settings
from presenced.sources.mqtt.awscrt_link import AwscrtLink
from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles

library, pin_file, cert, log, right_pin = sys.argv[1:]
io.init_logging(io.LogLevel.Trace, log)
pkcs11 = Pkcs11Settings(library=library, token="presenced", key="client", pin_file=pin_file)
files = TlsFiles(cert=Path(cert), pkcs11=pkcs11)
options = ConnectionOptions(endpoint="localhost", port=1, client_id="a", filters=("a",), tls=files)

def load():
    try:
        print("loaded", AwscrtLink.load_tls(options, FileSnapshot()) is not None)
    except SettingsError as error:
        print(error, repr(error), repr(error.problems))

for _ in range(3):
    load()
Path(pin_file).write_text(right_pin)
load()
"""


def test_a_wrong_pin_is_tried_once_until_its_file_changes(
    certificates: Certificates, token: Token, tmp_path: Path
) -> None:
    """However often it is needed: tokens lock themselves. No log has it, the library's neither."""
    wrong, log = "pin-31415926", tmp_path / "crt.log"
    token.pin_file.write_text(wrong)
    files = [token.library, token.pin_file, certificates.client.cert, log]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, files), PIN],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    printed = done.stdout.splitlines()
    assert ["holds a PIN that the token refuses" in line for line in printed] == [True] * 3 + [
        False
    ]
    assert printed[-1] == "loaded True"
    text = log.read_text(errors="replace")
    assert text.count("C_Login() failed") == 1
    for pin in (PIN, wrong):
        assert pin not in text + done.stdout + done.stderr


def test_a_corrected_pin_is_used(
    broker_of: Any, daemon_of: Any, certificates: Certificates, token: Token
) -> None:
    token.pin_file.write_text("pin-31415926")
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon: Daemon = daemon_of(broker=broker, mqtt={"tls": tls(certificates, token)})
    wait_for(lambda: daemon.value(FAILURES, connection="presenced", reason="tls_files"))
    assert "holds a PIN that the token refuses" in daemon.get("/-/ready")[1]
    token.pin_file.write_text(f"{PIN}\n")
    wait_for(lambda: daemon.ready, 120, what="the connection")
    log = daemon.log_file.read_text()
    for pin in (PIN, "31415926"):
        assert pin not in log
