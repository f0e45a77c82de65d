"""The daemon with an IAM role and no certificate: through a signed WebSocket to mosquitto."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, lifecycle_events
from certificates import Certificates
from daemons import Daemon
from waiting import wait_for
from websocket_endpoint import KEY_ID, SECRET, websocket_endpoint


def write_credentials(file: Path, token: str) -> None:
    """As a program that renews credentials does."""
    new = file.with_suffix(".new")
    new.write_text(
        f"[default]\naws_access_key_id={KEY_ID}\naws_secret_access_key={SECRET}\n"
        f"aws_session_token={token}\n"
    )
    new.replace(file)


def test_the_end_of_a_connection_with_its_credentials_is_no_gap(
    broker_of: Any,
    daemon_of: Any,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    broker: Mosquitto = broker_of()
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(os.environ, "AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setitem(os.environ, "AWS_EC2_METADATA_DISABLED", "true")
    write_credentials(file, "token-1")
    with websocket_endpoint(certificates, broker.port) as endpoint:
        mqtt = {"auth": "sigv4", "port": endpoint.port, "tls": {"ca": str(certificates.ca)}}
        daemon: Daemon = daemon_of(mqtt=mqtt, aws={"region": "eu-west-1"}, log={"level": "debug"})
        daemon.wait_until_ready()
        assert (
            daemon.value("presenced_certificate_expiry_timestamp_seconds", certificate="client")
            is None
        )
        shown = json.loads(daemon.get("/api/v1/overview")[1])["daemon"]["certificates"]
        assert [each["name"] for each in shown] == ["ca"]

        endpoint.tokens, endpoint.expired = {"token-2"}, {"token-1"}
        endpoint.end_connections()
        failures = "presenced_mqtt_connection_failures_total"
        wait_for(
            lambda: daemon.value(failures, connection="presenced", reason="credentials"),
            what="the refusal of the expired token",
        )
        broker.publish(lifecycle_events(1))
        write_credentials(file, "token-2")
        wait_for(lambda: daemon.value("iot_clients", state="online") == 1, 60, what="the event")
        daemon.wait_until_ready()
        connects = "presenced_mqtt_connects_total"
        assert daemon.value(connects, connection="presenced", session="resumed") == 1
        gaps = [v for (name, _), v in daemon.scrape().items() if name == "presenced_gaps_total"]
        assert sum(gaps) == 0
    log = daemon.log_file.read_text()
    assert "the session token has expired" in log
    for secret in (SECRET, KEY_ID, "token-1", "token-2", "X-Amz-"):
        assert secret not in log
