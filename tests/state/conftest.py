"""A small disk, and what fills it up."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers import missing


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    if os.geteuid() != 0:
        missing("mounting a small file system needs root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "presenced-test", str(directory)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"a small file system cannot be mounted: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def fill_up(small_disk: Path) -> Callable[[], Path]:
    """Takes all room of the small disk; the file that has it is returned."""

    def take() -> Path:
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                return ballast
        raise AssertionError

    return take
