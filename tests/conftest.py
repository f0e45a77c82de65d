"""Fixtures that several tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from brokers import Mosquitto
from certificates import Certificates, make_certificates
from daemons import Daemon


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
