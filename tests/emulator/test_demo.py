"""The demo's stage management, with a daemon that never comes on; the real one has its own test."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from presenced_emulator import daemon, demo
from presenced_emulator.demo import run_demo


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def perform(port: int, *, duration: float | None = None) -> int:
    listen = f"127.0.0.1:{port}"
    return asyncio.run(run_demo(devices=3, duration=duration, listen=listen, seed=1))


def play(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(daemon, "COMMAND", (sys.executable, "-c", script))


def test_daemon_that_ends_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    free_port: int,
    temporary: Path,
) -> None:
    play(monkeypatch, "import sys; sys.exit('something is wrong')")
    assert perform(free_port) == 1
    told = capfd.readouterr().err
    assert "something is wrong" in told
    assert "presenced ended by itself with status 1" in told
    assert not list(temporary.iterdir())


def test_taken_port_is_told(capfd: pytest.CaptureFixture[str], temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert perform(port) == 1
    told = capfd.readouterr()
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in told.err
    assert not told.out
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_before_the_daemon_is_ready(
    monkeypatch: pytest.MonkeyPatch, free_port: int, temporary: Path, number: signal.Signals
) -> None:
    play(monkeypatch, "import time; time.sleep(60)")
    lines: list[str] = []
    private: list[int] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("Fleet:"):
            (directory,) = temporary.iterdir()
            private.append(directory.stat().st_mode & 0o777)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(demo, "_say", say)
    assert perform(free_port) == 0
    assert private == [0o700]
    assert lines[0].startswith(f"Configuration: {temporary}/presenced-demo-")
    assert lines[1] == f"Metrics:       http://127.0.0.1:{free_port}/metrics"
    assert not list(temporary.iterdir())


def test_reader_that_goes_away_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, free_port: int, temporary: Path
) -> None:
    def say(line: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(demo, "_say", say)
    with pytest.raises(BrokenPipeError):
        perform(free_port)
    assert not list(temporary.iterdir())
