"""Snapshots of AWS's record as one partition has them: records between its events."""

import math

from presenced.aws.rows import presence_rows, registry_events
from presenced.aws.schedule import PastSnapshots
from presenced.events.message import Message
from presenced.events.model import LifecycleEvent, Rejected, RejectionReason
from presenced.fleet import Fleet, Partition
from presenced.pipeline import Answers, Batch
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.kafka.snapshot_records import (
    GapReport,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotRow,
    decode,
)

# A row is in the partition some seconds after it was asked for, longer if the brokers are slow.
_REMEMBERED = 120.0


class PartitionSnapshots:
    """Reads the records of one partition for its pipeline, which it observes.

    `past` is kept with the state of the partition: its last snapshots, and in the partition 0 also
    the gaps that workers have reported. `complete` is the number of the last snapshot of which
    every row of this partition has been read here, 0 before the first.
    """

    def __init__(self, fleet: Fleet, partition: Partition) -> None:
        self.past = PastSnapshots()
        self.complete = 0
        self._fleet = fleet
        self._partition = partition
        # The snapshot whose begin was read here, and how many gaps there were then.
        self._open: tuple[int, int] | None = None
        self._events = _RecentEvents()
        # Things and the snapshots that list them, which the row itself may have added.
        self._listed: list[tuple[str, int]] = []

    @property
    def unsettled_gap(self) -> float | None:
        """When the last gap of the partition ended; None if a snapshot has settled it."""
        at = self._fleet.presence.last_gap_at
        return None if not at or self.past.settles(at, self._accuracy) else at

    @property
    def _accuracy(self) -> float:
        return self._fleet.presence.rules.ordering.timestamp_accuracy / 1000

    def observe(self, batch: Batch) -> None:
        """Note the events that rows must be compared with, and the things that rows are about."""
        for name, snapshot in self._listed:
            self._fleet.inventory.note_listed(name, snapshot)
        self._listed.clear()
        if self._open is not None:
            self._events.note(batch)

    def read(self, message: Message) -> Answers:
        """Return what a record says; nothing in it is later than the record. Raises Rejected."""
        record, received = decode(message.payload), message.received
        if isinstance(record, SnapshotRow):
            return self._read_row(record, received)
        if isinstance(record, SnapshotBegin):
            self._open = record.snapshot, self._fleet.presence.gap_epoch
            self._events.begin(received)
        elif isinstance(record, SnapshotEnd):
            self._read_end(record, received)
        elif isinstance(record, GapReport):
            self.past = self.past.with_gap(min(record.at, received))
        return Answers()

    def _read_end(self, end: SnapshotEnd, received: float) -> None:
        began, ended = min(end.snapshot / 1000, received), min(end.ended, received)
        self.past = self.past.with_end(began, ended, end.things, settled=end.settled)
        if self._open == (end.snapshot, self._fleet.presence.gap_epoch):
            self.complete = end.snapshot
        self._open = None
        self._events.end()

    def _read_row(self, record: SnapshotRow, received: float) -> Answers:
        if partition_of(record.name.encode(), self._partition.of) != self._partition.number:
            raise Rejected(RejectionReason.INVALID_PAYLOAD, "a row in the wrong partition")
        fleet, thing = self._fleet, record.thing
        asked, began = min(record.asked, received), min(record.snapshot / 1000, received)
        settled_from = fleet.presence.last_gap_at + self._accuracy
        rows = presence_rows(
            [thing],
            fleet,
            asked=asked,
            epoch=fleet.presence.gap_epoch,
            settles=record.settles and began >= settled_from,
        )
        registry = registry_events([thing], fleet, asked=asked) if record.has_registry else []
        self._listed.append((thing.name, record.snapshot))
        if self._may_be_beaten(thing.name, asked):
            rows = []
        event = self._events.since(asked, thing.name)
        return Answers(rows, registry, {} if event is None else {thing.name: event})

    def _may_be_beaten(self, client_id: str, asked: float) -> bool:
        """Return whether an event that is not remembered may beat a row that was asked for then.

        After a hand-over during a snapshot, the received times of earlier events are not known. So
        an event that is stamped late enough to beat the row counts as received after it.
        """
        if self._events.reach_back_to(asked, client_id):
            return False
        client = self._fleet.presence.clients.get(client_id)
        if client is None or client.adopted or not client.has_event:
            return False
        return client.timestamp > (asked - self._accuracy) * 1000


class _RecentEvents:
    """The last accepted event of each client, of two minutes or more, between `begin` and `end`."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[LifecycleEvent, float]] = {}
        self._older: dict[str, tuple[LifecycleEvent, float]] = {}
        # The received times of the first events that the two may have.
        self._from = self._older_from = math.inf

    def begin(self, at: float) -> None:
        """Remember what is received from a time on, in seconds since the epoch."""
        self.end()
        self._from = self._older_from = at

    def end(self) -> None:
        """Forget all."""
        self._events, self._older = {}, {}
        self._from = self._older_from = math.inf

    def note(self, batch: Batch) -> None:
        """Note the events that a batch has brought."""
        received = 0.0
        for change in batch.changes.clients:
            if isinstance(change.event, LifecycleEvent) and change.against is None:
                received = change.received
                self._events[change.client.client_id] = change.event, received
        if received > self._from + _REMEMBERED:
            self._older, self._events = self._events, {}
            self._older_from, self._from = self._from, received

    def reach_back_to(self, asked: float, client_id: str) -> bool:
        """Return whether it is known what a client's last event is since a time."""
        return asked >= self._older_from or self._last(client_id) is not None

    def since(self, asked: float, client_id: str) -> LifecycleEvent | None:
        """Return the last event of a client if it was received after a time."""
        last = self._last(client_id)
        return None if last is None or last[1] < asked else last[0]

    def _last(self, client_id: str) -> tuple[LifecycleEvent, float] | None:
        return self._events.get(client_id) or self._older.get(client_id)
