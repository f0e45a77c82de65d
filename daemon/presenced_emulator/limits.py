"""How many devices the demo can run on this machine."""

import resource
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import NamedTuple

from presenced.commands.output import counted
from presenced.settings import Problem, SettingsError

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


class Limit(NamedTuple):
    """How many devices a resource suffices for, and why."""

    devices: float
    reason: str


def check_devices(devices: int, limits: Iterable[Limit]) -> None:
    """Raise SettingsError if the limits do not allow so many devices."""
    least = min(limits)
    if devices > least.devices:
        allowed = max(0, int(least.devices))
        message = f"this machine can run at most {counted(allowed, 'device')}: {least.reason}"
        raise SettingsError([Problem(key="--devices", value=str(devices), message=message)])


def machine_limits() -> list[Limit]:
    """Return the limits of this machine, as they are now.

    A device needs a socket on either side, and a second pair while a connection takes over. TLS and
    MQTT on both sides took 600 kB per device in measurements. Everything else together needs 100
    open files and 200 MB.
    """
    files, megabytes, ports = allow_open_files(), available_memory() / 10**6, _tcp_ports()
    return [
        Limit(
            (files - 100) / 3,
            f"each needs 3 open files, and the limit (ulimit -Hn) is {files:.0f}",
        ),
        Limit(
            (megabytes - 200) / 0.7,
            f"each needs 0.7 MB of memory, and {megabytes:.0f} MB are available",
        ),
        Limit(
            ports / 1.5,
            f"each needs 1 or 2 TCP ports, and net.ipv4.ip_local_port_range has {ports:.0f}",
        ),
    ]


def allow_open_files() -> float:
    """Raise the soft limit of open files to the hard one and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return inf if hard == resource.RLIM_INFINITY else hard


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float:
    """Return the bytes that the machine and the control groups of this process leave free.

    Page cache counts as free. What cannot be read does not limit.
    """
    available = _field(proc / "meminfo", "MemAvailable:") * 1024
    group = cgroups / (_text(proc / "self/cgroup").rpartition("::/")[2].strip())
    while group.is_relative_to(cgroups):
        limit = _text(group / "memory.max").strip()
        if limit.isdecimal():
            available = min(available, int(limit) - _field(group / "memory.stat", "anon"))
        group = group.parent
    return available


def _tcp_ports() -> float:
    ports = _text(_PROC / "sys/net/ipv4/ip_local_port_range").split()
    return int(ports[1]) - int(ports[0]) + 1 if ports else inf


def _field(path: Path, name: str) -> float:
    lines = (line.split() for line in _text(path).splitlines())
    return next((float(words[1]) for words in lines if words[0] == name), inf)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
