"""What happened an hour ago, asked of a daemon that was restarted since."""

import json
import signal
from pathlib import Path
from typing import Any

from brokers import Mosquitto
from daemons import Daemon
from statefiles import query
from waiting import wait_for

TABLES = ("recent_transitions", "mass_events", "trend_minutes")


def publish(broker: Mosquitto, kind: str, names: list[str], **fields: Any) -> None:
    broker.publish(
        [
            (
                f"$aws/events/presence/{kind}/{name}",
                json.dumps(
                    {
                        "clientId": name,
                        "timestamp": 1_700_000_000_000,
                        "versionNumber": 1,
                        "sessionIdentifier": "s",
                        **fields,
                    }
                ).encode(),
            )
            for name in names
        ]
    )


def started(daemon_of: Any, broker: Mosquitto, path: Path, **metrics: Any) -> Daemon:
    daemon: Daemon = daemon_of(
        broker=broker,
        state={"path": str(path)},
        presence={"offline_delay": "0s"},
        metrics=metrics,
    )
    daemon.wait_until_ready()
    return daemon


def answer(daemon: Daemon, path: str) -> Any:
    status, text = daemon.get(f"/api/v1/{path}")
    assert status == 200, text
    return json.loads(text)


def test_the_last_hours_outlive_a_restart(tmp_path: Path, broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    path = tmp_path / "presenced.db"
    daemon = started(daemon_of, broker, path)
    names = [f"pump-{number}" for number in range(50)]
    publish(broker, "connected", [*names, "alone"])
    publish(broker, "disconnected", ["alone"], disconnectReason="AUTH_ERROR")
    wait_for(lambda: daemon.value("iot_clients", state="offline") == 1)
    wait_for(lambda: answer(daemon, "overview")["fleet"]["trend"], timeout=70)
    publish(broker, "disconnected", names[:20], disconnectReason="CONNECTION_LOST")
    wait_for(lambda: daemon.value("iot_clients", state="offline") == 21)
    recent, overview = answer(daemon, "recent"), answer(daemon, "overview")
    assert overview["offline"]["by_reason"] == {"CONNECTION_LOST": 20, "AUTH_ERROR": 1}
    assert overview["daemon"]["state"] == "receiving"
    counts = [entry.get("count") for entry in recent["entries"] if entry["kind"] == "mass"]
    assert sum(counts) in (71, 72), "the disconnect of `alone` may be part of the other ones"

    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    daemon.start()
    daemon.wait_until_ready()
    assert answer(daemon, "recent") == recent
    again = answer(daemon, "overview")
    assert again["offline"]["by_reason"] == overview["offline"]["by_reason"]
    assert again["fleet"]["trend"][: len(overview["fleet"]["trend"])] == overview["fleet"]["trend"]


def test_without_the_api_nothing_of_it_is_kept(
    tmp_path: Path, broker_of: Any, daemon_of: Any
) -> None:
    broker: Mosquitto = broker_of()
    path = tmp_path / "presenced.db"
    daemon = started(daemon_of, broker, path, api=False)
    publish(broker, "connected", ["a", "b"])
    wait_for(lambda: query(path, "SELECT count(*) FROM clients") == [(2,)])
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    for table in TABLES:
        assert query(path, f"SELECT count(*) FROM {table}") == [(0,)]
