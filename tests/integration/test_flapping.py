"""A client that flaps, from a mosquitto to the metrics and the API of `presenced run`."""

import json
import signal
import time
from pathlib import Path
from typing import Any

from daemons import Daemon
from waiting import wait_for

LOST = {"reason": "CONNECTION_LOST", "initiated_by": "server"}


def flaps(client_id: str, count: int) -> list[tuple[str, bytes]]:
    """Messages of so many connections, all of this moment."""
    return [
        (
            f"$aws/events/presence/{kind}/{client_id}",
            json.dumps(
                {
                    "clientId": client_id,
                    "timestamp": round(time.time() * 1000),
                    "sessionIdentifier": f"s{version}",
                    "versionNumber": version,
                    "disconnectReason": "CONNECTION_LOST",
                    "ipAddress": "192.0.2.7",
                }
            ).encode(),
        )
        for version in range(1, count + 1)
        for kind in ("connected", "disconnected")
    ]


def refusals(client_id: str, count: int) -> list[tuple[str, bytes]]:
    now = round(time.time() * 1000)
    fields = {"clientId": client_id, "connectFailureReason": "AUTHORIZATION_FAILED"}
    topic = f"$aws/events/presence/connect_failed/{client_id}"
    return [
        (topic, json.dumps(fields | {"timestamp": now - number}).encode())
        for number in range(count)
    ]


def worst(daemon: Daemon) -> Any:
    status, text = daemon.get("/api/v1/flapping")
    assert status == 200
    assert "192.0.2" not in text
    return json.loads(text)["clients"]


def test_it_is_held_across_a_reload_and_begins_anew_after_a_restart(
    daemon_of: Any, broker_of: Any, tmp_path: Path
) -> None:
    broker = broker_of()
    daemon: Daemon = daemon_of(
        broker=broker,
        state={"path": str(tmp_path / "presenced.db")},
        metrics={"per_client": False},
        presence={"offline_delay": "0s", "damping": {"enabled": True}},
    )
    daemon.wait_until_ready()
    broker.publish([*refusals("gateway", 4), *flaps("pump", 6), *flaps("calm", 2)])
    wait_for(lambda: daemon.value("iot_client_disconnects_total", **LOST) == 8)
    assert daemon.value("iot_client_flaps_recent", client_id="pump") == 6
    assert daemon.value("iot_client_flaps_recent", client_id="calm") is None
    assert daemon.value("iot_client_short_sessions_recent", client_id="pump") == 6
    assert daemon.value("iot_client_flapping", client_id="pump") == 1
    assert daemon.value("iot_clients_flapping") == 1
    assert daemon.value("iot_clients", state="offline") == 2
    assert daemon.value("iot_client_connect_failures_recent", client_id="gateway") == 4
    pump, gateway = worst(daemon)
    assert (gateway["client_id"], gateway["refused"], gateway["state"]) == ("gateway", 4, None)
    assert pump == {
        "client_id": "pump",
        "flaps": 6,
        "takeovers": 0,
        "short_sessions": 6,
        "refused": 0,
        "state": "offline",
        "held": True,
    }

    daemon.settings["presence"]["damping"]["half_life"] = "1h"
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: any(line["event"] == "configuration reloaded" for line in daemon.log))
    assert daemon.value("iot_client_flapping", client_id="pump") == 1

    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=5) == 0
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.value("iot_clients", state="offline") == 2
    assert daemon.value("iot_clients_flapping") == 0
    assert worst(daemon) == []
