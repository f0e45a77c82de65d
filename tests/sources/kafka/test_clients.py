"""Clients of Kafka that cannot be made: that is reported, and tried again."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from presenced.sources.kafka.end_offsets import EndOffsets
from presenced.sources.kafka.global_reader import GlobalReader
from presenced.sources.kafka.partition import OwnedPartition
from presenced.sources.kafka.restorer import Restorer
from presenced.sources.kafka.worker_config import WorkerConfig, WorkerTopics
from presenced.system.loop import Clocks
from waiting import wait_for

CLOCKS = Clocks(lambda: 0.0, lambda: 0.0)
REFUSED: dict[str, Any] = {"group.id": "group", "no.such.key": 1}
TOPICS = WorkerTopics("events", "state", "global", "global-state")


@pytest.fixture
def failed() -> Iterator[list[Exception]]:
    """What a restorer reports whose client cannot be made, and that goes on."""
    reported: list[Exception] = []
    restorer = Restorer(
        REFUSED,
        TOPICS,
        EndOffsets(REFUSED),
        lambda *_: None,
        lambda _, error: reported.append(error),
    )
    restorer.start()
    restorer.add(OwnedPartition(0, CLOCKS))
    restorer.add(OwnedPartition(1, CLOCKS))
    yield reported
    restorer.stop()
    assert restorer.join(20)


def test_a_restorer_reports_each_partition(failed: list[Exception]) -> None:
    wait_for(lambda: len(failed) == 2, what="both reported")
    assert all(isinstance(error, KafkaException) for error in failed)


def test_a_reader_of_the_global_topics_reports_it_each_time() -> None:
    reported: list[KafkaError | None] = []
    clocks = Clocks(lambda: 0.0, lambda: 0.0)
    reader = GlobalReader(REFUSED, TOPICS, lambda *_: None, reported.append, clocks)
    reader.start()
    wait_for(lambda: len(reported) > 1, what="reported twice")
    reader.stop()
    assert reader.join(20)


def test_a_question_for_ends_is_answered_with_the_error() -> None:
    answered = threading.Event()
    answers: list[tuple[dict[int, int], KafkaException | None]] = []

    def answer(ends: dict[int, int], error: KafkaException | None) -> None:
        answers.append((ends, error))
        answered.set()

    ends = EndOffsets(REFUSED)
    for _ in range(2):
        answered.clear()
        ends.ask(TOPICS.events, [0, 1], answer)
        assert answered.wait(20)
    assert [each for each, _ in answers] == [{}, {}]
    assert all(isinstance(error, KafkaException) for _, error in answers)
    with pytest.raises(KafkaException):
        ends.of_partition(TOPICS.events, 0)


def test_a_configuration_prints_no_secret() -> None:
    secret = {"sasl.password": "secret-word", "ssl.key.pem": "secret-key"}
    config = WorkerConfig(secret, secret, secret, secret, secret, TOPICS)
    assert "secret" not in f"{config!r} {config}"
