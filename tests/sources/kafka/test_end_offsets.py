"""Questions for the ends of partitions, to brokers that do not answer."""

import socket
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException

from presenced.sources.kafka.end_offsets import EndOffsets
from waiting import wait_for


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a broker that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "{}:{}".format(*server.getsockname())


def test_each_question_is_answered_though_another_client_takes_over(silent: str) -> None:
    """After the error of one question the next one is asked by a new client."""
    ends = EndOffsets({"bootstrap.servers": silent, "log_level": 0}, timeout=1.0)
    answered: list[str] = []
    ends.ask("topic", [0], lambda *_: answered.append("first"))
    asked = threading.Event()

    def ask() -> None:
        asked.set()
        with pytest.raises(KafkaException):
            ends.of_partition("topic", 0)
        answered.append("second")

    threading.Timer(0.6, ask).start()
    wait_for(lambda: "first" in answered and asked.is_set(), what="an error")
    ends.ask("topic", [0], lambda *_: answered.append("third"))
    wait_for(lambda: sorted(answered) == ["first", "second", "third"], what="all answers")
    ends.close()
