"""The thread that reads the two global topics: the state, and the events that it is made of.

The state, thing types and groups, is read whole by every worker, from its beginning and then on.
The events are read for the owner of one partition only, from the position that its transactions
have committed.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from presenced.events.message import Message
from presenced.sources.kafka.errors import OUT_OF_RANGE, PARTITION_END
from presenced.sources.kafka.messages import message_of
from presenced.sources.kafka.partition import OwnedPartition
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.log import get_logger
from presenced.system.loop import Clocks

_RECORDS_AT_ONCE = 200
_POLL_TIMEOUT = 0.2
_QUERY_TIMEOUT = 5.0
_RETRY_AFTER = 1.0
_APPLY_TIMEOUT = 0.1


@dataclass(slots=True)
class GlobalBatch:
    """What was read: records of the state by key, and events for `owner`.

    `is_complete` is whether the end of the state was reached. `position` is the offset behind the
    last event, or that of the end; None if neither is known.
    """

    owner: OwnedPartition | None
    state: dict[bytes, bytes | None] = field(default_factory=dict)
    is_complete: bool = False
    messages: list[Message] = field(default_factory=list)
    position: int | None = None


class GlobalReader:
    """Reads one batch after the other; `take` and `report` are called in its thread.

    `take` gets a batch, and what to call once it is applied: the next one follows then. `report`
    gets an error, and None after the next success. `config` is that of librdkafka, with the group
    whose positions count and with `isolation.level=read_committed`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: WorkerTopics,
        take: Callable[[GlobalBatch, Callable[[], None]], None],
        report: Callable[[KafkaError | None], None],
        clocks: Clocks,
    ) -> None:
        self._config = config
        self._events = TopicPartition(topics.global_events, 0)
        self._state = TopicPartition(topics.global_state, 0, OFFSET_BEGINNING)
        self._take = take
        self._report = report
        self._clocks = clocks
        self._owner: OwnedPartition | None = None
        self._followed: OwnedPartition | None = None
        self._has_failed = False
        self._stopping = threading.Event()
        self._log = get_logger("presenced.kafka")
        self._thread = threading.Thread(target=self._run, name="kafka global", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def follow(self, owner: OwnedPartition | None) -> None:
        """Read events for the owner, or none; called from any thread."""
        self._owner = owner

    def stop(self) -> None:
        """Read nothing more."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        consumer = Consumer(dict(self._config))
        consumer.incremental_assign([self._state])
        while not self._stopping.is_set():
            try:
                self._follow_owner(consumer)
                self._read(consumer)
            except KafkaException as error:
                self._fail(error.args[0])
            except Exception:  # noqa: BLE001 - what comes next must still be read
                self._log.exception("a record of a global topic could not be read")
        consumer.close()

    def _follow_owner(self, consumer: Consumer) -> None:
        owner = self._owner
        if owner is self._followed:
            return
        if self._followed is not None:
            consumer.incremental_unassign([self._events])
            self._followed = None
        if owner is not None:
            # No other worker can commit a position any more: the one of `owner` has been restored,
            # and both are committed together.
            (answer,) = consumer.committed([self._events], _QUERY_TIMEOUT)
            if answer.error is not None:
                raise KafkaException(answer.error)
            self._begin(consumer, answer.offset if answer.offset >= 0 else OFFSET_BEGINNING)
            self._followed = owner

    def _begin(self, consumer: Consumer, position: int) -> None:
        topic, partition = self._events.topic, self._events.partition
        consumer.incremental_assign([TopicPartition(topic, partition, position)])

    def _read(self, consumer: Consumer) -> None:
        batch = GlobalBatch(self._followed)
        wall = self._clocks.wall()
        offset = self._clocks.monotonic() - wall
        for record in consumer.consume(_RECORDS_AT_ONCE, _POLL_TIMEOUT):
            is_state = record.topic() == self._state.topic
            error = record.error()
            if error is not None:
                self._take_error(consumer, record, error, batch)
            elif is_state:
                self._add_state(record, batch)
            else:
                self._add_event(message_of(record, wall, offset), batch)
        if batch.state or batch.is_complete or batch.position is not None:
            self._succeed()
            self._hand_over(batch)

    def _add_state(self, record: Record, batch: GlobalBatch) -> None:
        if (key := record.key()) is not None:
            batch.state.pop(key, None)  # the last written comes last
            batch.state[key] = record.value()

    def _add_event(self, message: Message, batch: GlobalBatch) -> None:
        batch.position = message.offset + 1
        message.offset = -1  # it is no position in the partition of its owner
        batch.messages.append(message)

    def _take_error(
        self, consumer: Consumer, record: Record, error: KafkaError, batch: GlobalBatch
    ) -> None:
        is_state = record.topic() == self._state.topic
        if error.code() == PARTITION_END:
            if is_state:
                batch.is_complete = True
            else:
                batch.position = record.offset()
        elif error.code() == OUT_OF_RANGE:
            self._log.warning("records are missing; others follow", topic=record.topic())
            self._begin_anew(consumer, is_state=is_state)
        else:
            self._fail(error)
            # So that the end is reached again, or the error comes again.
            self._begin_anew(consumer, is_state=is_state)

    def _begin_anew(self, consumer: Consumer, *, is_state: bool) -> None:
        """Read from the beginning; that is harmless, because events order themselves."""
        consumer.incremental_unassign([self._state if is_state else self._events])
        if is_state:
            consumer.incremental_assign([self._state])
        else:
            self._begin(consumer, OFFSET_BEGINNING)

    def _hand_over(self, batch: GlobalBatch) -> None:
        applied = threading.Event()
        self._take(batch, applied.set)
        while not applied.wait(_APPLY_TIMEOUT) and not self._stopping.is_set():
            pass

    def _fail(self, error: KafkaError) -> None:
        if error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
            self._has_failed = True
            self._report(error)
        self._stopping.wait(_RETRY_AFTER)

    def _succeed(self) -> None:
        if self._has_failed:
            self._has_failed = False
            self._report(None)
