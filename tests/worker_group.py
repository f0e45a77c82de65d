"""Workers of one consumer group as processes, on topics of their own."""

from pathlib import Path
from typing import Any

from kafka_config import settings_of
from kafka_fleet import Publisher, Worker
from kafka_server import Kafka


class WorkerGroup:
    """Makes workers; the first one creates the topics, with so many `partitions`.

    `section` is the section `kafka` of each worker, `sections` are others of its configuration.
    """

    def __init__(
        self, kafka: Kafka, directory: Path, partitions: int, **sections: dict[str, Any]
    ) -> None:
        self.kafka = kafka
        self.partitions = partitions
        self.section = settings_of(kafka)
        self.workers: list[Worker] = []
        self.publisher = Publisher(kafka, self.section["topic"])
        self._directory = directory
        self._sections = sections

    def prepare(self, **sections: dict[str, Any]) -> Worker:
        """Configure one more worker."""
        directory = self._directory / f"worker-{len(self.workers)}"
        made = self._sections | sections
        worker = Worker(directory, self.kafka, kafka=dict(self.section), **made)
        if not self.workers:
            worker.create_topics(self.partitions)
        self.workers.append(worker)
        return worker

    def start(self, **sections: dict[str, Any]) -> Worker:
        """Start one more worker."""
        worker = self.prepare(**sections)
        worker.start()
        return worker

    def stop(self) -> None:
        """Stop all workers."""
        for worker in self.workers:
            worker.stop()
