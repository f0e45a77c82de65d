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
# Holds the machine's tree, with room for changes, where nobody else sees the mounts.
_HOLD_TREE = """
mount -t tmpfs tmpfs "$2"
mkdir "$2/changes" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" overlay "$2/root"
echo held
exec sleep infinity
"""
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
    """A machine with loopback network only.

    What changes in its tree outlives its reboots, and is gone when it is stopped.
    """

    def __init__(self, tree: Path, directory: Path, mounts: Mapping[Path, str]) -> None:
        self._tree = tree
        self._directory = directory
        self._mounts = mounts
        self._place = directory / "machine"
        self._name = f"presenced-test-{os.getpid()}"
        self._console = directory / "console.log"
        self._holder: subprocess.Popen[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it and return when it is up."""
        if self._holder is None:
            self._hold_tree()
        address = self._directory / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(address))
            notified.settimeout(1)
            with self._console.open("ab") as console:
                self._process = subprocess.Popen(
                    self._command(),
                    env={**os.environ, "NOTIFY_SOCKET": str(address)},
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    preexec_fn=self._enter_cgroup,
                )
            self._wait_until_up(notified)

    def _hold_tree(self) -> None:
        self._place.mkdir()
        self._holder = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig=KILL", "unshare", "--mount"),
                *("sh", "-ec", _HOLD_TREE, "sh", str(self._tree), str(self._place)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "held\n", "it has no tree"

    def _command(self) -> list[str]:
        assert self._holder is not None
        return [
            *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"),
            # Tests that are killed must not leave the machine running.
            *("setpriv", "--pdeathsig=TERM"),
            *("systemd-nspawn", "--quiet", "--boot", "--notify-ready=yes"),
            *("--register=no", "--private-network", "--console=pipe", "--link-journal=no"),
            # Where systemd does not run this machine, nobody can give it a unit.
            *([] if Path("/run/systemd/system").exists() else ["--keep-unit"]),
            f"--machine={self._name}",
            f"--directory={self._place / 'root'}",
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
        """What it printed, over all its boots."""
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
        lines = self.run(f"journalctl --boot --unit={unit} --output=json --all").splitlines()
        return [json.loads(line) for line in lines]

    def reboot(self) -> None:
        """Shut it down in order and start it again, with all that is in its files."""
        assert self._shut_down(), f"it did not shut down in time: {self.console}"
        self.boot()

    def stop(self) -> None:
        """End it, whatever state it is in, and forget its files."""
        self._shut_down()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            self._holder = None

    def _shut_down(self) -> bool:
        """Whether it ended by itself; else it has been killed."""
        if self._process is None:
            return True
        in_time = True
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            in_time = False
            # Killing systemd-nspawn alone would leave the machine running.
            if self._leader:
                os.kill(self._leader, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self._process = None
        for directory in self._cgroups():
            wait_for(lambda directory=directory: _remove_cgroup(directory), what=str(directory))
        return in_time


def _remove_cgroup(directory: Path) -> bool:
    """Remove a control group with those in it; the last process may take a moment to be gone."""
    try:
        for each, _, _ in os.walk(directory, topdown=False):
            Path(each).rmdir()
    except OSError:
        return False
    return True
