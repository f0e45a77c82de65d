"""The daemon's process, played by small scripts."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from presenced.settings import load_settings
from presenced.settings.values import parse_listen
from presenced_emulator import daemon
from presenced_emulator.certificates import issue
from presenced_emulator.daemon import (
    DaemonProcess,
    DemoError,
    clean_environment,
    configuration,
    url_of,
)

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


def played(script: str, *arguments: str, url: str = NOWHERE) -> DaemonProcess:
    """A process that runs a script instead of the daemon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "COMMAND", (sys.executable, "-c", script, *arguments))
        return DaemonProcess(Path("unused"), url)


def test_ready_and_metrics(free_port: int) -> None:
    async def scenario() -> str:
        url = f"http://127.0.0.1:{free_port}"
        async with played(SERVER, str(free_port), url=url) as process:
            await process.ready()
            return await process.metrics()

    assert asyncio.run(scenario()) == "x 1\n"


def test_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "READY_WITHIN", 0.3)

    async def scenario() -> None:
        async with played(SLEEP) as process:
            await process.ready()

    with pytest.raises(DemoError, match="did not become ready: no answer"):
        asyncio.run(scenario())


def test_no_metrics() -> None:
    async def scenario() -> None:
        async with played(SLEEP) as process:
            await process.metrics()

    with pytest.raises(DemoError, match="no metrics"):
        asyncio.run(scenario())


def test_early_end_is_noticed() -> None:
    async def scenario() -> None:
        async with played("raise SystemExit(3)") as process:
            await process.died()

    with pytest.raises(DemoError, match="status 3"):
        asyncio.run(scenario())


@pytest.mark.parametrize("obedience", ["SIG_DFL", "SIG_IGN"])
def test_nothing_is_left_running(
    tmp_path: Path, obedience: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "STOP_WITHIN", 0.5)
    mark = tmp_path / "started"

    async def scenario() -> None:
        async with (
            played(SLEEPER, obedience, str(mark)) as process,
            asyncio.timeout(20),
        ):
            while not mark.exists():
                await asyncio.sleep(0.02)
        await process.died()

    expected = signal.SIGTERM if obedience == "SIG_DFL" else signal.SIGKILL
    with pytest.raises(DemoError, match=f"status -{expected:d};"):
        asyncio.run(scenario())


def test_environment_of_a_real_fleet_is_kept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRESENCED_MQTT__ENDPOINT", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "x")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANG", "C")
    environment = clean_environment()
    assert environment["LANG"] == "C"
    assert not {"PRESENCED_MQTT__ENDPOINT", "STATE_DIRECTORY", "NOTIFY_SOCKET"} & set(environment)
    assert "WATCHDOG_USEC" not in environment
    assert not [name for name in environment if name.startswith("AWS_")]


def test_environment_that_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of a real account")
    script = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['AWS_ACCESS_KEY_ID'])"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(daemon, "COMMAND", (sys.executable, "-c", script))

    async def scenario() -> None:
        async with DaemonProcess(Path("unused"), NOWHERE, {"AWS_ACCESS_KEY_ID": "ours"}) as process:
            await process.died()

    with pytest.raises(DemoError, match="status 0"):
        asyncio.run(scenario())
    assert (tmp_path / "seen").read_text() == "ours"


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:9883", "http://127.0.0.1:9883"),
        (":9883", "http://127.0.0.1:9883"),
        ("0.0.0.0:9883", "http://127.0.0.1:9883"),
        ("[::]:9883", "http://127.0.0.1:9883"),
        ("[::1]:9883", "http://[::1]:9883"),
        ("example.net:80", "http://example.net:80"),
    ],
)
def test_url(listen: str, url: str) -> None:
    assert url_of(parse_listen(listen)) == url


@pytest.mark.parametrize("name", ["plain", "with space: #and 'quotes' \"too\""])
def test_the_daemon_accepts_it(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    certificates = issue(directory)
    path = directory / "presenced.yaml"
    path.write_text(configuration(certificates, port=12345, listen=":9884"))

    settings = load_settings(path, environ={})

    assert settings.mqtt.transport == "aiomqtt"
    assert settings.mqtt.protocol == "3.1.1"
    assert (settings.mqtt.endpoint, settings.mqtt.port) == ("localhost", 12345)
    assert settings.mqtt.session_expiry == 0
    assert settings.mqtt.tls is not None
    assert Path(str(settings.mqtt.tls.cert)) == certificates.daemon.cert
    assert Path(str(settings.mqtt.tls.key)) == certificates.daemon.key
    assert Path(str(settings.mqtt.tls.ca)) == certificates.daemon.ca
    assert settings.presence.offline_delay == 5
    assert settings.metrics.listen == ":9884"
    assert settings.metrics.thing_attributes == ("site", "model")


def test_sections_are_added(tmp_path: Path) -> None:
    certificates = issue(tmp_path)
    path = tmp_path / "presenced.yaml"
    sections = {"state": {"path": str(tmp_path / "a: {b}.db")}}
    path.write_text(configuration(certificates, port=1, listen=":9884", sections=sections))
    assert load_settings(path, environ={}).state.path == tmp_path / "a: {b}.db"
