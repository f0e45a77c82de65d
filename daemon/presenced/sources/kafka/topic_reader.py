"""The thread that reads whole topics beside the workers: in no group, and without any trace."""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from presenced.events.message import Message
from presenced.sources.kafka.end_offsets import EndOffsets
from presenced.sources.kafka.errors import OUT_OF_RANGE, PARTITION_END, TIMED_OUT
from presenced.sources.kafka.messages import message_of
from presenced.sources.kafka.time_order import Place, TimeOrder
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

_RECORDS_AT_ONCE = 1_000
_POLL_TIMEOUT = 0.1
_ASK_EVERY = 0.2
_QUERY_TIMEOUT = 10.0
_RETRY_AFTER = 1.0
_NO_PROGRESS = 10.0


class _Answer(NamedTuple):
    """The ends of a topic's partitions, and the last error of the others."""

    topic: str
    asked_at: float
    ends: Mapping[int, int]
    error: KafkaException | None


class TopicReader:
    """Reads partitions from positions on, and gives their messages to `put` in order of time.

    `put` is called in the reader's thread, and returns False while it takes none; more than
    `max_waiting` messages are not held back. Messages received at `until` (epoch seconds) or later
    are left out, and `finished` is called once all before are given out; None reads on until
    `stop`. `report` gets each error, with its topic if it is about one. `connection` and `reader`
    are configurations of librdkafka, of a client and of a consumer.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        reader: Mapping[str, Any],
        positions: Mapping[Place, int],
        put: Callable[[Sequence[Message]], bool],
        report: Callable[[KafkaError, str | None], None],
        finished: Callable[[], None],
        clocks: Clocks,
        *,
        until: float | None = None,
        max_waiting: int = 50_000,
    ) -> None:
        self._config = {**reader, "enable.partition.eof": True, "auto.offset.reset": "error"}
        self._order = TimeOrder(positions)
        self._put = put
        self._report = report
        self._finished = finished
        self._clocks = clocks
        self._until = until
        self._max_waiting = max_waiting
        self._partitions: defaultdict[str, list[int]] = defaultdict(list)
        for place in positions:
            self._partitions[place.topic].append(place.partition)
        self._ends = EndOffsets(connection)
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._asked: dict[str, float] = {}
        self._ready: list[Message] = []
        self._paused: set[Place] = set()
        self._progress_at = 0.0
        self._stopping = threading.Event()
        self._log = ThrottledLogger(get_logger("presenced.kafka"))
        self._thread = threading.Thread(target=self._run, name="kafka topics", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, timeout: float) -> list[Message]:
        """Read nothing more; return what has been held back so far, in order of time."""
        self._stopping.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return []
        return self._wanted([*self._ready, *self._order.drain()])

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = Consumer(self._config)
            try:
                self._assign(consumer)
                while not self._stopping.is_set():
                    self._read(consumer)
            except KafkaException as error:
                self._report(error.args[0], None)
                self._stopping.wait(_RETRY_AFTER)
            except Exception:  # noqa: BLE001 - what comes next must still be read
                self._log.exception("the topics are read on after an error in presenced")
                self._stopping.wait(_RETRY_AFTER)
            finally:
                consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        places = self._order.positions.items()
        consumer.assign([TopicPartition(*place, offset) for place, offset in places])
        self._paused.clear()
        self._progress_at = self._clocks.monotonic()

    def _read(self, consumer: Consumer) -> None:
        self._take(consumer, consumer.consume(_RECORDS_AT_ONCE, _POLL_TIMEOUT))
        self._take_answers()
        self._ask()
        self._ready = self._ready or self._order.take()
        if self._ready and self._put(self._wanted(self._ready)):
            is_over = not self._is_wanted(self._ready[-1])
            self._ready = []
            if is_over:
                self._finish()
        elif not self._ready and self._until is not None and self._order.reached >= self._end:
            self._finish()
        self._pause(consumer)

    @property
    def _end(self) -> float:
        """`until` on the monotonic clock."""
        return (self._until or 0.0) + self._clocks.monotonic() - self._clocks.wall()

    def _finish(self) -> None:
        self._stopping.set()
        self._finished()

    def _is_wanted(self, message: Message) -> bool:
        return self._until is None or message.received < self._until

    def _wanted(self, messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages if self._is_wanted(message)]

    def _take(self, consumer: Consumer, records: Sequence[Record]) -> None:
        wall, now = self._clocks.wall(), self._clocks.monotonic()
        messages: defaultdict[Place, list[Message]] = defaultdict(list)
        for record in records:
            place = Place(record.topic() or "", record.partition() or 0)
            error = record.error()
            if error is None:
                messages[place].append(message_of(record, wall, now - wall))
            elif error.code() == PARTITION_END:
                # It comes behind the last record, and also where transactions end.
                self._add(place, messages.pop(place, []), now)
                self._order.move(place, record.offset() or 0)
                self._progress_at = now
            elif error.code() == OUT_OF_RANGE:
                self._skip_deleted(consumer, place)
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                # librdkafka looks for a coordinator, which is of no use without a group.
                self._report(error, record.topic())
        for place, batch in messages.items():
            self._add(place, batch, now)

    def _add(self, place: Place, messages: list[Message], now: float) -> None:
        position = self._order.position(place)
        # librdkafka may deliver records again that were fetched before a pause.
        if new := [message for message in messages if message.offset >= position]:
            self._order.add(place, new, now)
            self._progress_at = now

    def _skip_deleted(self, consumer: Consumer, place: Place) -> None:
        """Go on with the oldest record there is. Raises KafkaException."""
        first, _ = consumer.get_watermark_offsets(TopicPartition(*place), _QUERY_TIMEOUT)
        self._log.warning(
            "records are missing: Kafka deleted them before they were read",
            key=place,
            topic=place.topic,
            partition=place.partition,
        )
        self._order.move(place, first)
        self._assign(consumer)

    def _ask(self) -> None:
        now = self._clocks.monotonic()
        for topic, numbers in self._partitions.items():
            # Each request is answered, if only by an error.
            if now >= self._asked.get(topic, now):
                self._asked[topic] = now + 2 * _QUERY_TIMEOUT
                self._ends.ask(topic, numbers, partial(self._note_answer, topic, now))

    def _note_answer(
        self, topic: str, asked_at: float, ends: Mapping[int, int], error: KafkaException | None
    ) -> None:
        self._answers.put(_Answer(topic, asked_at, ends, error))

    def _take_answers(self) -> None:
        """Take the ends that were asked for. Raises KafkaException if nothing leads to them."""
        while not self._answers.empty():
            topic, asked_at, ends, error = self._answers.get()
            self._asked[topic] = asked_at + _ASK_EVERY
            if error is not None:
                self._report(error.args[0], topic)
            for number, end in ends.items():
                place = Place(topic, number)
                self._order.add_end(place, asked_at, end)
                if self._order.position(place) < end and place not in self._paused:
                    self._expect_progress()

    def _expect_progress(self) -> None:
        """Raise KafkaException if no record has come for long.

        A consumer whose broker was restarted may wait for the broker that it knew, for ever.
        """
        if self._clocks.monotonic() - self._progress_at > _NO_PROGRESS:
            raise KafkaException(KafkaError(TIMED_OUT))

    def _pause(self, consumer: Consumer) -> None:
        """Fetch only partitions in which no message waits while too many do in the others."""
        busy = set(self._order.busy)
        paused = self._paused & busy if self._order.waiting > self._max_waiting / 2 else set()
        if self._order.waiting > self._max_waiting:
            paused = busy
        if resumed := self._paused - paused:
            consumer.resume([TopicPartition(*place) for place in resumed])
        if more := paused - self._paused:
            consumer.pause([TopicPartition(*place) for place in more])
        self._paused = paused
