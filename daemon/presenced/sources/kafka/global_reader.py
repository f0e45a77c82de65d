"""The thread that reads the two global topics: the state, and the events that it is made of.

The state, thing types and groups, is read whole by every worker, from its beginning and then on.
The events are read for the owner of one partition only, from the position that its state has.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from presenced.events.message import Message
from presenced.sources.kafka.errors import OUT_OF_RANGE, PARTITION_END, TIMED_OUT, TopicError
from presenced.sources.kafka.messages import message_of
from presenced.sources.kafka.partition import OwnedPartition
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

_RECORDS_AT_ONCE = 200
_POLL_TIMEOUT = 0.2
_RETRY_AFTER = 1.0
_APPLY_TIMEOUT = 0.1
_SILENT_AFTER = 15.0
_ANSWER_TIMEOUT = 10.0


class _UnreadableTopicError(Exception):
    def __init__(self, failure: TopicError) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(slots=True)
class GlobalBatch:
    """What was read: records of the state by key, and events for `owner`.

    `is_complete` is whether the end of the state was reached. `position` is the offset behind the
    last event, or that of the end; None if neither is known. `is_gap` is whether events are missing
    before those of this batch.
    """

    owner: OwnedPartition | None
    state: dict[bytes, bytes | None] = field(default_factory=dict)
    is_complete: bool = False
    messages: list[Message] = field(default_factory=list)
    position: int | None = None
    is_gap: bool = False


class GlobalReader:
    """Reads one batch after the other; `take` and `report` are called in its thread.

    `take` gets a batch, and what to call once it is applied: the next one follows then. `report`
    gets an error, and None after the next success. `config` is that of librdkafka, with
    `isolation.level=read_committed`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: WorkerTopics,
        take: Callable[[GlobalBatch, Callable[[], None]], None],
        report: Callable[[TopicError | None], None],
        clocks: Clocks,
    ) -> None:
        self._config = config
        self._events = topics.global_events
        self._state = topics.global_state
        self._take = take
        self._report = report
        self._clocks = clocks
        self._owner: OwnedPartition | None = None
        self._followed: OwnedPartition | None = None
        self._positions: dict[str, int] = {}  # of the topics that are being read
        self._heard_at: dict[str, float] = {}
        self._asked: set[str] = set()
        self._has_failed = False
        self._anew: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._log = get_logger("presenced.kafka")
        self._throttled = ThrottledLogger(self._log)
        self._thread = threading.Thread(target=self._run, name="kafka global", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def follow(self, owner: OwnedPartition | None) -> None:
        """Read events for the owner, which has been restored, or none; called from any thread."""
        self._owner = owner

    def read_anew(self, topic: str) -> None:
        """Read a topic from the first record on, because it is new; called from any thread."""
        self._anew.put(topic)

    def stop(self) -> None:
        """Read nothing more."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read_with(Consumer(dict(self._config)))
            except KafkaException as error:
                self._fail(error.args[0])
            except _UnreadableTopicError as error:
                self._fail(*error.failure)
            except Exception:  # noqa: BLE001 - what comes next must still be read
                self._throttled.exception("the global topics are read anew because of an error")
                self._stopping.wait(_RETRY_AFTER)

    def _read_with(self, consumer: Consumer) -> None:
        """Read both topics until `stop`. Raises KafkaException if that fails."""
        self._followed = None
        self._positions.clear()
        try:
            self._assign(consumer, self._state, OFFSET_BEGINNING)
            while not self._stopping.is_set():
                self._follow_owner(consumer)
                self._begin_anew(consumer)
                self._read(consumer)
                self._ask_the_silent(consumer)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer, topic: str, position: int) -> None:
        """Read a topic from a position on, whether or not it is being read."""
        place = TopicPartition(topic, 0, position)
        if topic in self._positions:
            consumer.incremental_unassign([place])
        consumer.incremental_assign([place])
        self._note(topic, position)

    def _note(self, topic: str, position: int) -> None:
        """Note that a topic is read up to a position, and that there has been a sign of it."""
        self._positions[topic] = position
        self._heard_at[topic] = self._clocks.monotonic()
        self._asked.discard(topic)

    def _follow_owner(self, consumer: Consumer) -> None:
        owner = self._owner
        if owner is self._followed:
            return
        if self._followed is not None:
            consumer.incremental_unassign([TopicPartition(self._events, 0)])
            del self._positions[self._events]
            self._followed = None
        if owner is not None and (fleet := owner.fleet) is not None:
            applied = fleet.store.global_position
            self._assign(consumer, self._events, OFFSET_BEGINNING if applied is None else applied)
            self._followed = owner

    def _begin_anew(self, consumer: Consumer) -> None:
        """Read topics that were created anew from their first record; a gap in the events first."""
        while not self._anew.empty():
            topic = self._anew.get()
            if topic == self._events:
                self._hand_over(GlobalBatch(self._followed, position=0, is_gap=True))
            if topic in self._positions:
                self._assign(consumer, topic, OFFSET_BEGINNING)

    def _ask_the_silent(self, consumer: Consumer) -> None:
        """Read topics again that were silent for long, so that at least their end comes.

        A consumer whose broker was restarted may wait for the broker that it knew, for ever. Raises
        KafkaException if nothing comes.
        """
        now = self._clocks.monotonic()
        for topic, position in [*self._positions.items()]:
            silent = now - self._heard_at[topic]
            if topic in self._asked and silent > _ANSWER_TIMEOUT:
                raise KafkaException(KafkaError(TIMED_OUT))
            if topic not in self._asked and silent > _SILENT_AFTER:
                self._assign(consumer, topic, position)
                self._asked.add(topic)

    def _read(self, consumer: Consumer) -> None:
        batch = GlobalBatch(self._followed)
        wall = self._clocks.wall()
        offset = self._clocks.monotonic() - wall
        for record in consumer.consume(_RECORDS_AT_ONCE, _POLL_TIMEOUT):
            topic, at = record.topic() or "", record.offset() or 0
            error = record.error()
            if error is not None and error.code() == OUT_OF_RANGE:
                self._log.warning("events of the global topic are missing", topic=topic)
                self._assign(consumer, topic, OFFSET_BEGINNING)
                batch.is_gap |= topic == self._events
            elif error is not None and error.code() == PARTITION_END:
                self._note(topic, at)
                self._add_end(topic, at, batch)
            elif error is not None:
                raise _UnreadableTopicError(TopicError(error, topic))
            else:
                self._note(topic, at + 1)
                if topic == self._state:
                    self._add_state(record, batch)
                else:
                    self._add_event(message_of(record, wall, offset), batch)
        if batch.state or batch.is_complete or batch.is_gap or batch.position is not None:
            self._succeed()
            self._hand_over(batch)

    def _add_end(self, topic: str, position: int, batch: GlobalBatch) -> None:
        if topic == self._state:
            batch.is_complete = True
        else:
            batch.position = position

    def _add_state(self, record: Record, batch: GlobalBatch) -> None:
        if (key := record.key()) is not None:
            batch.state.pop(key, None)  # the last written comes last
            batch.state[key] = record.value()

    def _add_event(self, message: Message, batch: GlobalBatch) -> None:
        batch.position = message.offset + 1
        message.offset = -1  # it is no position in the partition of its owner
        batch.messages.append(message)

    def _hand_over(self, batch: GlobalBatch) -> None:
        applied = threading.Event()
        self._take(batch, applied.set)
        while not applied.wait(_APPLY_TIMEOUT):
            if self._stopping.is_set():
                return

    def _fail(self, error: KafkaError, topic: str | None = None) -> None:
        self._has_failed = True
        self._report(TopicError(error, topic))
        self._stopping.wait(_RETRY_AFTER)

    def _succeed(self) -> None:
        if self._has_failed:
            self._has_failed = False
            self._report(None)
