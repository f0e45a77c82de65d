"""Fixtures that several tests share."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from brokers import Mosquitto, missing
from certificates import Certificates, make_certificates
from daemons import Daemon
from tinyproxies import Tinyproxy

# A busy machine makes no test fail: no time is asserted.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def broker_of(tmp_path: Path) -> Iterator[Any]:
    """Makes brokers that are stopped after the test; not started unless asked to."""
    made: list[Mosquitto] = []

    def make(*, start: bool = True, **settings: Any) -> Mosquitto:
        directory = tmp_path / f"broker-{len(made)}"
        directory.mkdir()
        made.append(Mosquitto(directory, **settings))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def proxy_of(tmp_path: Path) -> Iterator[Any]:
    """Makes HTTP proxies that run until the test ends."""
    made: list[Tinyproxy] = []

    def make(**settings: Any) -> Tinyproxy:
        made.append(Tinyproxy(tmp_path, **settings))
        return made[-1].start()

    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture
def daemon_of(tmp_path: Path) -> Iterator[Any]:
    """Makes daemons that are stopped after the test; not started unless asked to."""
    made: list[Daemon] = []

    def make(*, start: bool = True, **settings: Any) -> Daemon:
        directory = tmp_path / f"daemon-{len(made)}"
        directory.mkdir()
        made.append(Daemon(directory, **settings))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for daemon in made:
        daemon.stop()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user may reach. Each start of a pytest closes its own to other users."""
    with tempfile.TemporaryDirectory(prefix="presenced-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB: there is room for all that the state file's log takes by itself."""
    if os.geteuid() != 0:
        missing("mounting a small file system needs root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "presenced-test", str(directory)]
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
