"""Which thing a client is, and which IDs are used once: on a running daemon, also by reload."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

from brokers import Mosquitto
from daemons import Daemon
from waiting import wait_for

CONNECTED = "$aws/events/presence/connected/"


def connected(client_id: str, at: int) -> tuple[str, bytes]:
    payload = {
        "clientId": client_id,
        "timestamp": 1764200000000 + at,
        "eventType": "connected",
        "sessionIdentifier": f"s{at}",
        "versionNumber": 0,
    }
    return CONNECTED + client_id, json.dumps(payload).encode()


def test_a_reload_changes_things_rules_and_status_topics(
    tmp_path: Path, broker_of: Callable[..., Mosquitto]
) -> None:
    broker = broker_of()
    daemon = Daemon(tmp_path, broker=broker, mqtt={"transport": "aiomqtt"})
    daemon.start()
    try:
        daemon.wait_until_ready()
        names = ("pump-1-jobs", "pump-1-shadow", "$GEN/0000")
        broker.publish([connected(name, at) for at, name in enumerate(names)])
        wait_for(lambda: daemon.value("iot_clients", state="online") == 3, what="three clients")
        assert daemon.value("iot_things_by_presence", state="online") == 0
        assert daemon.value("iot_client_connected", client_id="$GEN/0000") is None
        assert daemon.value("presenced_clients_without_series") == 0

        daemon.settings["presence"] = {
            "thing_pattern": "(?P<thing>pump-[0-9]+)-.*",
            "clients": [{"match": "*-shadow", "series": False}],
            "status_topics": [
                {
                    "filter": "devices/+/status",
                    "client_id": "{1}",
                    "online": "up",
                    "offline": "down",
                }
            ],
        }
        daemon.write()
        daemon.signal(signal.SIGHUP)
        wait_for(
            lambda: daemon.value("iot_things_by_presence", state="online") == 1,
            what="the thing of two clients",
        )
        assert daemon.value("iot_client_connected", client_id="$GEN/0000") == 1
        assert daemon.value("iot_client_connected", client_id="pump-1-jobs") == 1
        assert daemon.value("iot_client_connected", client_id="pump-1-shadow") is None
        page = json.loads(daemon.get("/api/v1/clients?thing=pump-1")[1])
        assert [client["client_id"] for client in page["clients"]] == list(names[:2])
        daemon.wait_until_ready()
        broker.publish([("devices/valve/status", b"up")])
        wait_for(lambda: daemon.value("iot_clients", state="online") == 4, what="a status")
        story = json.loads(daemon.get("/api/v1/clients/valve")[1])
        assert story["source"] == "status"
        assert story["explanation"].endswith("its status topic says so.")
    finally:
        daemon.stop()
