"""How many devices the demo can run on this machine."""

import resource
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from presenced.settings import Problem, SettingsError

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_MB = 10**6


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource: how much of it is available, how much the demo needs, and how to call it.

    Each device needs `per_device`, everything else together needs `base`.
    """

    available: float
    per_device: float
    base: float
    reason: str

    @property
    def devices(self) -> float:
        """How many devices the resource suffices for."""
        return max(0.0, (self.available - self.base) // self.per_device)


def check_devices(devices: int, limits: Iterable[Limit]) -> None:
    """Raise SettingsError if the limits do not allow so many devices."""
    least = min(limits, key=lambda limit: limit.devices)
    if devices > least.devices:
        message = f"this machine can run at most {least.devices:.0f} devices: {least.reason}"
        raise SettingsError([Problem(key="--devices", value=str(devices), message=message)])


def machine_limits() -> list[Limit]:
    """Return the limits of this machine, as they are now.

    A device needs a socket on either side, and a second pair while a connection takes over. TLS and
    MQTT on both sides took 600 kB per device in measurements.
    """
    files, memory, ports = allow_open_files(), available_memory(), _tcp_ports()
    return [
        Limit(files, 3, 100, f"each needs 3 open files, and the limit (ulimit -Hn) is {files:.0f}"),
        Limit(
            memory,
            0.7 * _MB,
            200 * _MB,
            f"each needs 0.7 MB of memory, and {memory / _MB:.0f} MB are available",
        ),
        Limit(
            ports,
            1.5,
            0,
            f"each needs 1 or 2 TCP ports, and net.ipv4.ip_local_port_range has {ports:.0f}",
        ),
    ]


def allow_open_files() -> float:
    """Raise the soft limit of open files to the hard one and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
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
