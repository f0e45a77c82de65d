"""The daemon while its state file cannot be written: on a small disk, with a real broker."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, lifecycle_events
from daemons import Daemon
from statefiles import query
from waiting import wait_for

BEFORE, IN_ALL = 200, 3_000
EVENTS = lifecycle_events(IN_ALL)


def run_on(disk: Path, broker: Mosquitto, daemon_of: Any, on_error: str, **more: Any) -> Daemon:
    state = {"path": str(disk / "presenced.db"), "on_error": on_error}
    return daemon_of(broker=broker, state=state, **more)


def online(daemon: Daemon) -> float:
    return daemon.value("iot_clients", state="online") or 0.0


def failures(daemon: Daemon, cause: str) -> float:
    return daemon.value("presenced_state_commit_failures_total", cause=cause) or 0.0


def stored(disk: Path) -> object:
    return query(disk / "presenced.db", "SELECT count(*) FROM clients")[0][0]


def lines(daemon: Daemon, words: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log if words in line["event"]]


def kill(daemon: Daemon) -> None:
    daemon.signal(signal.SIGKILL)
    daemon.wait(10)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Make a file system read-only for a while."""

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

    remount("ro")
    try:
        yield
    finally:
        remount("rw")


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_a_disk_that_fills_up_stops_neither_presence_nor_acknowledgements(
    small_disk: Path,
    fill_up: Callable[[], Path],
    broker_of: Any,
    daemon_of: Any,
    transport: str,
) -> None:
    """The broker sends no more than 100 messages ahead of their acknowledgements."""
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "continue", mqtt={"transport": transport})
    daemon.wait_until_ready()
    broker.publish(EVENTS[:BEFORE])
    wait_for(lambda: stored(small_disk) == BEFORE)
    ballast = fill_up()
    broker.publish(EVENTS[BEFORE:])
    wait_for(lambda: online(daemon) == IN_ALL, timeout=60)
    wait_for(lambda: failures(daemon, "full"))
    wait_for(lambda: lines(daemon, "cannot be written"))
    (line,) = lines(daemon, "cannot be written")
    assert line["cause"] == "full"
    assert "make room on the disk" in line["remedy"]
    assert line["level"] == "error"
    assert daemon.ready
    ballast.unlink()
    wait_for(lambda: stored(small_disk) == IN_ALL, timeout=60)
    wait_for(lambda: lines(daemon, "is written again"))
    kill(daemon)
    daemon.start()
    assert online(daemon) == IN_ALL
    daemon.wait_until_ready()
    assert daemon.value("iot_clients_unverified") == 0
    assert daemon.value("iot_client_transitions_total", to="online") == IN_ALL


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_stall_leaves_with_the_broker_what_cannot_be_kept(
    small_disk: Path,
    fill_up: Callable[[], Path],
    broker_of: Any,
    daemon_of: Any,
    transport: str,
) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "stall", mqtt={"transport": transport})
    daemon.wait_until_ready()
    broker.publish(EVENTS[:BEFORE])
    wait_for(lambda: stored(small_disk) == BEFORE)
    ballast = fill_up()
    broker.publish(EVENTS[BEFORE:])
    wait_for(lambda: failures(daemon, "full") > 2)
    assert online(daemon) < IN_ALL
    (line,) = lines(daemon, "cannot be written")
    assert line["acknowledgements"] == "held back"
    kill(daemon)
    ballast.unlink()
    daemon.start()
    wait_for(lambda: online(daemon) == IN_ALL, timeout=60, what="the broker had kept them")
    wait_for(lambda: stored(small_disk) == IN_ALL)
    kill(daemon)
    daemon.start()
    assert online(daemon) == IN_ALL


def test_stall_goes_on_where_it_stood_once_there_is_room(
    small_disk: Path, fill_up: Callable[[], Path], broker_of: Any, daemon_of: Any
) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "stall")
    daemon.wait_until_ready()
    ballast = fill_up()
    broker.publish(EVENTS)
    wait_for(lambda: failures(daemon, "full") > 2)
    assert online(daemon) < IN_ALL
    ballast.unlink()
    wait_for(lambda: online(daemon) == IN_ALL, timeout=60)
    wait_for(lambda: stored(small_disk) == IN_ALL)
    received = daemon.value("iot_events_total", family="presence", type="connected")
    assert received == IN_ALL, "none came twice"


def test_a_read_only_disk_at_the_start(small_disk: Path, broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "continue")
    daemon.wait_until_ready()
    broker.publish(EVENTS[:2])
    wait_for(lambda: stored(small_disk) == 2)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    with read_only(small_disk):
        daemon.start()
        daemon.wait_until_ready()
        assert failures(daemon, "read_only") == 1
        (line,) = lines(daemon, "without its state file")
        assert "let the user that presenced runs as write the file" in line["detail"]
        broker.publish(EVENTS[2:5])
        wait_for(lambda: online(daemon) == 3)
    wait_for(lambda: online(daemon) == 5, timeout=30, what="the file is taken on")
    assert daemon.value("iot_clients_unverified") == 2
    assert daemon.value("iot_client_transitions_total", to="online") == 5
    shown = [name for name, _ in daemon.scrape() if name == "iot_client_connected"]
    assert len(shown) == 5
    wait_for(lambda: stored(small_disk) == 5)
    kill(daemon)
    daemon.start()
    assert online(daemon) == 5
    assert daemon.value("iot_clients_unverified") == 2


def test_stall_does_not_start_on_a_read_only_disk(
    small_disk: Path, broker_of: Any, daemon_of: Any
) -> None:
    daemon: Daemon = run_on(small_disk, broker_of(), daemon_of, "stall", start=False)
    with read_only(small_disk):
        refused = subprocess.run(
            [sys.executable, "-m", "presenced", "run", "--config", str(daemon.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert refused.returncode == 1
    assert "mounted for writing" in refused.stderr
    assert "Traceback" not in refused.stderr
