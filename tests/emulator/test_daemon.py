"""The daemon's process, played by small scripts."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from presenced.settings.values import parse_listen
from presenced_emulator import daemon as module
from presenced_emulator.daemon import Daemon, DemoError, clean_environment, url_of

NOWHERE = "http://127.0.0.1:9"
SLEEP = "import time; time.sleep(60)"

SLEEPER = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, getattr(signal, sys.argv[1]))
pathlib.Path(sys.argv[2]).touch()
time.sleep(60)
"""

SERVER = """
import sys, http.server
answers = [(503, b"subscribing"), (200, b"ready")]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = answers.pop(0) if self.path == "/-/ready" else (200, b"x 1\\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def play(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> None:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", script, *arguments))


def test_ready_and_metrics(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    play(monkeypatch, SERVER, str(free_port))

    async def scenario() -> str:
        async with Daemon(Path("unused"), f"http://127.0.0.1:{free_port}") as daemon:
            await daemon.ready()
            return await daemon.metrics()

    assert asyncio.run(scenario()) == "x 1\n"


def test_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, SLEEP)
    monkeypatch.setattr(module, "READY_WITHIN", 0.3)

    async def scenario() -> None:
        async with Daemon(Path("unused"), NOWHERE) as daemon:
            await daemon.ready()

    with pytest.raises(DemoError, match="did not get ready: no answer"):
        asyncio.run(scenario())


def test_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, SLEEP)

    async def scenario() -> None:
        async with Daemon(Path("unused"), NOWHERE) as daemon:
            await daemon.metrics()

    with pytest.raises(DemoError, match="no metrics"):
        asyncio.run(scenario())


def test_early_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "raise SystemExit(3)")

    async def scenario() -> None:
        async with Daemon(Path("unused"), NOWHERE) as daemon:
            await daemon.died()

    with pytest.raises(DemoError, match="status 3"):
        asyncio.run(scenario())


@pytest.mark.parametrize("obedience", ["SIG_DFL", "SIG_IGN"])
def test_nothing_is_left_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, obedience: str
) -> None:
    mark = tmp_path / "started"
    play(monkeypatch, SLEEPER, obedience, str(mark))
    monkeypatch.setattr(module, "STOP_WITHIN", 0.5)

    async def scenario() -> int | None:
        async with Daemon(Path("unused"), NOWHERE) as daemon, asyncio.timeout(20):
            while not mark.exists():
                await asyncio.sleep(0.02)
        return daemon._process.returncode

    expected = signal.SIGTERM if obedience == "SIG_DFL" else signal.SIGKILL
    assert asyncio.run(scenario()) == -expected


def test_environment_of_a_real_fleet_is_kept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRESENCED_MQTT__ENDPOINT", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANG", "C")
    environment = clean_environment()
    assert environment["LANG"] == "C"
    assert not {"PRESENCED_MQTT__ENDPOINT", "STATE_DIRECTORY", "NOTIFY_SOCKET"} & set(environment)
    assert "WATCHDOG_USEC" not in environment


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:9883", "http://127.0.0.1:9883"),
        (":9883", "http://localhost:9883"),
        ("0.0.0.0:9883", "http://127.0.0.1:9883"),
        ("[::]:9883", "http://[::1]:9883"),
        ("[::1]:9883", "http://[::1]:9883"),
        ("example.net:80", "http://example.net:80"),
    ],
)
def test_url(listen: str, url: str) -> None:
    assert url_of(parse_listen(listen)) == url
