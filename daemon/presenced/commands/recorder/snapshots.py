"""Read AWS's record of the fleet for a recording, when the daemon would read it."""

import asyncio
from collections.abc import Callable

from presenced.aws import operations
from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError
from presenced.aws.schedule import SnapshotSchedule
from presenced.settings import Settings
from presenced.sources.recording import RecordedAnswer
from presenced.system.log import get_logger
from presenced.system.loop import Clocks

_LOOK_EVERY = 0.5
_ACTIVE = "ACTIVE"


class SnapshotRecorder:
    """Takes snapshots while `run` runs, and passes each page to `write`.

    They are taken as the daemon takes them (`SnapshotSchedule`): at start, again T later, after
    each reconnect, and every `reconcile.snapshot_every`. `connects` returns how often the
    connections have been accepted, None while any of them is not ready. A recording has no place
    for the status of the index, so nothing is read while the index is not ACTIVE.
    """

    def __init__(
        self,
        client: AwsClient,
        settings: Settings,
        connects: Callable[[], int | None],
        write: Callable[[RecordedAnswer], None],
        clocks: Clocks,
    ) -> None:
        self._client = client
        self._connects = connects
        self._write = write
        self._clocks = clocks
        self._schedule = SnapshotSchedule(
            settings.reconcile.snapshot_every, settings.presence.timestamp_accuracy
        )
        # When the snapshot that is under way began, and what its next page is asked for with.
        self._began: float | None = None
        self._next_token: str | None = None
        self._log = get_logger("presenced.aws")

    async def run(self) -> None:
        """Take each snapshot when it is due, until cancelled."""
        known: int | None = None
        try:
            while True:
                connects, now = self._connects(), self._clocks.monotonic()
                if connects is not None:
                    if connects != known:
                        known = connects
                        self._schedule.note_gap(now)
                    if self._schedule.due <= now:
                        await self._take(now)
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            await self._client.close()

    async def _take(self, now: float) -> None:
        if self._began is None:
            self._began = now
            self._schedule.note_begin(now)
        try:
            complete = await self._is_active() and await self._read()
        except AwsError as error:
            self._log.warning(
                "the snapshot of AWS's record failed; messages are recorded without it",
                operation=error.operation,
                error=error.detail,
                remedy=error.remedy,
            )
            complete = False
        if complete:
            settled = self._schedule.settles(self._began)
            self._schedule.note_end(self._clocks.monotonic(), settled=settled)
            self._began = None
        else:
            self._schedule.note_failure(self._clocks.monotonic())

    async def _is_active(self) -> bool:
        status = (await self._client.send(operations.describe_index())).value.index_status
        if status != _ACTIVE:
            self._log.warning("AWS's record is not read while its index is built", status=status)
        return status == _ACTIVE

    async def _read(self) -> bool:
        """Read all pages that have not been read yet; after an error, another call goes on."""
        while True:
            answer = await self._client.send(operations.search_index(self._next_token))
            self._write(
                RecordedAnswer(
                    received=answer.received,
                    moment=answer.received,
                    asked=answer.asked,
                    operation="SearchIndex",
                    body=answer.body,
                )
            )
            self._next_token = answer.value.next_token
            if self._next_token is None:
                return True
