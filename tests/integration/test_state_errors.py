"""The daemon while its state file cannot be written: on a small disk, with a real broker."""

import contextlib
import os
import signal
import sqlite3
import subprocess
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
    status, text = daemon.get("/-/ready")
    assert status == 200
    assert "the state file cannot be written (full): a crash loses what has changed" in text
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
    wait_for(lambda: not daemon.ready)
    text = daemon.get("/-/ready")[1]
    assert text.startswith("the state file cannot be written (full): messages are not acknowledged")
    assert "make room on the disk" in text
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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file as a backup or a shell of SQLite may."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


@contextmanager
def replaced_by_a_directory(path: Path) -> Iterator[None]:
    aside = path.rename(path.with_suffix(".aside"))
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        aside.rename(path)


@contextmanager
def of_another_user(path: Path) -> Iterator[None]:
    """A file that only its owner may read, who is not the one that the daemon runs as."""
    os.chown(path, 65534, 65534)
    path.chmod(0o600)
    try:
        yield
    finally:
        os.chown(path, 0, 0)


@contextmanager
def on_a_read_only_disk(path: Path) -> Iterator[None]:
    with read_only(path.parent):
        yield


@contextmanager
def on_a_full_disk(path: Path) -> Iterator[None]:
    """The log that SQLite makes at each start has no room; the file itself could be read."""
    ballast = path.parent / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


TROUBLES = [
    (locked, "locked", "end the program that keeps the file open"),
    (replaced_by_a_directory, "other", "set state.path to a file"),
    (of_another_user, "read_only", "let the user that presenced runs as write the file"),
    (on_a_read_only_disk, "read_only", "mounted for writing"),
    (on_a_full_disk, "full", "make room on the disk"),
]


def stopped_with_two_clients(daemon: Daemon, broker: Mosquitto, disk: Path) -> None:
    """Run a daemon until its file holds two clients."""
    # Without these capabilities root is held to the permissions of files as any user is.
    no_overrides = "-dac_override,-dac_read_search"
    daemon.command = ["setpriv", "--bounding-set", no_overrides, *daemon.command]
    daemon.start()
    daemon.wait_until_ready()
    broker.publish(EVENTS[:2])
    wait_for(lambda: stored(disk) == 2)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0


@pytest.mark.parametrize(("trouble", "cause", "remedy"), TROUBLES)
def test_a_file_that_cannot_be_opened_ends_the_start_of_stall(
    small_disk: Path, broker_of: Any, daemon_of: Any, trouble: Any, cause: str, remedy: str
) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "stall", start=False)
    stopped_with_two_clients(daemon, broker, small_disk)
    path = small_disk / "presenced.db"
    with trouble(path):
        said = daemon.fail_to_start()
    assert f"the state file {path} cannot be used" in said
    assert remedy in said
    daemon.start()
    assert online(daemon) == 2


def test_that_it_runs_from_memory_is_said_without_a_broker_too(
    small_disk: Path, broker_of: Any, daemon_of: Any
) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "continue", start=False)
    stopped_with_two_clients(daemon, broker, small_disk)
    broker.stop()
    with read_only(small_disk):
        daemon.start()
        wait_for(lambda: "starting" not in daemon.get("/-/ready")[1])
        status, text = daemon.get("/-/ready")
        assert status == 503
        assert "the state file cannot be used (read_only): presenced runs from memory" in text
        assert "mounted for writing" in text
        daemon.stop()


@pytest.mark.parametrize("on_error", ["continue", "stall"])
def test_a_loop_of_links_is_an_error_with_its_remedy(
    tmp_path: Path, daemon_of: Any, on_error: str
) -> None:
    path = tmp_path / "presenced.db"
    path.symlink_to(path)
    daemon: Daemon = daemon_of(state={"path": str(path), "on_error": on_error}, start=False)
    if on_error == "stall":
        assert "its symbolic links form a loop" in daemon.fail_to_start()
    else:
        daemon.start()
        (line,) = lines(daemon, "runs from memory until its next start")
        assert "its symbolic links form a loop" in line["remedy"]
        wait_for(lambda: "form a loop" in daemon.get("/-/ready")[1])


def test_an_emptied_file_is_said(tmp_path: Path, broker_of: Any, daemon_of: Any) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(tmp_path, broker, daemon_of, "stall", start=False)
    stopped_with_two_clients(daemon, broker, tmp_path)
    (tmp_path / "presenced.db").write_bytes(b"")
    daemon.start()
    daemon.wait_until_ready()
    (line,) = lines(daemon, "the state file was damaged")
    assert (line["level"], line["detail"][:14]) == ("error", "it has 0 bytes")
    assert "the state file was damaged" in daemon.get("/-/ready")[1]
    assert failures(daemon, "corrupt") == 1
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    daemon.start()
    daemon.wait_until_ready()
    assert "damaged" not in daemon.get("/-/ready")[1]


@pytest.mark.parametrize("on_error", ["continue", "stall"])
def test_a_second_daemon_on_one_file_does_not_start(
    tmp_path: Path, broker_of: Any, daemon_of: Any, on_error: str
) -> None:
    broker: Mosquitto = broker_of()
    first = run_on(tmp_path, broker, daemon_of, on_error)
    first.wait_until_ready()
    second = run_on(
        tmp_path, broker, daemon_of, on_error, start=False, mqtt={"client_id": "second"}
    )
    said = second.fail_to_start()
    assert f"the state file {tmp_path / 'presenced.db'} is in use by another presenced" in said
    assert "give each presenced a state.path of its own" in said
    assert first.ready


@pytest.mark.parametrize(("trouble", "cause", "remedy"), TROUBLES)
def test_with_continue_it_runs_from_memory_until_the_next_start(
    small_disk: Path, broker_of: Any, daemon_of: Any, trouble: Any, cause: str, remedy: str
) -> None:
    broker: Mosquitto = broker_of()
    daemon = run_on(small_disk, broker, daemon_of, "continue", start=False)
    stopped_with_two_clients(daemon, broker, small_disk)
    with trouble(small_disk / "presenced.db"):
        daemon.start()
        daemon.wait_until_ready()
        (line,) = lines(daemon, "runs from memory until its next start")
        assert (line["level"], line["cause"]) == ("warning", cause)
        assert remedy in line["remedy"]
        assert f"the state file cannot be used ({cause})" in daemon.get("/-/ready")[1]
        assert daemon.value("presenced_state_unavailable") == 1
        assert failures(daemon, cause) == 1
        assert online(daemon) == 0
        broker.publish(EVENTS[2:5])
        wait_for(lambda: online(daemon) == 3)
    broker.publish(EVENTS[5:6])
    wait_for(lambda: online(daemon) == 4)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0
    assert stored(small_disk) == 2, "nothing was written"
    daemon.start()
    daemon.wait_until_ready()
    assert online(daemon) == 2
    assert daemon.value("presenced_state_unavailable") == 0
    assert "memory" not in daemon.get("/-/ready")[1]
