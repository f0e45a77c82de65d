"""The state of one daemon in its file: restored at the start, written as it changes."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Literal

from presenced.pipeline import Batch, Pipeline
from presenced.sources.gap_detector import GapDetector
from presenced.store.collector import Collector
from presenced.store.errors import StateDamagedError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.restoration import notes_of, restore_fleet, sound
from presenced.store.schema import CounterRow, ForgetRow, MetaRow
from presenced.store.totals import Total
from presenced.store.writer import CommitFailure, Writer, WriterCounts
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

_LATER = 0.1
_CLOSE_WITHIN = 1.4

Done = Callable[[], None]


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
        self._later: asyncio.TimerHandle | None = None
        self._log = get_logger("presenced.state", path=str(path))
        self._throttled = ThrottledLogger(self._log)

    def open(self) -> None:
        """Open the file and restore what it holds.

        Raises StateError where the file cannot or must not be used: StateDamagedError where it
        turned out to be damaged while it was read, and has been moved aside. A part of the file may
        have been restored by then, so that a new fleet is needed.
        """
        began = time.monotonic()
        file = StateFile.open(self.path)
        try:
            with sound(file):
                self._restore(file)
        except StateDamagedError:
            with closing(file):
                self._log_damaged(file.start_over())
            raise
        except BaseException:
            file.close()
            raise
        self._file = file
        file.release_memory()
        if file.moved_aside is not None:
            self._log_damaged(file.moved_aside)
        self._log.info(
            "state restored",
            clients=len(self._fleet.presence.clients),
            things=len(self._fleet.inventory.things.live),
            seconds=round(time.monotonic() - began, 2),
        )
        self._collector.start()
        self._pipeline.recount()

    def run_from_memory(self, error: StateUnusableError) -> None:
        """Keep nothing, because the file cannot be used; in place of `open`."""
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
            loop = asyncio.get_running_loop()
            self._writer = Writer(
                self._file, self, loop, on_error=self._on_error, counts=self.counts
            )
            self._writer.start()

    def observe(self, batch: Batch) -> None:
        """Note what a batch changed, to be written with the next flush."""
        if self._file is not None:
            self._collector.observe(batch)

    def flush(self, done: Done | None = None) -> None:
        """Write down what has changed; soon, or at once where `done` waits for it.

        `done` is called when it is in the file, or when it cannot be had to be in it and `on_error`
        is `continue`.
        """
        if done is None:
            if self._later is None:
                self._later = asyncio.get_running_loop().call_later(_LATER, self._flush_now)
        elif self._writer is None:
            done()
        else:
            self._submit(done)

    def flush_failed(self) -> bool:
        """Log and count the failure that `flush` just raised; whether to go on as if it were done.

        What it did not write goes out with the next flush.
        """
        self._count_fault()
        self._throttled.exception(
            "what changed could not be handed to the state file for a fault of presenced",
            acknowledgements="held back" if self._on_error == "stall" else "go on",
        )
        return self._on_error == "continue"

    async def settled(self) -> None:
        """Return when all that has changed so far is in the file; see `flush`."""
        written = asyncio.Event()
        self.flush(written.set)
        await written.wait()

    async def close(self) -> None:
        """Write what is left and let go of the file."""
        if self._later is not None:
            self._later.cancel()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.submit(self._collector.collect())
            if not await in_thread(lambda: writer.close(_CLOSE_WITHIN), name="state file"):
                self._log.error("the last changes could not be written to the state file")
        elif self._file is not None:
            self._file.close()

    def commits_fail(self, failure: CommitFailure) -> None:
        """See `WriterListener`."""
        self._log.error(
            "the state file cannot be written; presenced runs on memory and tries again",
            cause=failure.cause,
            detail=failure.detail,
            remedy=failure.remedy,
            acknowledgements="held back" if self._on_error == "stall" else "go on",
        )

    def commits_succeed(self, seconds: float) -> None:
        """See `WriterListener`."""
        self._log.info("the state file is written again", failed_for=round(seconds, 1))

    def rows_refused(self, count: int) -> None:
        """See `WriterListener`."""
        self._log.warning("rows left out of the state file for values it cannot hold", rows=count)

    def forget(self, requests: Sequence[ForgetRow]) -> None:
        """See `WriterListener`."""
        self._pipeline.forget([request.client_id for request in requests], "requested")
        self._collector.requests += requests
        self._log.info("clients forgotten on request", clients=len(requests))
        self.flush()

    def _restore(self, file: StateFile) -> None:
        notes = notes_of(chain.from_iterable(file.read(MetaRow)))
        self._collector.go_on_from(notes)
        self._gap_detector.restore(notes.sessions)
        now = self._clocks.monotonic()
        restore_fleet(file, self._fleet, notes, now, self._collector.offsets)
        self._collector.totals.restore(chain.from_iterable(file.read(CounterRow)))

    def _log_damaged(self, moved_aside: Path) -> None:
        self._log.error(
            "the state file was damaged: presenced starts without what it knew",
            moved_aside=str(moved_aside),
        )

    def _count_fault(self) -> None:
        self.counts.failures["other"] += 1

    def _flush_now(self) -> None:
        self._later = None
        if self._writer is not None:
            self._submit(None)

    def _submit(self, done: Done | None) -> None:
        changes = self._collector.collect()
        if self._writer is not None and (changes or done):
            self._writer.submit(changes, done)
