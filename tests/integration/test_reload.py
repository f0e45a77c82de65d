"""`presenced reload`: it reaches exactly the daemon of its configuration, and has the result."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, missing
from certificates import Certificates
from command_runner import CommandRunner
from daemons import Daemon
from documentation import block

# A process that has a state file, as `presenced state` has it for a moment.
HOLD = """
import sys
from pathlib import Path
from presenced.store.lock import StateLock
lock = StateLock.take(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def reload(
    config: Path, *before: str, code: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PRESENCED_") and name != "STATE_DIRECTORY"
    }
    program = ["-c", code] if code else ["-m", "presenced", "reload", "--config"]
    command = [*before, sys.executable, *program, str(config)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=clean | environ
    )


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a state file, and does not handle SIGHUP."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


@pytest.fixture
def daemon(tmp_path: Path, daemon_of: Any, broker_of: Any, certificates: Certificates) -> Daemon:
    """A daemon with a state file and certificate files."""
    broker: Mosquitto = broker_of(certificates=certificates)
    state = {"path": str(tmp_path / "presenced.db")}
    made: Daemon = daemon_of(broker=broker, tls=certificates.client, state=state)
    made.wait_until_ready()
    return made


def reloads(daemon: Daemon) -> int:
    return len([line for line in daemon.log if line["event"] == "configuration reloaded"])


def test_it_reloads_and_says_so(daemon: Daemon) -> None:
    for number in range(1, 4):
        done = reload(daemon.config)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "The configuration was reloaded.\n"
        assert reloads(daemon) == number


def test_it_says_what_the_daemon_refuses(daemon: Daemon) -> None:
    """Of certificate files the command itself knows nothing."""
    daemon.settings["mqtt"]["tls"]["cert"] = "/nowhere/cert.pem"
    daemon.write()
    done = reload(daemon.config)
    assert done.returncode == 2
    assert "/nowhere/cert.pem" in done.stderr
    assert "was not reloaded; the running one stays" in done.stderr
    assert daemon.ready


def test_an_invalid_configuration_is_not_sent_to_the_daemon(daemon: Daemon) -> None:
    daemon.settings["presence"] = {"offline_delay": "soon"}
    daemon.write()
    done = reload(daemon.config)
    assert done.returncode == 2
    assert "presence.offline_delay" in done.stderr
    assert daemon.value("presenced_config_last_reload_successful") == 1


def test_it_finds_the_daemon_by_its_environment_too(daemon: Daemon, tmp_path: Path) -> None:
    """As in the container image, which sets this variable."""
    config = tmp_path / "without-state.yaml"
    config.write_text("mqtt: {endpoint: localhost, tls: false}\n")
    assert reload(config, STATE_DIRECTORY=str(tmp_path)).returncode == 0
    assert reloads(daemon) == 1


def test_the_documented_commands(
    tmp_path: Path, broker_of: Any, certificates: Certificates
) -> None:
    runner = CommandRunner(tmp_path)
    state = {"path": str(runner.lib / "presenced.db")}
    broker = broker_of(certificates=certificates)
    daemon = Daemon(runner.etc, broker=broker, tls=certificates.client, state=state)
    runner.port = daemon.port
    try:
        daemon.start()
        out = asyncio.run(runner.run(block("docs/how-to/rotate-certificates.md", "presenced")))
    finally:
        daemon.stop()
    assert out.startswith("The configuration was reloaded.\n")
    assert "presenced_certificate_expiry_timestamp_seconds{" in out


def test_two_daemons_are_told_apart(daemon: Daemon, daemon_of: Any, tmp_path: Path) -> None:
    other: Daemon = daemon_of(state={"path": str(tmp_path / "other.db")})
    assert reload(other.config).returncode == 0
    assert (reloads(other), reloads(daemon)) == (1, 0)


def test_no_other_process_gets_a_signal(daemon: Daemon, tmp_path: Path) -> None:
    """The lock may have the number of a process that ended, which another one has by now."""
    path = tmp_path / "held.db"
    config = tmp_path / "held.yaml"
    config.write_text(f"mqtt: {{endpoint: localhost, tls: false}}\nstate: {{path: {path}}}\n")
    with held(path) as holder:
        done = reload(config)
        assert done.returncode == 1
        assert f"presenced (process {holder.pid}) is starting or stopping" in done.stderr
        lock = path.with_name("held.db.lock")
        for number in (daemon.pid, 2**22 + 1, "unknown"):
            lock.write_text(f"{number}\n")
            done = reload(config)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
        assert holder.poll() is None
        assert holder.stdin is not None
        holder.stdin.close()
    assert reloads(daemon) == 0
    done = reload(config)
    assert done.returncode == 1
    assert f"no running presenced has the state file {path}" in done.stderr


def test_without_a_state_file_it_uses_the_endpoint(daemon_of: Any) -> None:
    daemon: Daemon = daemon_of(metrics={"enable_reload_endpoint": True})
    assert reload(daemon.config).returncode == 0
    assert reloads(daemon) == 1
    daemon.stop()
    done = reload(daemon.config)
    assert done.returncode == 1
    assert f"presenced does not answer at http://127.0.0.1:{daemon.port}/-/reload" in done.stderr


def test_without_either_it_says_what_to_do(daemon_of: Any) -> None:
    daemon: Daemon = daemon_of()
    done = reload(daemon.config)
    assert done.returncode == 1
    assert f"{daemon.config} sets no state.path" in done.stderr
    assert "systemctl reload presenced" in done.stderr
    assert reloads(daemon) == 0


def test_another_user_is_told_who_may(open_directory: Path) -> None:
    if os.geteuid() != 0:
        missing("becoming another user needs root")
    path = open_directory / "presenced.db"
    daemon = Daemon(open_directory, state={"path": str(path)})
    # Imports come first: the other user may not be let in where Python lies.
    code = (
        "import os, sys; from pathlib import Path; from presenced.cli import build_parser, main\n"
        "import presenced.commands.reload as command; build_parser()\n"
        "command.read_settings(Path(sys.argv[1]))\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(['reload', '--config', sys.argv[1]]))"
    )
    try:
        daemon.start()
        for mode in (0o600, 0o644):
            path.with_name("presenced.db.lock").chmod(mode)
            done = reload(daemon.config, code=code)
            assert done.returncode == 1
            assert "run this command as root, or as the user that presenced runs as" in done.stderr
        assert reloads(daemon) == 0
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
    finally:
        daemon.stop()
