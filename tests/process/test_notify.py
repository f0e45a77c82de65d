"""Datagrams to the service manager."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.system.supervision import Notifier, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """$NOTIFY_SOCKET and the socket behind it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        if request.param == "path":
            address = name = str(tmp_path / "notify")
        else:
            address, name = f"@presenced-{os.getpid()}", f"\0presenced-{os.getpid()}"
        listening.bind(name)
        listening.setblocking(False)
        yield address, listening


def test_assignments_in_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier(address)
    assert notifier.wanted
    assert notifier.send(READY=1, STATUS="all\nis  well\n")
    assert listening.recv(4096) == b"READY=1\nSTATUS=all is well"


def test_nothing_after_close(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier(address)
    notifier.close()
    notifier.close()
    assert not notifier.send(READY=1)
    with pytest.raises(BlockingIOError):
        listening.recv(4096)


@pytest.mark.parametrize("address", [None, "", "vsock:2:1"])
def test_without_a_manager_nothing_is_sent(address: str | None) -> None:
    notifier = Notifier(address)
    assert not notifier.wanted
    assert not notifier.send(READY=1)
    notifier.close()


def test_a_missing_manager_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "missing"))
    assert not notifier.send(READY=1)
    notifier.close()


def test_a_manager_that_does_not_read_does_not_block(manager: tuple[str, socket.socket]) -> None:
    notifier = Notifier(manager[0])
    assert not all(notifier.send(WATCHDOG=1) for _ in range(10_000))
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval() == expected
