"""The state of one partition's fleet, kept in the partition of the state topic of the same number.

Kafka's source restores it when the partition is assigned, and writes what changes together with the
position in the partition of events, in one transaction.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from presenced.aws.schedule import PastSnapshots
from presenced.pipeline import Batch, Pipeline
from presenced.registry import ThingGroup, ThingType
from presenced.sources.kafka.partition import GLOBAL_OWNER, Record, Unwritten
from presenced.sources.kafka.partition_snapshots import PartitionSnapshots
from presenced.store.changelog_records import RecordEncoder, RecordReader, Records
from presenced.store.changes import Changes
from presenced.store.collector import Collector
from presenced.store.records import restored_object
from presenced.store.schema import MetaRow, ThingGroupRow, ThingTypeRow
from presenced.store.totals import Total
from presenced.store.writer import Done, WriterCounts
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

_SNAPSHOTS = "snapshots"


class Changelog:
    """The rows of a fleet and the position up to which its events are applied.

    `restore` may be called in any thread, before anything changes; all other methods are called on
    the event loop. `position` is the offset of the next event to apply, `global_position` that in
    the global topic, None if it is not known or another partition's.

    `take` returns what has changed since, to be written in one transaction. Its outcome is
    `written` or `failed`; after a failure the next `take` returns the rows again, or later ones of
    the same keys.
    """

    def __init__(
        self,
        partition: int,
        pipeline: Pipeline,
        totals: Iterable[Total],
        clocks: Clocks,
        snapshots: PartitionSnapshots | None = None,
    ) -> None:
        self.partition = partition
        self.position = 0
        self.global_position: int | None = None
        self.counts = WriterCounts()
        self._pipeline = pipeline
        self._collector = Collector(pipeline, None, totals, clocks, self.counts)
        self._encoder = RecordEncoder()
        self._unwritten: Records = {}
        self._unwritten_registry: Records = {}
        self._registry: Records = {}  # as it was taken last
        self._waiting: list[Done] = []
        self._taken: list[Done] = []
        self._is_dirty = False
        self._snapshots = snapshots
        self._written_past = PastSnapshots()
        self._log = ThrottledLogger(get_logger("presenced.state", partition=partition))

    def restore(self, rows: RecordReader) -> None:
        """Restore a fleet that knows nothing; `Pipeline.recount` must follow.

        Raises any exception for values that presenced never wrote.
        """
        self._collector.restore(rows)
        self._encoder.restore(self._pipeline.fleet.presence.disconnects)
        if self._snapshots is not None:
            self._restore_past(self._snapshots, rows)
        self._note_damage(rows)

    def _restore_past(self, snapshots: PartitionSnapshots, rows: RecordReader) -> None:
        for row in rows.read(MetaRow):
            if row.key == _SNAPSHOTS:
                try:
                    snapshots.past = msgspec.json.decode(row.value, type=PastSnapshots)
                except msgspec.MsgspecError:
                    rows.damaged += 1  # as if none had been taken
        self._written_past = snapshots.past

    def _note_damage(self, rows: RecordReader) -> None:
        if rows.damaged:
            self.counts.failures["corrupt"] += rows.damaged
            self._log.error("records of the state topic cannot be read", records=rows.damaged)

    def registry_of(self, records: Iterable[Record]) -> list[ThingType | ThingGroup]:
        """Return the thing types and groups in records of the global state topic."""
        rows = RecordReader()
        for key, value in records:
            rows.add(key, value)
        types = [restored_object(ThingType(row.name), row) for row in rows.read(ThingTypeRow)]
        groups = [restored_object(ThingGroup(row.name), row) for row in rows.read(ThingGroupRow)]
        self._note_damage(rows)
        return [*types, *groups]

    def observe(self, batch: Batch) -> None:
        """Note what a batch changed, and up to which event."""
        self._collector.dirty.observe(batch)
        # Events of the global topic have no offset.
        if batch.messages and (offset := batch.messages[-1].offset) >= 0:
            self.position = offset + 1
        self._is_dirty = True

    def flush(self, done: Done | None = None) -> None:
        """Let the next transaction write what has changed; `done` is called when it has."""
        self._is_dirty = True
        if done is not None:
            self._waiting.append(done)

    async def settled(self) -> None:
        """Return when all that has changed so far is written."""
        written = asyncio.Event()
        self.flush(written.set)
        await written.wait()

    def flush_failed(self) -> bool:
        """Log and count the failure that `flush` just raised; return whether to go on regardless.

        What it did not write is written by the next transaction.
        """
        self.counts.failures["other"] += 1
        self._log.exception("changes could not be noted because of an error in presenced")
        return True

    def take(self) -> Unwritten | None:
        """Return what is to be written; None if nothing has changed."""
        if not self._is_dirty:
            return None
        self._is_dirty = False
        self._taken, self._waiting = self._waiting, []
        changes = self._collector.collect()
        if self._snapshots is not None and self._snapshots.past != self._written_past:
            self._written_past = past = self._snapshots.past
            changes.note(_SNAPSHOTS, msgspec.json.encode(past).decode())
        registry = self._take_registry(changes)
        records = self._encoder.encode(changes)
        if refused := self._encoder.refused - self.counts.rows_refused:
            self.counts.rows_refused += refused
            self._log.warning("rows left out of the state topic: no valid text", rows=refused)
        if self._unwritten:
            records, self._unwritten = self._unwritten | records, {}
        return Unwritten(records, self.position, registry)

    def _take_registry(self, changes: Changes) -> Records:
        """Return the types and groups that have changed, for the global state topic.

        That topic keeps those of all partitions but the one whose events make them.
        """
        if self.partition != GLOBAL_OWNER:
            changes.thing_types.clear()
            changes.thing_groups.clear()
            return {}
        # Most changes are of members, which a group's row does not have.
        registry = {
            key: value
            for key, value in self._encoder.encode_registry(changes).items()
            if key not in self._registry or self._registry[key] != value
        }
        self._registry |= registry
        registry, self._unwritten_registry = self._unwritten_registry | registry, {}
        return registry

    def write_whole(self, arrived: Iterable[str]) -> None:
        """Let the next `take` return everything, because what was written is gone.

        `arrived` are clients by their first transition, as far as that is known.
        It holds the event loop for as long as that takes: a transaction has all of it or nothing.
        """
        self._collector.forget_written(arrived)
        self._encoder.begin_anew()
        self._registry, self._written_past = {}, PastSnapshots()
        self._is_dirty = True

    def written(self, unwritten: Unwritten) -> None:
        """Take note that what `take` returned last is committed."""
        taken, self._taken = self._taken, []
        for done in taken:
            done()
        unwritten.records.clear()

    def failed(self, unwritten: Unwritten) -> None:
        """Take note that the transaction of what `take` returned last was aborted."""
        self._unwritten = unwritten.records | self._unwritten
        self._unwritten_registry = {**unwritten.global_records, **self._unwritten_registry}
        self._waiting = self._taken + self._waiting
        self._taken = []
        self._is_dirty = True
