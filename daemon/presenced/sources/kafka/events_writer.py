"""Write records of our own into the topic of events, outside of transactions.

A snapshot takes minutes to hours, longer than a transaction may. Its rows need no proof of a
membership: each has the moment at which it was asked for, and is merged by that.
"""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from presenced.aws.snapshot import SnapshotTargetError
from presenced.sources.kafka.snapshot_records import HEADER, VERSION, Record, encode
from presenced.system.loop import in_thread

_TIMEOUT = 30.0
_HEADERS: list[tuple[str, str | bytes | None]] = [(HEADER, VERSION)]


class EventsWriter:
    """A producer of such records, made with the first one.

    `config` is that of librdkafka. `partitions` is how many the topic has. `explain` returns what
    an error of Kafka means.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        partitions: int,
        explain: Callable[[KafkaError], object],
    ) -> None:
        self.partitions = partitions
        self._config = {**config, "message.timeout.ms": round(_TIMEOUT * 1000)}
        self._topic = topic
        self._explain = explain
        self._producer: Producer | None = None
        self._failure: KafkaError | None = None

    def write_row(self, key: str, value: bytes) -> None:
        """Write a record into the partition of its key, soon. Raises SnapshotTargetError."""
        self._produce(value, key=key.encode())

    def write(self, record: Record, partition: int) -> None:
        """Write a record into a partition, soon. Raises SnapshotTargetError."""
        self._produce(encode(record), partition=partition)

    def write_everywhere(self, record: Record) -> None:
        """Write a record into each partition, soon. Raises SnapshotTargetError."""
        for partition in range(self.partitions):
            self.write(record, partition)

    async def flush(self) -> None:
        """Wait until the brokers have what has been written. Raises SnapshotTargetError."""
        producer = self._producer
        if producer is not None:
            left = await in_thread(lambda: producer.flush(_TIMEOUT + 5), name="kafka events")
            failure, self._failure = self._failure, None
            if failure is not None or left:
                raise self._error(failure or KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001

    def _produce(self, value: bytes, **place: Any) -> None:
        try:
            if self._producer is None:
                self._producer = Producer(dict(self._config))
            self._producer.produce(
                self._topic, value, headers=_HEADERS, on_delivery=self._note, **place
            )
        except BufferError:
            error = KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
            raise self._error(error) from None
        except KafkaException as error:
            raise self._error(error.args[0]) from None

    def _note(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failure = error

    def _error(self, error: KafkaError) -> SnapshotTargetError:
        return SnapshotTargetError(
            f"its records cannot be written into the topic {self._topic}: {self._explain(error)}"
        )
