"""Snapshots of AWS's record that go right into the one fleet of this process."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from presenced.aws.answers import ThingGroup, ThingRow
from presenced.aws.client import AwsClient
from presenced.aws.merger import Delivery, Merger
from presenced.aws.missing_things import MissingThings
from presenced.aws.rows import group_event, presence_rows, registry_events
from presenced.aws.snapshot import Snapshot
from presenced.events.model import RegistryEvent
from presenced.fleet import Fleet
from presenced.pipeline import Batch
from presenced.system.loop import Clocks, CooperativeScheduler, freeze_survivors

_ROWS_AT_ONCE = 5
# A full collection would traverse the tables of all clients and things, again and again while they
# grow: hundreds of milliseconds at a million.
_FREEZE_EVERY = 10_000


class FleetTarget:
    """A fleet as the target of snapshots; see `SnapshotTarget`. An observer of its pipeline.

    `is_up` returns whether the source is up, and nothing is left of what was queued.
    """

    def __init__(
        self, fleet: Fleet, delivery: Delivery, is_up: Callable[[], bool], clocks: Clocks
    ) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self._merger = Merger(delivery)
        self._is_up = is_up
        self._missing_things = MissingThings(fleet, delivery, clocks)
        self._scheduler = CooperativeScheduler()
        # Gaps after the begin of a snapshot are left to the next one.
        self._epoch = 0

    @property
    def is_up(self) -> bool:
        """Whether the source is up, and nothing is left of what was queued."""
        return self._is_up()

    @property
    def gap(self) -> float:
        """The number of gaps."""
        return self._fleet.presence.gap_epoch

    @property
    def accuracy(self) -> float:
        """T, in seconds."""
        return self._fleet.presence.rules.ordering.timestamp_accuracy / 1000

    def observe(self, batch: Batch) -> None:
        """See what rows must be compared with."""
        self._merger.observe(batch)

    async def begin(self, snapshot: Snapshot) -> None:  # noqa: ARG002 - SnapshotTarget
        """Take note of the gaps so far."""
        self._epoch = self._fleet.presence.gap_epoch

    def asking(self) -> AbstractContextManager[None]:
        """Note the events that come while a page is asked for and merged."""
        return self._merger.asking()

    def add_group(self, group: ThingGroup, asked: float) -> None:
        """Merge a thing group."""
        self._merger.merge((), [group_event(group, self._fleet, asked=asked)])

    async def add(self, snapshot: Snapshot, things: Sequence[ThingRow], asked: float) -> None:
        """Merge a page and let the event loop go on meanwhile: a hundred rows take too long."""
        async with self._scheduler.turn() as turn:
            for begin in range(0, len(things), _ROWS_AT_ONCE):
                self._merge(snapshot, things[begin : begin + _ROWS_AT_ONCE], asked)
                await turn.yield_if_due()
        if snapshot.things // _FREEZE_EVERY != (snapshot.things + len(things)) // _FREEZE_EVERY:
            freeze_survivors()

    def _merge(self, snapshot: Snapshot, things: Sequence[ThingRow], asked: float) -> None:
        fleet = self._fleet
        rows = presence_rows(
            things, fleet, asked=asked, epoch=self._epoch, settles=snapshot.settles
        )
        registry: list[RegistryEvent] = []
        if snapshot.has_registry:
            registry = registry_events(things, fleet, asked=asked)
        self._merger.merge(rows, registry)
        for thing in things:
            fleet.inventory.note_listed(thing.name, snapshot.number)

    async def end(
        self,
        snapshot: Snapshot,
        ended: float,  # noqa: ARG002 - SnapshotTarget
        client: Callable[[], AwsClient],
    ) -> None:
        """Delete the things that are missing twice."""
        if snapshot.has_registry:
            await self._missing_things.delete(snapshot.number, client)
