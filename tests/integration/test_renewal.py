"""Certificate files that are replaced under a running daemon."""

import json
import shutil
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from certificates import Certificates
from daemons import Daemon
from presenced.settings.certificates import certificate_expiries
from presenced.sources.mqtt.connection_options import TlsFiles
from waiting import wait_for


@pytest.fixture(params=["awscrt", "aiomqtt"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def own(tmp_path: Path, certificates: Certificates) -> TlsFiles:
    """A copy of a good pair that a test may replace."""
    client = certificates.client
    own = TlsFiles(tmp_path / "own.crt", tmp_path / "own.key", client.ca)
    shutil.copy(client.cert, own.cert)
    shutil.copy(client.key, own.key)
    return own


def connects(daemon: Daemon) -> float:
    labels = {"connection": "presenced", "session": "new"}
    resumed = {"connection": "presenced", "session": "resumed"}
    return (daemon.value("presenced_mqtt_connects_total", **labels) or 0) + (
        daemon.value("presenced_mqtt_connects_total", **resumed) or 0
    )


def with_refresh(daemon: Daemon, refresh: str) -> Daemon:
    daemon.settings["mqtt"]["tls"]["refresh"] = refresh
    daemon.write()
    daemon.start()
    daemon.wait_until_ready()
    return daemon


def test_a_complete_new_pair_is_taken_and_half_a_one_is_not(
    broker_of: Any, daemon_of: Any, certificates: Certificates, own: TlsFiles, transport: str
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon = with_refresh(
        daemon_of(start=False, broker=broker, tls=own, mqtt={"transport": transport}), "1s"
    )
    new_cert, new_key = certificates.second_client.cert, certificates.second_client.key

    shutil.copy(new_cert, own.cert)
    # A restart of the broker forces a reconnect while the pair does not match.
    broker.restart()
    wait_for(lambda: connects(daemon) == 2, timeout=60, what="the old pair used again")
    wait_for(lambda: daemon.ready, what="ready with the old pair")
    labels = {"connection": "presenced", "reason": "tls_files"}
    assert daemon.value("presenced_mqtt_connection_failures_total", **labels) == 0

    shutil.copy(new_key, own.key)
    wait_for(lambda: connects(daemon) == 3, timeout=60, what="the new pair taken")
    wait_for(lambda: daemon.ready, what="ready with the new pair")
    name = "presenced_certificate_expiry_timestamp_seconds"
    expires = certificate_expiries(certificates.second_client)["client"]
    wait_for(lambda: daemon.value(name, certificate="client") == expires)
    shown = json.loads(daemon.get("/api/v1/overview")[1])["daemon"]["certificates"]
    ends = {each["name"]: datetime.fromisoformat(each["expires_at"]) for each in shown}
    assert ends["client"].timestamp() == expires
    assert certificate_expiries(certificates.client)["client"] != expires


def test_sighup_takes_a_new_pair_at_once_and_refuses_a_bad_one(
    broker_of: Any, daemon_of: Any, certificates: Certificates, own: TlsFiles, transport: str
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon = with_refresh(
        daemon_of(start=False, broker=broker, tls=own, mqtt={"transport": transport}), "1d"
    )
    new_cert, new_key = certificates.second_client.cert, certificates.second_client.key

    shutil.copy(new_cert, own.cert)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.value("presenced_config_last_reload_successful") == 0)
    assert daemon.ready
    assert connects(daemon) == 1

    shutil.copy(new_key, own.key)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: connects(daemon) == 2, timeout=60, what="the new pair taken")
    wait_for(lambda: daemon.ready)
    assert daemon.value("presenced_config_last_reload_successful") == 1
    daemon.signal(signal.SIGHUP)
    wait_for(
        lambda: sum(line["event"] == "configuration reloaded" for line in daemon.log) == 2,
        what="a reload that changes nothing",
    )
    assert connects(daemon) == 2


def test_the_same_pair_written_in_place_again_and_again_causes_no_reconnect(
    broker_of: Any, daemon_of: Any, certificates: Certificates, own: TlsFiles, transport: str
) -> None:
    broker: Mosquitto = broker_of(certificates=certificates)
    daemon = with_refresh(
        daemon_of(start=False, broker=broker, tls=own, mqtt={"transport": transport}), "1s"
    )
    for _ in range(300):
        shutil.copyfile(certificates.client.cert, own.cert)
        shutil.copyfile(certificates.client.key, own.key)
        time.sleep(0.01)  # the length of the attack
    assert connects(daemon) == 1
    shutil.copyfile(certificates.second_client.cert, own.cert)
    shutil.copyfile(certificates.second_client.key, own.key)
    wait_for(lambda: connects(daemon) == 2, timeout=60, what="the new pair taken")


def test_a_reload_reconnects_only_what_changed(broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    filters = [["$aws/events/presence/#"], ["$aws/events/thing/#"]]
    daemon: Daemon = daemon_of(broker=broker, mqtt={"connections": filters})
    daemon.wait_until_ready()
    filters[1] = ["$aws/events/job/#"]
    daemon.settings["mqtt"]["max_message_rate"] = 5
    daemon.write()
    daemon.signal(signal.SIGHUP)
    labels = {"connection": "presenced-2", "filter": "$aws/events/job/#"}
    wait_for(lambda: daemon.value("presenced_mqtt_subscription_granted", **labels) == 1)
    assert connects(daemon) == 1
    (reloaded,) = [line for line in daemon.log if line["event"] == "configuration reloaded"]
    assert reloaded["reconnected"] == 1
