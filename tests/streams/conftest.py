"""Servers that the tests of sources share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates import Certificates
from kafka_server import Kafka
from sqs_server import SqsServer

USERS = {"alice": "alice-secret", "bob": "bob-secret"}


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Kafka]:
    """An Apache Kafka with users and permissions that tests leave running."""
    server = Kafka(tmp_path_factory.mktemp("kafka"), certificates=certificates, users=USERS)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def kafka_of(tmp_path: Path) -> Iterator[Any]:
    """Makes brokers that a test may stop; not started unless asked to."""
    yield from _servers(tmp_path, Kafka)


@pytest.fixture(scope="session")
def sqs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqsServer]:
    """An SQS server that tests leave running."""
    server = SqsServer(tmp_path_factory.mktemp("sqs"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sqs_of(tmp_path: Path) -> Iterator[Any]:
    """Makes SQS servers that a test may stop; not started unless asked to."""
    yield from _servers(tmp_path, SqsServer)


def _servers(directory: Path, kind: Any) -> Iterator[Any]:
    made: list[Any] = []

    def make(*, start: bool = True, **settings: Any) -> Any:
        own = directory / f"{kind.__name__.lower()}-{len(made)}"
        own.mkdir()
        made.append(kind(own, **settings))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.kill()
