"""What happens to the partitions that a worker owns, from assignment to revocation."""

import asyncio
import math
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import KafkaException

from presenced.sources.gaps import GapReason
from presenced.sources.kafka.consumer import GroupConsumer
from presenced.sources.kafka.end_offsets import EndOffsets
from presenced.sources.kafka.errors import TopicError
from presenced.sources.kafka.global_topics import GlobalTopics
from presenced.sources.kafka.library_errors import text_of
from presenced.sources.kafka.partition import (
    GLOBAL_OWNER,
    TOPICS_KEY,
    OwnedPartition,
    PartitionFleet,
    Stage,
)
from presenced.sources.kafka.restorer import AbandonedError, Restored, Restorer
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.sources.kafka.transactions import Work
from presenced.sources.kafka.worker_config import WorkerConfig
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

# The rows of one transaction are bounded, so that it takes no longer than a part of the lease.
_MAX_ROWS = 50_000
_SLICE = 0.003
_RESTORE_AGAIN_AFTER = 2.0


class OwnedPartitions:
    """Opens, restores, shows, stops and closes partitions; used on the event loop.

    `open_partition` makes the fleet of a partition, and `consumer` delivers its records. `call`
    calls a function on the loop from another thread. `owned` are the partitions by number. `errors`
    are those of the worker, by what they are about.
    """

    def __init__(
        self,
        config: WorkerConfig,
        ends: EndOffsets,
        open_partition: Callable[[int], PartitionFleet],
        consumer: GroupConsumer,
        errors: dict[str, TopicError],
        call: Callable[..., None],
        clocks: Clocks,
    ) -> None:
        self.owned: dict[int, OwnedPartition] = {}
        self._open = open_partition
        self._consumer = consumer
        self._errors = errors
        self._topics = config.topics
        self._taken_last = -1
        self._restorer = Restorer(
            config.restorer,
            config.topics,
            ends,
            lambda partition, restored: call(self._restored, partition, restored),
            lambda partition, error: call(self._restore_failed, partition, error),
        )
        self._global = GlobalTopics(config.global_reader, config.topics, errors, call, clocks)
        self._log = get_logger("presenced.kafka")
        self._throttled = ThrottledLogger(self._log)

    @property
    def lag(self) -> dict[int, int]:
        """How many records each partition is behind, of those of which that is known."""
        lags = {each.number: each.lag for each in self.owned.values()}
        return {number: lag for number, lag in lags.items() if lag is not None}

    def start(self) -> None:
        """Begin to restore partitions, and to read the global topics."""
        self._restorer.start()
        self._global.start()

    def end(self) -> None:
        """Close all partitions, without writing."""
        self._restorer.stop()
        self._global.stop()
        self.close([*self.owned.values()])

    def open(self, partitions: Sequence[OwnedPartition]) -> None:
        """Open partitions, and restore them."""
        for each in partitions:
            each.fleet = self._open(each.number)
            self.owned[each.number] = each
            self._restorer.add(each)

    def _restored(self, partition: OwnedPartition, restored: Restored) -> None:
        self._errors.pop(_subject(partition), None)
        fleet = partition.fleet
        assert fleet is not None  # noqa: S101 - opened before it is restored
        if partition.gone or partition.stage is not Stage.RESTORING:
            fleet.close()
            partition.fleet = None
            return
        fleet.store.position = restored.position
        fleet.store.global_position = restored.global_position
        fleet.restored()
        if restored.gap is not None:
            fleet.note_gap(restored.gap)
        partition.topics = restored.written_for._replace(
            events=restored.topics.events, global_events=restored.topics.global_events
        )
        self.use_state_topics(partition, restored.topics)
        partition.was_restored = True
        partition.stage = Stage.CATCHING_UP
        self._global.begin(partition)
        self._consumer.begin(partition, restored.position)

    def _restore_failed(self, partition: OwnedPartition, error: Exception) -> None:
        assert partition.fleet is not None  # noqa: S101 - opened before it is restored
        partition.fleet.close()
        partition.fleet = None
        if isinstance(error, AbandonedError) or partition.stage is not Stage.RESTORING:
            return
        if isinstance(error, KafkaException):
            self._errors[_subject(partition)] = TopicError(error.args[0], self._topics.state)
        self._throttled.error(
            "partition not restored; presenced tries again",
            key=partition.number,
            partition=partition.number,
            detail=text_of(error.args[0]) if isinstance(error, KafkaException) else None,
            exc_info=None if isinstance(error, KafkaException) else error,
        )
        loop = asyncio.get_running_loop()
        loop.call_later(_RESTORE_AGAIN_AFTER, self._restore_again, partition)

    def _restore_again(self, partition: OwnedPartition) -> None:
        if not partition.gone and partition.stage is Stage.RESTORING:
            partition.fleet = self._open(partition.number)
            self._restorer.add(partition)

    def show_if_caught_up(self, partition: OwnedPartition) -> None:
        """Show a partition once all that had happened before its assignment has been applied."""
        if partition.stage is not Stage.CATCHING_UP:
            return
        if partition.marks.reached > -math.inf and self._global.is_complete_for(partition):
            partition.stage = Stage.SHOWN
            assert partition.fleet is not None  # noqa: S101 - it is running
            partition.fleet.show()
            self._log.info("partition has caught up", partition=partition.number)

    def note_gap(self, partition: OwnedPartition, position: int) -> None:
        """Take note that events before the offset `position` are missing."""
        if partition.fleet is not None and partition.is_running:
            partition.fleet.inbox.drain()
            partition.fleet.store.position = position
            partition.marks.clear()
            partition.fleet.note_gap(GapReason.OFFSET_OUT_OF_RANGE)
            partition.take_over("events")
            self._consumer.begin(partition, position)

    def use_topics(self, topics: TopicIds, former: TopicIds) -> None:
        """Take note of which topics there are now; `former` were there before.

        In memory is what the state topics had. What the topics of events had is lost.
        """
        changed: set[str] = set()
        for partition in [*self.owned.values()]:
            before = partition.topics
            if before is None or not partition.is_running:
                continue
            changed |= topics.differing(before)
            self.use_state_topics(partition, topics)
            if topics.events != before.events:
                self._consumer.read_anew(partition)
            if topics.global_events != before.global_events and partition.number == GLOBAL_OWNER:
                self._global.read_anew(self._topics.global_events)
        if topics.global_state != former.global_state:
            self._global.read_anew(self._topics.global_state)
        if changed:
            self._log.warning(
                "topics were deleted and created anew: their state is written again from memory,"
                " their events are read from the first",
                topics=sorted(changed),
            )

    def use_state_topics(self, partition: OwnedPartition, topics: TopicIds) -> None:
        """Take over the state topics; write the whole state of a partition if one for it is new.

        Topics of events are taken over when they are read from the first event on: until then
        positions are those in the former ones.
        """
        before, fleet = partition.topics, partition.fleet
        if before is None or fleet is None:
            return
        partition.found = topics
        partition.take_over("state", "global_state")
        is_new = topics.state != before.state
        if partition.number == GLOBAL_OWNER:
            is_new |= topics.global_state != before.global_state
        else:
            partition.take_over("global_events")
        if is_new:
            fleet.write_whole()

    def stop(self, partition: OwnedPartition, stage: Stage) -> None:
        """Apply and show nothing more of a partition, which is `stage` from now on."""
        was_running = partition.is_running
        partition.stage = stage
        self._global.end(partition)
        if was_running and partition.fleet is not None:
            partition.fleet.stop()
        else:
            partition.is_settled = partition.gone = True

    def close(self, partitions: Sequence[OwnedPartition]) -> None:
        """Give up partitions; what has not been written is another worker's to do again."""
        for each in partitions:
            if each.is_running:
                self.stop(each, Stage.LOST)
            each.gone = True
            if self.owned.get(each.number) is each:
                del self.owned[each.number]
            self._errors.pop(_subject(each), None)
            if each.was_restored and each.fleet is not None:
                each.fleet.close()
                each.fleet = None

    async def take(self) -> Work:
        """Take the changes of one partition after the other, with other work in between."""
        until = time.perf_counter() + _SLICE
        changed, unchanged, rows = [], {}, 0
        global_position = None
        for partition, fleet in self._writable():
            partition.has_last = partition.stage is Stage.REVOKED
            unwritten = fleet.store.take()
            if fleet.store.global_position is not None:
                global_position = fleet.store.global_position
            if unwritten is None:
                unchanged[partition.number] = fleet.store.position
                partition.is_settled = partition.has_last
                continue
            if partition.topics is not None:
                unwritten.records[TOPICS_KEY] = partition.topics.encode()
            changed.append((partition, unwritten))
            rows += len(unwritten.records) + len(unwritten.global_records)
            if rows >= _MAX_ROWS:
                self._taken_last = partition.number
                break
            if time.perf_counter() >= until:
                await asyncio.sleep(0)
                until = time.perf_counter() + _SLICE
        return Work(changed, unchanged, global_position)

    def _writable(self) -> Iterator[tuple[OwnedPartition, PartitionFleet]]:
        """Yield what may be written, first the partitions that a full transaction has left."""
        numbers = sorted(self.owned)
        first = bisect(numbers, self._taken_last)
        for number in numbers[first:] + numbers[:first]:
            partition = self.owned.get(number)
            if partition is None or partition.fleet is None or partition.gone:
                continue
            if partition.is_running or partition.stage is Stage.REVOKED:
                yield partition, partition.fleet

    def written(self, work: Work) -> None:
        """Take note of a commit."""
        for partition, unwritten in work.changed:
            if partition.fleet is not None:
                partition.fleet.store.written(unwritten)
                partition.is_settled = partition.has_last

    def failed(self, work: Work) -> None:
        """Take note of an abort."""
        for partition, unwritten in work.changed:
            if partition.fleet is not None:
                partition.fleet.store.failed(unwritten)


def _subject(partition: OwnedPartition) -> str:
    """Return what errors of a partition are about."""
    return f"partition {partition.number}"
