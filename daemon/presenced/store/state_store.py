"""The state of one daemon in its file: restored at the start, written as it changes."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from presenced.fleet import Fleet
from presenced.pipeline import Batch, Pipeline
from presenced.presence import Client, State
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.sources.gap_detector import GapDetector
from presenced.store.collector import Collector
from presenced.store.errors import StateDamagedError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.records import (
    Notes,
    Offsets,
    awaited_of,
    client_of,
    deadline_of,
    restored_object,
)
from presenced.store.schema import (
    ClientRow,
    CounterRow,
    DisconnectRow,
    ForgetRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from presenced.store.totals import Total
from presenced.store.writer import Done, Writer, WriterCounts
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

_FLUSH_AFTER = 0.1
_CLOSE_TIMEOUT = 1.4


class StateStore:
    """Presence, registry, totals and sessions of one daemon, kept in its state file.

    `open` restores them before anything changes; `start` begins to write. From `start` on all
    methods belong to the event loop. `unusable` says why the file is not in use, None while it is.
    """

    def __init__(
        self,
        path: Path,
        pipeline: Pipeline,
        gap_detector: GapDetector,
        totals: Iterable[Total],
        on_error: Literal["continue", "stall"],
        clocks: Clocks,
    ) -> None:
        self.path = path
        self.counts = WriterCounts()
        self.unusable: StateUnusableError | None = None
        self._pipeline = pipeline
        self._fleet = pipeline.fleet
        self._gap_detector = gap_detector
        self._on_error = on_error
        self._clocks = clocks
        self._collector = Collector(
            pipeline, gap_detector, totals, clocks, on_fault=self._count_fault
        )
        self._file: StateFile | None = None
        self._writer: Writer | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._log = get_logger("presenced.state", path=str(path))
        self._throttled = ThrottledLogger(self._log)

    def open(self) -> None:
        """Open the file and restore what it holds.

        Raises StateError where the file cannot or must not be used: StateDamagedError where it was
        damaged and has been moved aside. A part of the file may have been restored by then, so that
        a new fleet is needed.
        """
        began = time.monotonic()
        try:
            self._file = self._restored()
            self._pipeline.recount()
        except StateDamagedError as error:
            self._log.error(
                "the state file was damaged; presenced starts without its former state",
                moved_aside=str(error.moved_aside),
            )
            raise
        self._log.info(
            "state restored",
            clients=len(self._fleet.presence.clients),
            things=len(self._fleet.inventory.things.live),
            seconds=round(time.monotonic() - began, 2),
        )

    def run_from_memory(self, error: StateUnusableError) -> None:
        """Keep nothing, because the file cannot be used; call it in place of `open`."""
        self.unusable = error
        self.counts.unavailable = True
        self.counts.failures[error.cause] += 1
        self._log.warning(
            "the state file cannot be used; presenced runs from memory until its next start",
            cause=error.cause,
            detail=error.detail,
            remedy=error.remedy,
        )

    def start(self) -> None:
        """Begin to write."""
        if self._file is not None:
            self._writer = Writer(
                self._file,
                asyncio.get_running_loop(),
                on_error=self._on_error,
                on_forget=self._forget,
                counts=self.counts,
            )
            self._writer.start()

    def observe(self, batch: Batch) -> None:
        """Note what a batch changed, to be written by the next flush."""
        if self._file is not None:
            self._collector.observe(batch)

    def flush(self, done: Done | None = None) -> None:
        """Write what has changed: soon, or at once where `done` waits for it.

        `done` is called when it is in the file, or when it cannot be written and `on_error` is
        `continue`.
        """
        if done is None:
            if self._flush_timer is None:
                loop = asyncio.get_running_loop()
                self._flush_timer = loop.call_later(_FLUSH_AFTER, self._flush_now)
        elif self._writer is None:
            done()
        else:
            self._writer.submit(self._collector.collect(), done)

    def flush_failed(self) -> bool:
        """Log and count the failure that `flush` just raised; return whether to go on regardless.

        What it did not write is written by the next flush.
        """
        self._count_fault()
        self._throttled.exception(
            "changes could not be handed to the state file because of an error in presenced",
            acknowledgements="held back" if self._on_error == "stall" else "go on",
        )
        return self._on_error == "continue"

    async def settled(self) -> None:
        """Return when all that has changed so far is in the file; see `flush`."""
        written = asyncio.Event()
        self.flush(written.set)
        await written.wait()

    async def close(self) -> None:
        """Write what is left and release the file."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.submit(self._collector.collect())
            if not await in_thread(lambda: writer.close(_CLOSE_TIMEOUT), name="state file"):
                self._log.error("the last changes could not be written to the state file")
        elif self._file is not None:
            self._file.close()

    def _restored(self) -> StateFile:
        file = StateFile.open(self.path)
        try:
            now = self._clocks.monotonic()
            restore(file, self._fleet, self._gap_detector, self._collector, now)
            file.release_memory()
        except StateDamagedError as error:
            error.moved_aside = file.move_aside()
            raise
        except BaseException:
            file.close()
            raise
        return file

    def _flush_now(self) -> None:
        self._flush_timer = None
        if self._writer is not None and (changes := self._collector.collect()):
            self._writer.submit(changes)

    def _forget(self, requests: Sequence[ForgetRow]) -> None:
        self._pipeline.forget([request.client_id for request in requests], "requested")
        self._collector.requests += requests
        self._log.info("clients forgotten on request", clients=len(requests))
        self.flush()

    def _count_fault(self) -> None:
        self.counts.failures["other"] += 1


def restore(
    file: StateFile, fleet: Fleet, gap_detector: GapDetector, collector: Collector, now: float
) -> None:
    """Restore what a file holds into a fleet that knows nothing; `Fleet.recount` must follow.

    `now` is monotonic time, in seconds. Raises StateDamagedError, also for values that presenced
    never wrote, and StateUnusableError.
    """
    try:
        notes = Notes.of(file.read(MetaRow))
        collector.continue_from(notes)
        gap_detector.restore(notes.sessions)
        _restore_fleet(file, fleet, notes, collector.offsets, now)
        collector.totals.restore(file.read(CounterRow))
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise StateDamagedError(file.path, repr(error)) from error
    collector.start()


def _restore_fleet(
    file: StateFile, fleet: Fleet, notes: Notes, offsets: Offsets, now: float
) -> None:
    fleet.inventory.restore(
        (restored_object(Thing(row.name), row) for row in file.read(ThingRow)),
        (restored_object(ThingType(row.name), row) for row in file.read(ThingTypeRow)),
        (restored_object(ThingGroup(row.name), row) for row in file.read(ThingGroupRow)),
    )
    presence = fleet.presence
    presence.restore_gaps(notes.gaps, notes.doubted_at)
    presence.disconnects.restore(file.read(DisconnectRow))
    interned: dict[str | None, str | None] = {}
    for row in file.read(ClientRow):
        client = client_of(row, interned)
        if row.departed:
            presence.forgotten.add(client)
            continue
        if row.state == State.UNKNOWN and client.has_event:
            # It was forgotten, and is known because its thing exists: see `unknown_row`.
            client.state = State.ONLINE if row.connected else State.OFFLINE
            presence.forgotten.add(client)
            client = Client(row.client_id)
            client.gap_epoch = row.gaps
        fleet.restore(
            client,
            deadline_of(row, presence.rules, now, offsets),
            awaited_of(row, presence.rules, now, offsets),
        )
