"""One membership of the consumer group, from joining to leaving."""

import asyncio
import concurrent.futures
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from presenced.sources.kafka.consumer import GroupConsumer
from presenced.sources.kafka.end_offsets import EndOffsets
from presenced.sources.kafka.errors import TopicError, is_fatal, is_passing
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.library_errors import text_of
from presenced.sources.kafka.owned_partitions import OwnedPartitions
from presenced.sources.kafka.partition import OwnedPartition, PartitionFleet, Stage
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.sources.kafka.transactions import TransactionCounts, TransactionWriter, Work
from presenced.sources.kafka.worker_config import WorkerConfig
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

# More than the event loop takes in one turn.
_BACKLOG = 500
_LOOP_TIMEOUT = 10.0
_HAND_OVER_TIMEOUT = 10.0
# The group waits for the answer, and a process that stops has 2.5 s.
_TOPICS_TIMEOUT = 2.0
_STOP_TIMEOUT = 2.5
# A new member gets no partition before another one has given it up, which takes some heartbeats.
_IDLE_AFTER = 15.0

T = TypeVar("T")


class Worker:
    """A member of the group: polls it, writes what changes, and asks how far its partitions are.

    Create it in a thread: a client of Kafka may wait for a token that the event loop makes. From
    `start` to `stop` use it on the event loop. `open_partition` makes the fleet of a partition.
    `on_end` is called when the membership has ended by itself, for a fatal error. `errors` are
    errors of Kafka by what they are about. While `may_write` is false, nothing is written, and
    the lease ends.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        config: WorkerConfig,
        lease: Lease,
        counts: TransactionCounts,
        open_partition: Callable[[int], PartitionFleet],
        on_end: Callable[[KafkaError | None], None],
        clocks: Clocks,
    ) -> None:
        self.errors: dict[str, TopicError] = {}
        self.has_assignment = False
        self.may_write = True
        self._spare_since: float | None = None
        self._config = config
        self._lease = lease
        self._counts = counts
        self._on_end = on_end
        self._clocks = clocks
        self._stopping = False
        self._fatal: KafkaError | None = None
        self._is_asking = False
        self._ends = EndOffsets(config.admin)
        self._consumer = GroupConsumer(config.consumer, config.topics.events, self, clocks)
        self.writer = self._new_writer()
        self.partitions = OwnedPartitions(
            config,
            self._ends,
            open_partition,
            self._consumer,
            self.errors,
            self._call,
            clocks,
        )
        self._log = get_logger("presenced.kafka")
        self._throttled = ThrottledLogger(self._log)

    def _new_writer(self) -> TransactionWriter:
        config = self._config
        return TransactionWriter(
            config.producer,
            config.topics,
            lambda: self._consumer.membership() if self.may_write else None,
            self,
            self._lease,
            self._counts,
        )

    def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self.partitions.start()
        self.writer.start()
        self._consumer.start()

    async def stop(self) -> None:
        """Write what is left, give up all partitions and leave the group."""
        self._stopping = True
        self._consumer.stop()
        try:
            if not await in_thread(lambda: self._consumer.join(_STOP_TIMEOUT), name="kafka stop"):
                self._log.warning("the consumer group could not be left in time")
        finally:
            self.end()

    def end(self) -> None:
        """Give up what is left of a membership that has ended."""
        self._stopping = True
        self.writer.stop()
        self.partitions.end()
        self._ends.close()

    def held_at(self, number: int) -> float:
        """Return the monotonic time after which no deadline of a partition is due yet."""
        partition = self.partitions.owned.get(number)
        return -math.inf if partition is None else partition.marks.reached

    @property
    def is_idle(self) -> bool:
        """Whether the worker is a member for whom the group has no partition, for 15 s now."""
        since = self._spare_since
        return since is not None and self._clocks.monotonic() - since >= _IDLE_AFTER

    def check(self) -> None:
        """Look how far the partitions are, and ask for their ends; called four times a second."""
        if self.partitions.owned or self._consumer.membership() is None:
            self._spare_since = None
        elif self._spare_since is None:
            self._spare_since = self._clocks.monotonic()
        if self.writer.is_stuck:
            self._replace_writer()
        if self._lease.is_valid:
            self._forget_passing_error()
        running = [each for each in self.partitions.owned.values() if each.is_running]
        for partition in running:
            partition.marks.advance(partition.position)
            self.partitions.show_if_caught_up(partition)
        if not self._is_asking:
            # Without partitions, only to know whether the brokers answer.
            self._ask_for_ends([each.number for each in running] or [0])

    def _forget_passing_error(self) -> None:
        group = self.errors.get("consumer group")
        if group is not None and is_passing(group.error):
            del self.errors["consumer group"]

    def _replace_writer(self) -> None:
        """Write with another producer, because the library hangs in a call."""
        self._log.warning("a transaction hangs; it is written again with a new producer")
        if (work := self.writer.abandon()) is not None:
            self.partitions.failed(work)
        self.writer = self._new_writer()
        self._counts.failures["replaced"] += 1
        self.writer.start()

    def _ask_for_ends(self, numbers: Sequence[int]) -> None:
        asked_at = self._clocks.monotonic()
        self._ends.ask(
            self._config.topics.events,
            numbers,
            lambda ends, error: self._call(self._take_ends, asked_at, ends, error),
        )
        self._is_asking = True

    def _take_ends(
        self, asked_at: float, ends: Mapping[int, int], error: KafkaException | None
    ) -> None:
        self._is_asking = False
        if error is None:
            self.errors.pop("end offsets", None)
            if not self.partitions.owned:
                self._forget_passing_error()
        else:
            self.errors["end offsets"] = TopicError(error.args[0], self._config.topics.events)
        # What a worker learns that may have been replaced meanwhile proves nothing.
        if self._lease.is_valid:
            for number, end in ends.items():
                partition = self.partitions.owned.get(number)
                if partition is not None and partition.is_running:
                    self._take_end(partition, asked_at, end)

    def _take_end(self, partition: OwnedPartition, asked_at: float, end: int) -> None:
        if end < partition.position:
            # Of another topic than the one that was read, or of a broker that lags behind: it does
            # not prove that all has been applied.
            return
        partition.marks.add(asked_at, end, partition.position)
        now, is_drained = self._clocks.monotonic(), self._consumer.is_drained
        if partition.has_stalled(now, is_drained=is_drained):
            self._log.warning("partition is read again", partition=partition.number)
            self._consumer.begin_again(partition)
        self.partitions.show_if_caught_up(partition)

    # GroupListener: called in the thread of the consumer

    def assigned(self, partitions: Sequence[OwnedPartition]) -> None:
        """Open partitions, and restore them."""
        self._call(self._open, partitions)

    def revoked(self, partitions: Sequence[OwnedPartition]) -> None:
        """Write what is left of partitions, and close them, whatever goes wrong before."""
        try:
            self._on_loop(self._stop_partitions(partitions, self._topics_now()))
            until = time.monotonic() + _HAND_OVER_TIMEOUT
            while (
                self.may_write
                and time.monotonic() < until
                and not all(each.is_settled or each.gone for each in partitions)
            ):
                self.writer.attempt(until - time.monotonic())
        except TimeoutError:
            self._log.error("partitions given up without their last changes: presenced hangs")
        finally:
            for each in partitions:
                each.gone = True
            self._call(self.partitions.close, partitions)

    def _topics_now(self) -> TopicIds | None:
        """Return which topics there are, None if that is not known; the next owner uses these."""
        try:
            return self._ends.topic_ids(self._config.topics, _TOPICS_TIMEOUT)
        except KafkaException:
            return None

    def lost(self, partitions: Sequence[OwnedPartition]) -> None:
        """Close partitions without writing."""
        self._call(self._lose, partitions)

    def out_of_range(self, partition: OwnedPartition, position: int) -> None:
        """Note a gap."""
        self._call(self.partitions.note_gap, partition, position)

    def error(self, error: KafkaError, topic: str | None) -> None:
        """Note an error of the consumer."""
        self._call(self._note_error, error, topic)

    def ended(self) -> None:
        """End the membership."""
        if not self._stopping:
            self._call(lambda: self._on_end(self._fatal))

    # Ledger: called in the thread of the writer

    @property
    def has_backlog(self) -> bool:
        """Whether more events wait than the event loop takes in one turn."""
        return self._consumer.backlog > _BACKLOG

    def take(self) -> Work:
        """Take what has changed, however long the loop is busy."""
        future = asyncio.run_coroutine_threadsafe(self.partitions.take(), self._loop)
        while True:
            try:
                return future.result(_LOOP_TIMEOUT)
            except concurrent.futures.TimeoutError:
                if self._stopping:
                    raise

    def written(self, work: Work) -> None:
        """Take note of a commit."""
        self._call(self._written, work)

    def failed(self, work: Work) -> None:
        """Take note of an abort."""
        self._call(self.partitions.failed, work)

    # On the event loop

    def _call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop, soon, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in another thread for work on the loop. Raises TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(_LOOP_TIMEOUT)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    def _open(self, partitions: Sequence[OwnedPartition]) -> None:
        self.has_assignment = True
        self.partitions.open(partitions)

    async def _stop_partitions(
        self, partitions: Sequence[OwnedPartition], topics: TopicIds | None
    ) -> None:
        for each in partitions:
            if topics is not None:
                self.partitions.use_state_topics(each, topics)
            self.partitions.stop(each, Stage.REVOKED)

    def _lose(self, partitions: Sequence[OwnedPartition]) -> None:
        self._log.warning(
            "partitions lost: the group had no word from this worker in time",
            partitions=[each.number for each in partitions],
        )
        self.partitions.close(partitions)

    def _note_error(self, error: KafkaError, topic: str | None) -> None:
        self.errors["consumer group"] = TopicError(error, topic)
        if is_fatal(error):
            self._fatal = error
            self._consumer.stop()
            return
        self._throttled.warning(
            "Kafka reports an error",
            key=error.code(),
            error=error.name(),
            topic=topic,
            detail=text_of(error),
        )

    def _written(self, work: Work) -> None:
        self.errors.pop("consumer group", None)
        self.partitions.written(work)
