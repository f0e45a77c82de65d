"""A Debian machine with systemd, booted by systemd-nspawn from a tree that stays as it is."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brokers import missing
from waiting import wait_for

TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap"}

_CGROUPS = Path("/sys/fs/cgroup")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
}


def need_root_and_tools() -> None:
    """Skip without what it takes to boot a machine, and fail without it in CI."""
    if os.geteuid() != 0:
        missing("booting a machine needs root: sudo make test-system")
    absent = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if absent:
        missing(f"not installed: apt-get install --no-install-recommends {' '.join(absent)}")


class Machine:
    """A machine with loopback network only, whose changes to its tree are gone when it stops."""

    def __init__(self, tree: Path, directory: Path, mounts: Mapping[Path, str]) -> None:
        self._tree = tree
        self._directory = directory
        self._mounts = mounts
        self._name = f"presenced-test-{os.getpid()}"
        self._console = directory / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it and return when it is up."""
        address = self._directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(address))
            notified.settimeout(1)
            with self._console.open("wb") as console:
                self._process = subprocess.Popen(
                    self._command(),
                    env={**os.environ, "NOTIFY_SOCKET": str(address)},
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    preexec_fn=self._enter_cgroup,
                )
            self._wait_until_up(notified)

    def _command(self) -> list[str]:
        return [
            # Tests that are killed must not leave the machine running.
            *("setpriv", "--pdeathsig=TERM"),
            *("systemd-nspawn", "--quiet", "--boot", "--notify-ready=yes", "--volatile=overlay"),
            *("--register=no", "--private-network", "--console=pipe", "--link-journal=no"),
            # Where systemd does not run this machine, nobody can give it a unit.
            *([] if Path("/run/systemd/system").exists() else ["--keep-unit"]),
            f"--machine={self._name}",
            f"--directory={self._tree}",
            *(f"--bind-ro={source}:{target}" for source, target in self._mounts.items()),
        ]

    def _wait_until_up(self, notified: socket.socket) -> None:
        deadline, told = time.monotonic() + 60, ""
        while "READY=1" not in told.split("\n"):
            assert self._process is not None
            assert self._process.poll() is None, f"it did not boot: {self.console}"
            assert time.monotonic() < deadline, f"it did not boot in time: {self.console}"
            try:
                told += notified.recv(4096).decode() + "\n"
            except TimeoutError:
                continue
            if leader := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", told, re.MULTILINE):
                self._leader = int(leader[1])

    def _enter_cgroup(self) -> None:
        """Runs in the child: control groups of its own, where systemd does not see to that."""
        for directory in self._cgroups():
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.procs").write_text("0")

    def _cgroups(self) -> list[Path]:
        if Path("/run/systemd/system").exists():
            return []
        roots = [_CGROUPS / "systemd", _CGROUPS / "unified", _CGROUPS]
        return [root / self._name for root in roots if (root / "cgroup.procs").exists()]

    @property
    def console(self) -> str:
        """What it printed."""
        return self._console.read_text(errors="replace")

    def try_run(self, script: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell script on it as root."""
        return subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", "sh", "-ec", script],
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            **more,
        )

    def run(self, script: str, **more: Any) -> str:
        """Run a shell script that succeeds, and return what it prints."""
        done = self.try_run(script, **more)
        assert done.returncode == 0, f"{script}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file on it."""
        self.run(f"install -D -m {mode:o} /dev/stdin {path}", input=text)

    def get(self, url: str) -> tuple[int, str]:
        """Status and text of an answer; status 0 while nobody listens."""
        done = self.try_run(f"curl -s -m 10 -w '\\n%{{http_code}}' {url}")
        text, _, status = done.stdout.rpartition("\n")
        return int(status or 0), text

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.run(f"systemctl show {unit} --property={','.join(properties)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """The entries of a unit since the machine was booted."""
        lines = self.run(f"journalctl --unit={unit} --output=json --no-pager --all").splitlines()
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        """Power it off, whatever state it is in."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            # Killing systemd-nspawn alone would leave the machine running.
            if self._leader:
                os.kill(self._leader, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        for directory in self._cgroups():
            wait_for(lambda directory=directory: _remove_cgroup(directory), what=str(directory))


def _remove_cgroup(directory: Path) -> bool:
    """Remove a control group with those in it; the last process may take a moment to be gone."""
    try:
        for each, _, _ in os.walk(directory, topdown=False):
            Path(each).rmdir()
    except OSError:
        return False
    return True
