"""Write records of our own into the topic of events, outside of transactions.

A snapshot takes minutes to hours, longer than a transaction may. Its rows need no proof of a
membership: each has the moment at which it was asked for, and is merged by that.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from presenced.aws.snapshot import SnapshotTargetError
from presenced.sources.kafka.library_errors import error_of
from presenced.sources.kafka.snapshot_records import HEADER, VERSION, Record, encode
from presenced.system.loop import in_thread

_TIMEOUT = 30.0
_HEADERS: list[tuple[str, str | bytes | None]] = [(HEADER, VERSION)]


class EventsWriter:
    """A producer of such records, made with the first one.

    `config` is that of librdkafka. `partitions` is how many the topic has. `explain` returns what
    an error of Kafka about a topic means. All methods that write raise SnapshotTargetError. The
    producer is made, used and dropped in threads: the first may wait for a token that the event
    loop makes, the last for connections to end.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        partitions: int,
        explain: Callable[[KafkaError, str], object],
    ) -> None:
        self.partitions = partitions
        self._config = {**config, "message.timeout.ms": round(_TIMEOUT * 1000)}
        self._topic = topic
        self._explain = explain
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    async def write_rows(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Write records into the partitions of their keys, and wait until the brokers have them."""
        await self._write([_Unwritten(value, {"key": key.encode()}) for key, value in rows])

    async def write(self, record: Record, partition: int) -> None:
        """Write a record into a partition, and wait until the brokers have it."""
        await self._write([_Unwritten(encode(record), {"partition": partition})])

    async def write_everywhere(self, record: Record) -> None:
        """Write a record into each partition, and wait until the brokers have all of them."""
        value = encode(record)
        await self._write(
            [_Unwritten(value, {"partition": number}) for number in range(self.partitions)]
        )

    def close(self) -> None:
        """Drop the producer."""
        threading.Thread(target=self._drop, name="kafka events", daemon=True).start()

    def _drop(self) -> None:
        with self._lock:
            self._producer = None

    async def _write(self, records: list["_Unwritten"]) -> None:
        try:
            await in_thread(lambda: self._produce(records), name="kafka events")
        except KafkaException as raised:
            what = self._explain(error_of(raised), self._topic)
            raise SnapshotTargetError(
                f"its records cannot be written into the topic {self._topic}: {what}"
            ) from None

    def _produce(self, records: list["_Unwritten"]) -> None:
        """Write records and wait for the brokers. Raises KafkaException."""
        with self._lock:
            if self._producer is None:
                self._producer = Producer(dict(self._config))
            producer = self._producer
        failures: list[KafkaError] = []

        def note(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failures.append(error)

        try:
            for value, place in records:
                producer.produce(self._topic, value, headers=_HEADERS, on_delivery=note, **place)
        except BufferError:
            raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from None  # noqa: SLF001
        if producer.flush(_TIMEOUT + 5):
            failures.append(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
        if failures:
            raise KafkaException(failures[0])


class _Unwritten(NamedTuple):
    """A value and what tells its partition: a number, or a key."""

    value: bytes
    place: dict[str, Any]
