"""Making a fleet known to the workers of a consumer group."""

import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from benchmarks.events import Event
from benchmarks.kafka_broker import KafkaBroker, record
from benchmarks.kafka_worker import KafkaWorker
from benchmarks.waiting import wait_for

__all__ = ["fill"]

_AT_ONCE = 100_000
_WITHIN = 300.0


def fill(directory: Path, broker: KafkaBroker, events: Iterable[Event], partitions: int) -> None:
    """Have a worker apply events and commit the effect; it has stopped then."""
    source = iter(events)
    with KafkaWorker(directory, broker, "filler", metrics={"per_client": False}) as worker:
        worker.wait_for_partitions(partitions)
        written = broker.committed()
        while batch := list(islice(source, _AT_ONCE)):
            now = round(time.time() * 1000)
            broker.produce(record(event, now) for event in batch)
            written += len(batch)
        wait_for(lambda: broker.committed() == written, "all events are committed", _WITHIN)
