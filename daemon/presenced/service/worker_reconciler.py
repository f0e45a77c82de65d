"""Ask AWS for the partitions of a worker of Kafka: its share of the lookups, and the snapshots.

The owner of the partition 0 takes the snapshots of the whole fleet. Gaps in other partitions are
reported to it by a record in the partition 0.
"""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, Protocol

from presenced.aws.lookups import LookupDriver
from presenced.aws.missing_things import MissingThings
from presenced.aws.reconciler import Reconciler
from presenced.aws.snapshot import SnapshotTargetError
from presenced.fleet import Partition
from presenced.service.shard import Shard
from presenced.sources.kafka.partition import GLOBAL_OWNER
from presenced.sources.kafka.partition_snapshots import PartitionSnapshots
from presenced.sources.kafka.snapshot_records import GapReport
from presenced.sources.kafka.topic_target import RecordWriter, TopicTarget
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

# A report is repeated until a snapshot has settled the gap: it may be lost with its worker.
_REPORT_AGAIN_AFTER = 30.0
_DELETE_AGAIN_AFTER = 30.0


class Group(Protocol):
    """The membership of the worker."""

    @property
    def may_show(self) -> bool:
        """Whether the partitions are certainly the worker's."""

    def events_writer(self) -> RecordWriter:
        """Return what writes into the topic of events."""


class WorkerReconciler:
    """Asks AWS from `begin` to `end` of each partition; all of it is called on the event loop."""

    def __init__(self, reconciler: Reconciler, group: Group, clocks: Clocks) -> None:
        self._reconciler = reconciler
        self._group = group
        self._clocks = clocks
        self._parts: dict[Shard, _PartitionRequests] = {}

    def open(self, shard: Shard) -> None:
        """Prepare a partition that is restored and catches up.

        Its clients go offline without lookups: their delays ended in the past, and AWS's answers
        are about now.
        """
        self._reconciler.defer_lookups(shard.fleet)

    def begin(self, shard: Shard) -> None:
        """Ask for a partition that has caught up."""
        assert shard.partition is not None and shard.snapshots is not None  # noqa: S101, PT018
        lookups = self._reconciler.look_up(shard.fleet, shard.delivery)
        shard.pipeline.observers.append(lookups)
        missing = MissingThings(shard.fleet, shard.delivery, self._clocks)
        self._parts[shard] = _PartitionRequests(shard.partition, shard.snapshots, lookups, missing)
        self._use_share(shard.partition)
        if shard.partition.number == GLOBAL_OWNER:
            target = TopicTarget(
                shard.fleet,
                shard.delivery,
                shard.snapshots,
                lambda: self._group.may_show,
                self._group.events_writer,
            )
            self._reconciler.take_snapshots(target, shard.snapshots.past)

    def end(self, shard: Shard) -> None:
        """Ask nothing more for a partition; that may be called more than once."""
        part = self._parts.pop(shard, None)
        if part is None:
            return
        part.cancel()
        shard.pipeline.observers.remove(part.lookups)
        self._reconciler.end_lookups(part.lookups)
        self._use_share(part.partition)
        if part.partition.number == GLOBAL_OWNER:
            self._reconciler.end_snapshots()

    def check(self) -> None:
        """Report gaps, and look for things that AWS no longer lists; called four times a second."""
        now = self._clocks.monotonic()
        for part in self._parts.values():
            gap_at = part.snapshots.unsettled_gap
            if gap_at is not None and now - part.reported_at >= _REPORT_AGAIN_AFTER:
                part.reported_at = now
                part.run(self._report(GapReport(partition=part.partition.number, at=gap_at)))
            number = part.snapshots.complete
            if number != part.checked and now >= part.delete_from:
                part.checked = number
                if self._reconciler.seeds_registry:
                    part.run(self._delete_missing(part, number))

    def _use_share(self, partition: Partition) -> None:
        if self._parts:
            self._reconciler.use_share(len(self._parts) / partition.of)

    async def _report(self, report: GapReport) -> None:
        try:
            await self._group.events_writer().write(report, GLOBAL_OWNER)
        except SnapshotTargetError as error:
            _log.warning("a gap could not be reported; it is tried again", error=str(error))
        except Exception:  # noqa: BLE001 - the next attempt may succeed
            _log.exception("a gap could not be reported because of an error in presenced")

    async def _delete_missing(self, part: "_PartitionRequests", number: int) -> None:
        """Delete the things that AWS no longer lists; after an error `check` does it again."""
        try:
            await part.missing.delete(number, self._reconciler.client)
        except Exception:  # noqa: BLE001 - the next attempt may succeed
            _log.exception(
                "the things that AWS no longer lists could not be deleted: an error in presenced"
            )
            if part.checked == number:
                part.checked = None
                part.delete_from = self._clocks.monotonic() + _DELETE_AGAIN_AFTER


_log = ThrottledLogger(get_logger("presenced.aws"))


class _PartitionRequests:
    """What is asked for one partition.

    `reported_at` is when a gap was last reported, `checked` the last snapshot after which missing
    things were deleted, None if that failed: it is done again from `delete_from` on.
    """

    def __init__(
        self,
        partition: Partition,
        snapshots: PartitionSnapshots,
        lookups: LookupDriver,
        missing: MissingThings,
    ) -> None:
        self.partition = partition
        self.snapshots = snapshots
        self.lookups = lookups
        self.missing = missing
        self.checked: int | None = snapshots.complete
        self.delete_from = -math.inf
        self.reported_at = -math.inf
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something until it has ended or `cancel` is called."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """End all of it."""
        for task in self._tasks:
            task.cancel()
