"""How many devices the demo allows."""

import math
import resource
from pathlib import Path

import pytest

from presenced.settings import SettingsError
from presenced_emulator import limits
from presenced_emulator.limits import (
    Limit,
    allow_open_files,
    available_memory,
    check_devices,
    machine_limits,
)

FILES = Limit(300.9, "each needs 3 open files")
MEMORY = Limit(4900, "each needs 1 MB")


def test_the_tightest_limit_is_named() -> None:
    check_devices(300, [FILES, MEMORY])
    with pytest.raises(SettingsError) as error:
        check_devices(301, [MEMORY, FILES])
    [problem] = error.value.problems
    assert str(problem) == (
        "--devices = 301: this machine can run at most 300 devices: each needs 3 open files"
    )


def test_too_little_for_any_device() -> None:
    with pytest.raises(SettingsError, match="at most 0 devices"):
        check_devices(1, [FILES, Limit(-16.7, "none")])


def test_a_resource_that_nothing_limits_allows_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """inf // 3 is NaN: a system without /proc would have allowed no device at all."""
    for name in ("allow_open_files", "available_memory", "_tcp_ports"):
        monkeypatch.setattr(limits, name, lambda: math.inf)
    check_devices(10**6, machine_limits())


def test_this_machine_can_run_the_default_and_not_a_billion() -> None:
    check_devices(50, machine_limits())
    with pytest.raises(SettingsError):
        check_devices(10**9, machine_limits())


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        assert allow_open_files() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(("limit", "available"), [("max", 2000 * 1024), ("900000", 899_900)])
@pytest.mark.parametrize("limited", ["a/b", "a", ""])
def test_memory_of_the_machine_and_of_all_control_groups_above(
    tmp_path: Path, limit: str, available: float, limited: str
) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "meminfo", "MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
    write(proc / "self/cgroup", "0::/a/b\n")
    write(groups / limited / "memory.max", f"{limit}\n")
    write(groups / limited / "memory.stat", "anon 100\nfile 5000\n")
    assert available_memory(proc, groups) == available


def test_what_cannot_be_read_does_not_limit(tmp_path: Path) -> None:
    assert available_memory(tmp_path, tmp_path) == math.inf
