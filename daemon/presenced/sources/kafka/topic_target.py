"""Snapshots of AWS's record that go into the topic of events, for the fleets of all partitions."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from presenced.aws.answers import ThingGroup, ThingRow
from presenced.aws.client import AwsClient
from presenced.aws.merger import Delivery
from presenced.aws.rows import group_event, type_events
from presenced.aws.snapshot import Snapshot, SnapshotTargetError
from presenced.fleet import Fleet
from presenced.sources.kafka.partition_snapshots import PartitionSnapshots
from presenced.sources.kafka.snapshot_records import Record, SnapshotBegin, SnapshotEnd, row_of


class RecordWriter(Protocol):
    """Writes records into the topic of events, and waits until the brokers have them.

    All methods may raise SnapshotTargetError.
    """

    async def write_rows(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Write records, each a key and a value, into the partitions of their keys."""

    async def write(self, record: Record, partition: int) -> None:
        """Write a record into a partition."""

    async def write_everywhere(self, record: Record) -> None:
        """Write a record into each partition."""


class TopicTarget:
    """The topic as the target of snapshots, for the owner of the partition 0; see `SnapshotTarget`.

    `fleet` is that of the partition 0, whose groups and types all partitions take over. `is_up`
    returns whether this worker may still act for the partition. `writer` returns what writes.
    """

    def __init__(
        self,
        fleet: Fleet,
        delivery: Delivery,
        snapshots: PartitionSnapshots,
        is_up: Callable[[], bool],
        writer: Callable[[], RecordWriter],
    ) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self._snapshots = snapshots
        self._is_up = is_up
        self._writer = writer

    @property
    def is_up(self) -> bool:
        """Whether this worker may act for the partition 0, and has caught up with it."""
        return self._is_up()

    @property
    def gap(self) -> float:
        """When the last gap ended that a worker has reported."""
        return self._snapshots.past.gap_at

    @property
    def accuracy(self) -> float:
        """T, in seconds."""
        return self._fleet.presence.rules.ordering.timestamp_accuracy / 1000

    async def begin(self, snapshot: Snapshot) -> None:
        """Write to all partitions that it begins."""
        await self._writer_if_up().write_everywhere(SnapshotBegin(snapshot=snapshot.number))

    def asking(self) -> AbstractContextManager[None]:
        """Do nothing: the partitions note their events from the begin on."""
        return nullcontext()

    def add_group(self, group: ThingGroup, asked: float) -> None:
        """Merge a thing group."""
        self._delivery.merge((), [group_event(group, self._fleet, asked=asked)], {})

    async def add(self, snapshot: Snapshot, things: Sequence[ThingRow], asked: float) -> None:
        """Write each row into the partition of its thing, and merge the types of things."""
        writer = self._writer_if_up()
        rows = [
            (
                thing.name,
                row_of(
                    snapshot.number,
                    thing,
                    asked=asked,
                    settles=snapshot.settles,
                    registry=snapshot.has_registry,
                ),
            )
            for thing in things
        ]
        if snapshot.has_registry:
            types = type_events(things, self._fleet, asked=asked)
            if types:
                self._delivery.merge((), types, {})
        await writer.write_rows(rows)

    async def end(
        self,
        snapshot: Snapshot,
        ended: float,
        client: Callable[[], AwsClient],  # noqa: ARG002 - SnapshotTarget
    ) -> None:
        """Write to all partitions that it is complete."""
        await self._writer_if_up().write_everywhere(
            SnapshotEnd(
                snapshot=snapshot.number,
                ended=ended,
                things=snapshot.things,
                settled=snapshot.settles,
            )
        )

    def _writer_if_up(self) -> RecordWriter:
        if not self._is_up():
            raise SnapshotTargetError("this worker may have lost the partition 0")
        return self._writer()
