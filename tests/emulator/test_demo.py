"""The demo with a daemon that does not start; the real one has a test of its own."""

import argparse
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from presenced.cli import main
from presenced_emulator import daemon, demo
from presenced_emulator.daemon import DemoError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def perform(port: int, script: str = "", *, say: Callable[[str], None] = print) -> None:
    """Run the demo with a script instead of the daemon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "print_line", say)
        patch.setattr(daemon, "COMMAND", (sys.executable, "-c", script))
        options = {"devices": 3, "duration": None, "seed": 1, "listen": f"127.0.0.1:{port}"}
        demo.run(argparse.Namespace(**options, cold=False, drop_events=0.0, status=False))


def test_options_about_aws_exclude_a_fleet_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["--cold"], ["--drop-events", "0%"]):
        assert main(["demo", "--status", *arguments]) == 2
        assert f"presenced: {arguments[0]}: cannot be used with --status: " in (
            capsys.readouterr().err
        )


def test_daemon_that_ends_is_reported(
    capfd: pytest.CaptureFixture[str], free_port: int, temporary: Path
) -> None:
    with pytest.raises(DemoError, match="presenced ended with status 1; see its log above"):
        perform(free_port, "import sys; sys.exit('something is wrong')")
    assert "something is wrong" in capfd.readouterr().err
    assert not list(temporary.iterdir())


def test_taken_port_is_reported(temporary: Path) -> None:
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        expected = f"cannot listen on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(DemoError, match=expected):
            perform(port, say=lines.append)
    assert not lines
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_before_the_daemon_is_ready(
    free_port: int, temporary: Path, number: signal.Signals
) -> None:
    lines: list[str] = []
    private: list[int] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("Fleet:"):
            (directory,) = temporary.iterdir()
            private.append(directory.stat().st_mode & 0o777)
            os.kill(os.getpid(), number)

    perform(free_port, "import time; time.sleep(60)", say=say)
    assert private == [0o700]
    assert lines[0].startswith(f"Configuration: {temporary}/presenced-demo-")
    assert lines[1] == f"Console:       http://127.0.0.1:{free_port}/"
    assert lines[2] == f"Metrics:       http://127.0.0.1:{free_port}/metrics"
    assert not list(temporary.iterdir())


def test_reader_that_goes_away_ends_the_demo(free_port: int, temporary: Path) -> None:
    def say(line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        perform(free_port, say=say)
    assert not list(temporary.iterdir())
