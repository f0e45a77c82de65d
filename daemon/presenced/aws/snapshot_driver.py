"""Take snapshots of AWS's record when they are due."""

import asyncio

from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError
from presenced.aws.schedule import PastSnapshots, SnapshotSchedule
from presenced.aws.snapshot import Snapshot, SnapshotReader, SnapshotTarget, SnapshotTargetError
from presenced.settings.aws import ReconcileSettings
from presenced.system.log import get_logger
from presenced.system.loop import Clocks

_LOOK_EVERY = 0.5


class SnapshotDriver:
    """Takes snapshots into `target` while `run` runs.

    `client` and `settings` may be replaced, also during a snapshot, which goes on. With `past` it
    goes on after the snapshots of other processes; else nothing is known of before. `error` is why
    the last attempt failed, None if it did not. `completed_at` (seconds since the epoch),
    `duration` (seconds) and `things` are of the last complete one, None before it.
    """

    def __init__(
        self,
        target: SnapshotTarget,
        client: AwsClient,
        settings: ReconcileSettings,
        clocks: Clocks,
        past: PastSnapshots | None = None,
    ) -> None:
        self.client = client
        self.settings = settings
        self.error: AwsError | SnapshotTargetError | None = None
        self.completed_at: float | None = None
        self.duration: float | None = None
        self.things: int | None = None
        self._target = target
        self._clocks = clocks
        self._schedule = SnapshotSchedule(settings.snapshot_every, target.accuracy)
        self._gap = -1.0  # none has this value: the first look finds one
        self._reader: SnapshotReader | None = None
        self._log = get_logger("presenced.aws")
        if past is not None and past.began is not None and past.ended is not None:
            self._schedule.resume(past, clocks.wall() - clocks.monotonic())
            self._gap = past.gap_at
            self.completed_at, self.duration = past.ended, past.ended - past.began
            self.things = past.things

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed, None if it did not."""
        if self.error is None:
            return None
        what = "AWS cannot be asked" if isinstance(self.error, AwsError) else "no snapshot of AWS"
        return f"{what}: {self.error}"

    async def run(self) -> None:
        """Take each snapshot when it is due, until cancelled."""
        while True:
            self._schedule.every = self.settings.snapshot_every
            self._schedule.settles_after = self._target.accuracy
            now = self._clocks.monotonic()
            try:
                if self._target.is_up:
                    self._note_gaps(now)
                    if self._schedule.due <= now:
                        await self._take(now)
            except Exception:  # noqa: BLE001 - the next attempt may succeed
                self._reader = None
                self._schedule.note_failure(self._clocks.monotonic())
                self._log.exception("a snapshot of AWS's record failed by an error in presenced")
            await asyncio.sleep(_LOOK_EVERY)

    def _note_gaps(self, now: float) -> None:
        """Note that the source is up for the first time, or again after a gap."""
        gap = self._target.gap
        if gap != self._gap:
            self._gap = gap
            self._schedule.note_gap(now)

    def _begin(self, began: float) -> SnapshotReader:
        self._schedule.note_begin(began)
        settles = self._schedule.settles(began)
        snapshot = Snapshot(self._clocks.wall(), settles, self.settings.seed_registry)
        return SnapshotReader(snapshot, self._target, lambda: self.client)

    async def _take(self, began: float) -> None:
        self._reader = reader = self._reader or self._begin(began)
        snapshot = reader.snapshot
        try:
            await reader.read()
            ended = self._clocks.wall()
            await self._target.end(snapshot, ended, lambda: self.client)
        except (AwsError, SnapshotTargetError) as error:
            self._fail(error)
            return
        self._reader = self.error = None
        now = self._clocks.monotonic()
        self._schedule.note_end(now, settled=snapshot.settles)
        self.completed_at, self.duration = ended, now - began
        self.things = snapshot.things
        self._log.info(
            "snapshot of AWS's record taken",
            things=self.things,
            seconds=round(self.duration, 3),
            settles=snapshot.settles,
        )

    def _fail(self, error: AwsError | SnapshotTargetError) -> None:
        self.error = error
        self._schedule.note_failure(self._clocks.monotonic())
        event = "the snapshot of AWS's record failed; presence goes on without it"
        if not isinstance(error, AwsError):
            self._log.warning(event, error=str(error))
            return
        if not error.may_pass:  # such as a page token that AWS no longer knows
            self._reader = None
        self._log.warning(event, operation=error.operation, error=error.detail, remedy=error.remedy)
