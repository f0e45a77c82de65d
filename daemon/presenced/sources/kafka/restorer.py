"""The thread that restores the fleets of partitions from the state topic.

The position is a record of the state, so that both belong together. The end of the state's
partition is read with open transactions included, though the markers that commit them may still be
on their way. A consumer that reads only what is committed gets there when the last of those
transactions has ended; later ones of a former owner are refused, because it is no member any more.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from presenced.sources.gaps import GapReason
from presenced.sources.kafka.end_offsets import EndOffsets
from presenced.sources.kafka.errors import PARTITION_END, TIMED_OUT
from presenced.sources.kafka.partition import (
    GLOBAL_POSITION_KEY,
    POSITION_KEY,
    TOPICS_KEY,
    OwnedPartition,
    Record,
)
from presenced.sources.kafka.topic_ids import TopicIds, decode_topic_ids
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.log import get_logger

_RECORDS_AT_ONCE = 1_000
_POLL_TIMEOUT = 0.02
_QUERY_TIMEOUT = 5.0
_WAITING_AFTER = 5.0
_NO_PROGRESS = 10.0

Done = Callable[[OwnedPartition, "Restored"], None]
Failed = Callable[[OwnedPartition, Exception], None]


class Restored(NamedTuple):
    """Where to go on in a restored partition.

    `position` is that of the state, or of the group; else that of the first event. `gap` is why
    events may be missing, None if none are. `global_position` is that in the global topic, None if
    none of its events are in the state. `topics` are those that there are, `written_for` those that
    the state was written for.
    """

    position: int
    gap: GapReason | None
    global_position: int | None
    topics: TopicIds
    written_for: TopicIds


class AbandonedError(Exception):
    """The partition has been revoked."""


class Positions:
    """The positions among the records of a state, by key; damaged ones are not found.

    `topics` are the topics that they are offsets in; None in the state of an earlier version.
    """

    def __init__(self) -> None:
        self.found: dict[bytes, int] = {}
        self.topics: TopicIds | None = None

    def among(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield all other records."""
        for key, value in records:
            if key == TOPICS_KEY:
                self.topics = decode_topic_ids(value or b"")
            elif key not in (POSITION_KEY, GLOBAL_POSITION_KEY):
                yield key, value
            elif value is not None and value.isdigit():
                self.found[key] = int(value)
            elif value is not None:
                self.found.pop(key, None)
                yield None, value  # counted as damaged


class Restorer:
    """Restores one partition after the other; `done` or `failed` is called in its thread.

    `config` is that of librdkafka, with the group whose positions count and with
    `isolation.level=read_committed`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: WorkerTopics,
        ends: EndOffsets,
        done: Done,
        failed: Failed,
    ) -> None:
        self._config = config
        self._topics = topics
        self._ends = ends
        self._done = done
        self._failed = failed
        self._waiting: queue.SimpleQueue[OwnedPartition | None] = queue.SimpleQueue()
        self._stopping = False
        self._log = get_logger("presenced.kafka")
        self._thread = threading.Thread(target=self._run, name="kafka restore", daemon=True)

    def start(self) -> None:
        """Begin to restore."""
        self._thread.start()

    def add(self, partition: OwnedPartition) -> None:
        """Restore a partition after those that wait; called from any thread."""
        self._waiting.put(partition)

    def stop(self) -> None:
        """Restore nothing more."""
        self._stopping = True
        self._waiting.put(None)

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        consumer: Consumer | None = None
        while (partition := self._waiting.get()) is not None:
            try:
                consumer = consumer or Consumer(dict(self._config))
                self._done(partition, self._restore(consumer, partition))
            except Exception as error:  # noqa: BLE001 - shown as a problem, and tried again
                self._failed(partition, error)
                # One whose broker was restarted may wait for the broker that it knew, for ever.
                _close(consumer)
                consumer = None
        _close(consumer)

    def _restore(self, consumer: Consumer, partition: OwnedPartition) -> Restored:
        began = time.monotonic()
        self._check(partition)
        assert partition.fleet is not None  # noqa: S101 - opened before it is added
        written = Positions()
        has_state = partition.fleet.restore(written.among(self._records(consumer, partition)))
        self._check(partition)
        # Asked for after the records, so that a topic that was created anew in between counts as
        # lost, and never as the whole state.
        topics = self._ends.topic_ids(self._topics)
        restored = self._restored(consumer, partition, written, topics, has_state=has_state)
        self._log.info(
            "partition restored",
            partition=partition.number,
            position=restored.position,
            seconds=round(time.monotonic() - began, 2),
        )
        return restored

    def _restored(
        self,
        consumer: Consumer,
        partition: OwnedPartition,
        written: Positions,
        topics: TopicIds,
        *,
        has_state: bool,
    ) -> Restored:
        """Return where to go on: behind the state, or at the first event if the state is lost."""
        written_for = written.topics or topics
        place = TopicPartition(self._topics.events, partition.number)
        first, _ = consumer.get_watermark_offsets(place, _QUERY_TIMEOUT)
        position = written.found.get(POSITION_KEY)
        global_position = written.found.get(GLOBAL_POSITION_KEY)
        gap: GapReason | None = None
        if position is None and (committed := self._committed(consumer, partition)) is not None:
            position = committed
            gap = None if has_state or committed <= first else GapReason.STATE_LOST
        elif position is None:
            gap = GapReason.OFFSET_OUT_OF_RANGE if has_state else None
        elif written_for.state != topics.state:
            gap = GapReason.STATE_LOST
        elif written_for.events != topics.events:
            gap = GapReason.OFFSET_OUT_OF_RANGE
        if gap is GapReason.STATE_LOST:
            self._log.error(
                "the state of a partition is lost, because its topic was deleted or created anew;"
                " it is rebuilt from the events that the topic of events still has",
                partition=partition.number,
                topic=self._topics.state,
            )
        if position is None or gap is not None:
            position = first
        if gap is GapReason.STATE_LOST or written_for.global_events != topics.global_events:
            gap = gap or (None if global_position is None else GapReason.OFFSET_OUT_OF_RANGE)
            global_position = None
        return Restored(position, gap, global_position, topics, written_for)

    def _committed(self, consumer: Consumer, partition: OwnedPartition) -> int | None:
        """Return the position of the group, None if it has none.

        While a transaction with another one is open, the library asks again until the time limit.
        Raises KafkaException.
        """
        place = TopicPartition(self._topics.events, partition.number)
        (answer,) = consumer.committed([place], _QUERY_TIMEOUT)
        if answer.error is not None:
            raise KafkaException(answer.error)
        return answer.offset if answer.offset >= 0 else None

    def _records(self, consumer: Consumer, partition: OwnedPartition) -> Iterator[Record]:
        """Yield the records of the state up to the end that it has now."""
        number = partition.number
        end = self._ends.of_partition(self._topics.state, number)
        consumer.assign([TopicPartition(self._topics.state, number, 0)])
        try:
            warn_at = time.monotonic() + _WAITING_AFTER
            reached, progress_at = -1, time.monotonic()
            while reached < end:
                self._check(partition)
                records = consumer.consume(_RECORDS_AT_ONCE, _POLL_TIMEOUT)
                if records:
                    progress_at = time.monotonic()
                elif time.monotonic() - progress_at > _NO_PROGRESS:
                    raise KafkaException(KafkaError(TIMED_OUT))
                for record in records:
                    error = record.error()
                    if error is None:
                        yield record.key(), record.value()
                    elif error.code() == PARTITION_END:
                        reached = record.offset() or 0
                        if reached < end and time.monotonic() >= warn_at:
                            self._log.info("waiting for a transaction to end", partition=number)
                            warn_at = time.monotonic() + _WAITING_AFTER
                    else:
                        raise KafkaException(error)
                time.sleep(0)  # other threads may have waited for the interpreter
        finally:
            consumer.unassign()

    def _check(self, partition: OwnedPartition) -> None:
        if partition.gone or self._stopping:
            raise AbandonedError


def _close(consumer: Consumer | None) -> None:
    if consumer is not None:
        consumer.close()
