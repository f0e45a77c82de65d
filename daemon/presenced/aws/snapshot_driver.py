"""Take snapshots of AWS's record when they are due."""

import asyncio
from collections.abc import Callable
from itertools import count

from presenced.aws import operations
from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError, Cause
from presenced.aws.merger import Merger
from presenced.aws.schedule import SnapshotSchedule
from presenced.aws.snapshot import Snapshot
from presenced.events.model import ThingEvent
from presenced.fleet import Fleet
from presenced.settings.aws import ReconcileSettings
from presenced.system.log import get_logger
from presenced.system.loop import Clocks, CooperativeScheduler

_LOOK_EVERY = 0.5
_THINGS_AT_ONCE = 1000


class SnapshotDriver:
    """Takes snapshots while `run` runs.

    `is_up` returns whether every connection is up, every filter granted, and nothing is left of
    what was queued. `client` and `settings` may be replaced, also during a snapshot, which goes on.
    `error` is why the last attempt failed, None if it did not. `completed_at` (seconds since the
    epoch), `duration` (seconds) and `things` are of the last complete one, None before it.
    """

    def __init__(
        self,
        fleet: Fleet,
        merger: Merger,
        client: AwsClient,
        settings: ReconcileSettings,
        is_up: Callable[[], bool],
        clocks: Clocks,
    ) -> None:
        self.client = client
        self.settings = settings
        self.error: AwsError | None = None
        self.completed_at: float | None = None
        self.duration: float | None = None
        self.things: int | None = None
        self._fleet = fleet
        self._merger = merger
        self._is_up = is_up
        self._clocks = clocks
        accuracy = fleet.presence.rules.ordering.timestamp_accuracy / 1000
        self._schedule = SnapshotSchedule(settings.snapshot_every, accuracy)
        self._epoch: int | None = None
        self._snapshot: Snapshot | None = None
        self._missing: set[str] = set()
        self._numbers = count(1)
        self._scheduler = CooperativeScheduler()
        self._log = get_logger("presenced.aws")

    async def run(self) -> None:
        """Take each snapshot when it is due, until cancelled."""
        while True:
            self._schedule.every = self.settings.snapshot_every
            accuracy = self._fleet.presence.rules.ordering.timestamp_accuracy
            self._schedule.settles_after = accuracy / 1000
            now = self._clocks.monotonic()
            try:
                if self._is_up():
                    self._note_gaps(now)
                    if self._schedule.due <= now:
                        await self._take(now)
            except Exception:  # noqa: BLE001 - the next attempt may succeed
                self._snapshot = None
                self._schedule.note_failure(self._clocks.monotonic())
                self._log.exception("a snapshot of AWS's record failed by an error in presenced")
            await asyncio.sleep(_LOOK_EVERY)

    def _note_gaps(self, now: float) -> None:
        """Note that the source is up for the first time, or again after a gap."""
        epoch = self._fleet.presence.gap_epoch
        if epoch != self._epoch:
            self._epoch = epoch
            self._schedule.note_gap(now)

    async def _take(self, began: float) -> None:
        if self._snapshot is None:
            self._schedule.note_begin(began)
            self._snapshot = Snapshot(
                self._fleet,
                self._merger,
                next(self._numbers),
                settles=self._schedule.settles(began),
                seed_registry=self.settings.seed_registry,
            )
        snapshot = self._snapshot
        try:
            await snapshot.read(lambda: self.client)
            if self.settings.seed_registry:
                await self._delete_missing(snapshot)
        except AwsError as error:
            self.error = error
            if not error.may_pass:  # such as a page token that AWS no longer knows
                self._snapshot = None
            self._schedule.note_failure(self._clocks.monotonic())
            self._log.warning(
                "the snapshot of AWS's record failed; presence goes on without it",
                operation=error.operation,
                error=error.detail,
                remedy=error.remedy,
            )
            return
        self._snapshot, self.error = None, None
        now = self._clocks.monotonic()
        self._schedule.note_end(now, settled=snapshot.settles)
        self.completed_at, self.duration = self._clocks.wall(), now - began
        self.things = snapshot.things
        self._log.info(
            "snapshot of AWS's record taken",
            things=self.things,
            seconds=round(self.duration, 3),
            settles=snapshot.settles,
        )

    async def _delete_missing(self, snapshot: Snapshot) -> None:
        """Delete the things that two complete snapshots lack and AWS does not know."""
        missing = await self._missing_from(snapshot)
        for name in missing & self._missing:
            request = operations.get_thing_connectivity_data(name)
            try:
                await self.client.send(request)
            except AwsError as error:
                if error.cause is not Cause.NOT_FOUND:
                    break  # the next snapshot asks again
                at = round(self._clocks.wall() * 1000)
                event = ThingEvent(type="deleted", timestamp=at, thing_name=name)
                self._merger.merge((), [event])
        self._missing = missing

    async def _missing_from(self, snapshot: Snapshot) -> set[str]:
        """Return the things that a snapshot lacks, and let the event loop go on meanwhile."""
        missing: set[str] = set()
        async with self._scheduler.turn() as turn:
            for things in self._fleet.inventory.things.slices(_THINGS_AT_ONCE):
                missing.update(each.name for each in things if each.listed_in != snapshot.number)
                await turn.yield_if_due()
        return missing
