"""docs/how-to/upgrade.md: a backup of an open file is complete, a downgrade reports a gap."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto
from command_runner import CommandRunner, need
from daemons import Daemon
from documentation import block
from statefiles import query
from waiting import wait_for

PAGE = "docs/how-to/upgrade.md"
IN_CONTAINER = "docker exec presenced "


def publish(broker: Mosquitto, kind: str, client_id: str) -> None:
    payload = {"clientId": client_id, "timestamp": 1_700_000_000_000, "versionNumber": 1}
    topic = f"$aws/events/presence/{kind}/{client_id}"
    broker.publish([(topic, json.dumps({**payload, "sessionIdentifier": "s"}).encode())])


def stored(runner: CommandRunner, state: str) -> int:
    sql = f"SELECT count(*) FROM clients WHERE state = '{state}'"
    ((count,),) = query(runner.lib / "presenced.db", sql)
    return int(str(count))


def run(runner: CommandRunner, script: str) -> str:
    return asyncio.run(runner.run(script))


@pytest.mark.parametrize("words", ["sqlite3 -readonly", IN_CONTAINER])
def test_going_back_to_a_backup(tmp_path: Path, broker_of: Any, daemon_of: Any, words: str) -> None:
    need("sqlite3")
    runner = CommandRunner(tmp_path)
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(
        broker=broker,
        state={"path": str(runner.lib / "presenced.db")},
        presence={"offline_delay": "0s"},
    )
    daemon.wait_until_ready()
    publish(broker, "connected", "stays")
    publish(broker, "connected", "leaves")
    wait_for(lambda: stored(runner, "online") == 2)
    assert "online                       2" in run(
        runner, block(PAGE, words).replace(IN_CONTAINER, "")
    )

    publish(broker, "disconnected", "leaves")
    wait_for(lambda: stored(runner, "offline") == 1)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    stop, *back = block(PAGE, "systemctl stop").splitlines()
    assert stop == "systemctl stop presenced"
    run(runner, "\n".join(back))
    daemon.settings["mqtt"]["session_expiry"] = "0s"
    daemon.write()
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.value("iot_clients", state="online") == 2
    assert daemon.value("iot_clients_unverified") == 2
    assert daemon.value("presenced_gaps_total", reason="clean_session") == 1

    daemon.settings["mqtt"]["session_expiry"] = "1h"
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.value("presenced_gaps_total", reason="session_lost") == 1)
