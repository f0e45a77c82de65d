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
from presenced.sources.kafka.errors import is_fatal, is_passing
from presenced.sources.kafka.global_topics import GlobalTopics
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.library_errors import text_of
from presenced.sources.kafka.partition import OwnedPartition, PartitionFleet, Stage
from presenced.sources.kafka.restorer import AbandonedError, Restored, Restorer
from presenced.sources.kafka.transactions import TransactionWriter, Work
from presenced.sources.kafka.worker_config import WorkerConfig
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

# The rows of one transaction are bounded, so that it takes no longer than a part of the lease.
_MAX_ROWS = 50_000
_SLICE = 0.003
_LOOP_TIMEOUT = 10.0
_HAND_OVER_TIMEOUT = 10.0
_STOP_TIMEOUT = 2.5
_RESTORE_AGAIN_AFTER = 2.0
# A new member gets no partition before another one has given it up, which takes some heartbeats.
_IDLE_AFTER = 15.0

T = TypeVar("T")


class Worker:
    """Owns partitions of the group, and restores, fills, writes and gives up their fleets.

    Create it in a thread: a client of Kafka may wait for a token that the event loop makes. From
    `start` to `stop` use it on the event loop. `open_partition` makes the fleet of a
    partition. `on_end` is called when the membership has ended by itself, for a fatal error.
    `owned` are the partitions by number. `errors` are messages of Kafka by what they are about.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        config: WorkerConfig,
        lease: Lease,
        open_partition: Callable[[int], PartitionFleet],
        on_end: Callable[[KafkaError | None], None],
        clocks: Clocks,
    ) -> None:
        self.owned: dict[int, OwnedPartition] = {}
        self.errors: dict[str, KafkaError] = {}
        self.has_assignment = False
        self.partitions_lost = 0
        self._spare_since: float | None = None
        self._lease = lease
        self._open = open_partition
        self._on_end = on_end
        self._clocks = clocks
        self._topic = config.topics.events
        self._stopping = False
        self._fatal: KafkaError | None = None
        self._next_to_take = 0
        self._is_asking = False
        self._ends = EndOffsets(config.admin)
        self._consumer = GroupConsumer(config.consumer, config.topics.events, self, clocks)
        self._restorer = Restorer(
            config.restorer,
            config.topics.events,
            config.topics.state,
            self._ends,
            self._restore_done,
            self._restore_failed,
        )
        self._config = config
        self.writer = self._new_writer()
        self._global = GlobalTopics(
            config.global_reader,
            config.topics,
            self.owned,
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
            self._consumer.membership,
            self,
            self._lease,
        )

    def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self._restorer.start()
        self._global.start()
        self.writer.start()
        self._consumer.start()

    async def stop(self) -> None:
        """Write what is left, give up all partitions and leave the group."""
        self._stopping = True
        self._consumer.stop()
        if not await in_thread(lambda: self._consumer.join(_STOP_TIMEOUT), name="kafka stop"):
            self._log.warning("the consumer group could not be left in time")
        self.end()

    def end(self) -> None:
        """Give up what is left of a membership that has ended."""
        self._stopping = True
        self.writer.stop()
        self._restorer.stop()
        self._global.stop()
        self._ends.close()
        self._close_partitions([*self.owned.values()])

    def held_at(self, number: int) -> float:
        """Return the monotonic time after which no deadline of a partition is due yet."""
        partition = self.owned.get(number)
        return -math.inf if partition is None else partition.marks.reached

    @property
    def lag(self) -> dict[int, int]:
        """How many records each partition is behind, of those of which that is known."""
        lags = {each.number: each.lag for each in self.owned.values()}
        return {number: lag for number, lag in lags.items() if lag is not None}

    @property
    def is_idle(self) -> bool:
        """Whether the worker is a member for whom the group has no partition, for 15 s now."""
        since = self._spare_since
        return since is not None and self._clocks.monotonic() - since >= _IDLE_AFTER

    def check(self) -> None:
        """Look how far the partitions are, and ask for their ends; called four times a second."""
        if self.owned or self._consumer.membership() is None:
            self._spare_since = None
        elif self._spare_since is None:
            self._spare_since = self._clocks.monotonic()
        if self.writer.is_stuck:
            self._replace_writer()
        if self._lease.is_valid:
            self._forget_passing_error()
        for partition in self.owned.values():
            if partition.is_running:
                partition.marks.advance(partition.position)
                self._show_if_caught_up(partition)
        # Without partitions, only to know whether the brokers answer.
        asking = [each.number for each in self.owned.values() if each.is_running] or [0]
        if not self._is_asking:
            asked_at = self._clocks.monotonic()
            self._ends.ask(
                self._topic,
                asking,
                lambda ends, error: self._call(self._take_ends, asked_at, ends, error),
            )
            self._is_asking = True

    def _forget_passing_error(self) -> None:
        if (error := self.errors.get("group")) and is_passing(error):
            del self.errors["group"]

    def _replace_writer(self) -> None:
        """Write with another producer, because the library hangs in a call."""
        self._log.warning("a transaction hangs; it is written again with a new producer")
        if (work := self.writer.abandon()) is not None:
            self._failed(work)
        counts, self.writer = self.writer.counts, self._new_writer()
        self.writer.counts = counts
        counts.failures["replaced"] += 1
        self.writer.start()

    def _take_ends(
        self, asked_at: float, ends: Mapping[int, int], error: KafkaException | None
    ) -> None:
        self._is_asking = False
        if error is None:
            self.errors.pop("ends", None)
            if not self.owned:
                self._forget_passing_error()
        else:
            self.errors["ends"] = error.args[0]
        # What a worker learns that may have been replaced meanwhile proves nothing.
        if self._lease.is_valid:
            for number, end in ends.items():
                partition = self.owned.get(number)
                if partition is not None and partition.is_running:
                    partition.marks.add(asked_at, end, partition.position)
                    now, is_drained = self._clocks.monotonic(), self._consumer.is_drained
                    if partition.has_stalled(now, is_drained=is_drained):
                        self._log.warning("partition is read again", partition=number)
                        self._consumer.begin_again(partition)
                    self._show_if_caught_up(partition)

    def _show_if_caught_up(self, partition: OwnedPartition) -> None:
        has_caught_up = partition.marks.reached > -math.inf and self._global.is_complete
        if partition.stage is Stage.CATCHING_UP and has_caught_up:
            partition.stage = Stage.SHOWN
            assert partition.fleet is not None  # noqa: S101 - it is running
            partition.fleet.show()
            self._log.info("partition has caught up", partition=partition.number)

    # GroupListener: called in the thread of the consumer

    def assigned(self, partitions: Sequence[OwnedPartition]) -> None:
        """Open partitions, and restore them."""
        self._call(self._open_partitions, partitions)

    def revoked(self, partitions: Sequence[OwnedPartition]) -> None:
        """Write what is left of partitions, and close them."""
        try:
            self._on_loop(self._stop_partitions(partitions))
            until = time.monotonic() + _HAND_OVER_TIMEOUT
            while not all(each.is_settled for each in partitions) and time.monotonic() < until:
                self.writer.attempt(until - time.monotonic())
        except TimeoutError:
            self._log.error("partitions given up without their last changes: presenced hangs")
        for each in partitions:
            each.gone = True
        self._call(self._close_partitions, partitions)

    def lost(self, partitions: Sequence[OwnedPartition]) -> None:
        """Close partitions without writing."""
        self._call(self._lose, partitions)

    def out_of_range(self, partition: OwnedPartition, position: int) -> None:
        """Note a gap."""
        self._call(self._note_gap, partition, position)

    def error(self, error: KafkaError, topic: str | None) -> None:
        """Note an error of the consumer."""
        self._call(self._note_error, error, topic)

    def ended(self) -> None:
        """End the membership."""
        if not self._stopping:
            self._call(lambda: self._on_end(self._fatal))

    # Ledger: called in the thread of the writer

    def take(self) -> Work:
        """Take what has changed, however long the loop is busy."""
        future = asyncio.run_coroutine_threadsafe(self._take(), self._loop)
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
        self._call(self._failed, work)

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

    def _open_partitions(self, partitions: Sequence[OwnedPartition]) -> None:
        self.has_assignment = True
        for each in partitions:
            each.fleet = self._open(each.number)
            self.owned[each.number] = each
            self._restorer.add(each)

    def _restore_done(self, partition: OwnedPartition, restored: Restored) -> None:
        self._call(self._restored, partition, restored)

    def _restored(self, partition: OwnedPartition, restored: Restored) -> None:
        self.errors.pop(f"partition {partition.number}", None)
        fleet = partition.fleet
        assert fleet is not None  # noqa: S101 - opened before it is restored
        if partition.gone or partition.stage is not Stage.RESTORING:
            fleet.close()
            return
        fleet.store.position = restored.position
        fleet.restored()
        if restored.is_gap:
            fleet.note_gap()
        partition.was_restored = True
        partition.stage = Stage.CATCHING_UP
        self._global.begin(partition)
        self._consumer.begin(partition, restored.position)

    def _restore_failed(self, partition: OwnedPartition, error: Exception) -> None:
        self._call(self._try_again, partition, error)

    def _try_again(self, partition: OwnedPartition, error: Exception) -> None:
        assert partition.fleet is not None  # noqa: S101 - opened before it is restored
        partition.fleet.close()
        if isinstance(error, AbandonedError) or partition.stage is not Stage.RESTORING:
            return
        if isinstance(error, KafkaException):
            self.errors[f"partition {partition.number}"] = error.args[0]
        self._throttled.error(
            "partition not restored; presenced tries again",
            key=partition.number,
            partition=partition.number,
            detail=text_of(error.args[0]) if isinstance(error, KafkaException) else None,
            exc_info=None if isinstance(error, KafkaException) else error,
        )
        self._loop.call_later(_RESTORE_AGAIN_AFTER, self._restore_again, partition)

    def _restore_again(self, partition: OwnedPartition) -> None:
        if not partition.gone and partition.stage is Stage.RESTORING:
            partition.fleet = self._open(partition.number)
            self._restorer.add(partition)

    async def _stop_partitions(self, partitions: Sequence[OwnedPartition]) -> None:
        for each in partitions:
            self._stop(each, Stage.REVOKED)

    def _stop(self, partition: OwnedPartition, stage: Stage) -> None:
        was_running = partition.is_running
        partition.stage = stage
        self._global.end(partition)
        if was_running and partition.fleet is not None:
            partition.fleet.stop()
        else:
            partition.is_settled = partition.gone = True

    def _lose(self, partitions: Sequence[OwnedPartition]) -> None:
        self.partitions_lost += len(partitions)
        self._log.warning(
            "partitions lost: the group had no word from this worker in time",
            partitions=[each.number for each in partitions],
        )
        self._close_partitions(partitions)

    def _close_partitions(self, partitions: Sequence[OwnedPartition]) -> None:
        for each in partitions:
            if each.is_running:
                self._stop(each, Stage.LOST)
            each.gone = True
            if self.owned.get(each.number) is each:
                del self.owned[each.number]
            self.errors.pop(f"partition {each.number}", None)
            if each.was_restored and each.fleet is not None:
                each.fleet.close()

    def _note_gap(self, partition: OwnedPartition, position: int) -> None:
        if partition.fleet is not None and partition.is_running:
            partition.fleet.inbox.drain()
            partition.fleet.store.position = position
            partition.marks.clear()
            partition.fleet.note_gap()
            self._consumer.begin(partition, position)

    def _note_error(self, error: KafkaError, topic: str | None) -> None:
        self.errors["group"] = error
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

    async def _take(self) -> Work:
        """Take the changes of one partition after the other, with other work in between."""
        until = time.perf_counter() + _SLICE
        changed, unchanged, rows = [], {}, 0
        global_position = None
        owned = list(self.owned.values())
        first = self._next_to_take % max(1, len(owned))
        for at, partition in enumerate(owned[first:] + owned[:first]):
            fleet = partition.fleet
            is_writable = partition.is_running or partition.stage is Stage.REVOKED
            if fleet is None or partition.gone or not is_writable:
                continue
            partition.has_last = partition.stage is Stage.REVOKED
            unwritten = fleet.store.take()
            if fleet.store.global_position is not None:
                global_position = fleet.store.global_position
            if unwritten is None:
                unchanged[partition.number] = fleet.store.position
                partition.is_settled = partition.has_last
                continue
            changed.append((partition, unwritten))
            rows += len(unwritten.records) + len(unwritten.global_records)
            if rows >= _MAX_ROWS:
                self._next_to_take = first + at + 1
                break
            if time.perf_counter() >= until:
                await asyncio.sleep(0)
                until = time.perf_counter() + _SLICE
        return Work(changed, unchanged, global_position)

    def _written(self, work: Work) -> None:
        self.errors.pop("group", None)
        for partition, unwritten in work.changed:
            if partition.fleet is not None:
                partition.fleet.store.written(unwritten)
                partition.is_settled = partition.has_last

    def _failed(self, work: Work) -> None:
        for partition, unwritten in work.changed:
            if partition.fleet is not None:
                partition.fleet.store.failed(unwritten)
