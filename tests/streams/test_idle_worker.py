"""A worker for whom the group has no partition stands by: it is ready, and says so."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafka_config import settings_of
from kafka_fleet import Worker
from kafka_server import Kafka
from waiting import wait_for


@pytest.fixture
def workers(kafka_of: Callable[[], Kafka], tmp_path: Path) -> Iterator[tuple[Kafka, list[Worker]]]:
    """Two workers for one partition, and their broker."""
    kafka = kafka_of()
    section = settings_of(kafka)
    made = [Worker(tmp_path / f"worker-{n}", kafka, kafka=dict(section)) for n in range(2)]
    made[0].create_topics(1)
    yield kafka, made
    for worker in made:
        worker.stop()


def owned(worker: Worker) -> list[int] | None:
    """The partitions that the API answers for; None if it does not answer."""
    status, text = worker.get("/api/v1/summary")
    return json.loads(text)["partitions"]["owned"] if status == 200 else None


def test_a_worker_without_a_partition_is_ready_and_takes_over(
    workers: tuple[Kafka, list[Worker]],
) -> None:
    kafka, (first, spare) = workers
    first.start()
    first.wait_until_ready()
    spare.start()
    wait_for(lambda: spare.get("/-/ready")[0] == 200, 60, "the spare worker is ready")
    assert "ready: idle: other workers have all 1 partitions" in spare.get("/-/ready")[1]
    assert owned(spare) == []
    assert owned(first) == [0]
    kafka.kill()
    wait_for(lambda: spare.get("/-/ready")[0] == 503, 60, "the spare worker misses the broker")
    kafka.start()
    wait_for(lambda: spare.get("/-/ready")[0] == 200, 90, "the spare worker is ready again")
    first.stop()
    wait_for(lambda: owned(spare) == [0], 60, "the spare worker has taken over")
    assert "has 1 of 1 partitions" in spare.get("/-/ready")[1]
