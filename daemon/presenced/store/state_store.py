"""Keeps what must outlive the process: restores it at start, and writes down what changes."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Literal

from presenced.pipeline import Pipeline
from presenced.sources.gap_detector import GapDetector
from presenced.store.collector import Collector
from presenced.store.errors import StateDamagedError, StateError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.restoration import (
    CooperativeScheduler,
    Notes,
    notes_of,
    restore_beside,
    restore_fleet,
    rows_of,
    sound,
    touch_all,
)
from presenced.store.schema import CounterRow, ForgetRow, MetaRow
from presenced.store.writer import CommitFailure, Writer, WriterCounts
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, gc_frozen, in_thread

_LATER = 0.1
_OPEN_AGAIN_AFTER = 10.0
_CLOSE_WITHIN = 1.4
_ROWS_A_SLICE = 200

Done = Callable[[], None]


class StateStore:
    """The state file of one daemon, and what it holds: presence, registry, totals, sessions.

    `open` comes before anything changes; from `start` on all methods belong to the event loop.
    `standstill` is entered while a file that could not be used at first is taken on after all: no
    message may be applied within, and no deadline fire.
    """

    def __init__(
        self,
        path: Path,
        pipeline: Pipeline,
        gap_detector: GapDetector,
        on_error: Literal["continue", "stall"],
        clocks: Clocks,
        *,
        standstill: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.path = path
        self.counts = WriterCounts()
        self._fleet = pipeline.fleet
        self._gap_detector = gap_detector
        self._on_error = on_error
        self._clocks = clocks
        self._standstill = standstill
        self._collector = Collector(pipeline, gap_detector, clocks, on_fault=self._count_fault)
        self._trouble = ""
        self._taking_on = False
        self._file: StateFile | None = None
        self._writer: Writer | None = None
        self._opening: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._log = get_logger("presenced.state", path=str(path))
        self._throttled = ThrottledLogger(self._log)

    def open(self) -> None:
        """Open the file and restore what it holds.

        Raises StateError where it must not be used. One that cannot be used as it is now, because
        the disk is full for example, is tried again later where `on_error` is `continue`. Raises
        StateDamagedError where it turns out to be damaged while it is read: it has been moved
        aside, and what was restored so far is to be thrown away.
        """
        try:
            self._take_on(StateFile.open(self.path))
        except StateUnusableError as error:
            if self._on_error == "stall":
                raise
            self._run_without(error)
            return
        self._fleet.track(self._collector.touched)
        self._fleet.recount()

    def start(self) -> None:
        """Begin to write."""
        if self._file is None:
            self._opening = asyncio.create_task(self._open_later())
        else:
            self._start_writer(self._file)

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
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
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
        for request in requests:
            self._fleet.presence.forget(request.client_id, "requested")
        self._collector.requests += requests
        self._log.info("clients forgotten on request", clients=len(requests))
        self.flush()

    def _take_on(self, file: StateFile) -> None:
        began = time.monotonic()
        with self._letting_go(file), sound(file):
            notes = notes_of(chain.from_iterable(file.read(MetaRow)))
            self._go_on_from(notes)
            now = self._clocks.monotonic()
            restore_fleet(file, self._fleet, notes, now, self._collector.offsets)
            self._collector.tallies.restore(chain.from_iterable(file.read(CounterRow)))
        self._taken_on(file, began)

    async def _take_on_late(self, file: StateFile) -> None:
        """Take on what a file holds beside what is known, and hand all that to the writer."""
        began = time.monotonic()
        with self._standstill(), gc_frozen():
            with self._touching(), self._letting_go(file), sound(file):
                pace = CooperativeScheduler()
                # Until now nothing was noted as touched.
                await touch_all(self._fleet, self._collector.touched, pace)
                notes = notes_of([row async for row in rows_of(file, MetaRow, pace)])
                counters = [row async for row in rows_of(file, CounterRow, pace)]
                self._go_on_from(notes)
                now = self._clocks.monotonic()
                wall, offsets = self._clocks.wall(), self._collector.offsets
                await restore_beside(file, self._fleet, notes, now, wall, offsets)
                self._collector.tallies.restore(counters)
            self._taken_on(file, began)
            writer = self._start_writer(file)
            self._taking_on = True  # all at once would hold up the loop
            # Before any row: a crash between two slices then neither loses what has been counted
            # nor turns round which clients are unverified.
            writer.submit(self._collector.collect_figures())
            try:
                while self._collector.touched and self._writer is not None:
                    self._writer.submit(self._collector.collect_rows(_ROWS_A_SLICE))
                    await pace.keep()
            finally:
                self._taking_on = False
            self.flush()

    @contextmanager
    def _touching(self) -> Iterator[None]:
        """Note what is touched from now on, but no longer after a failure.

        As long as no file can be written to, that would grow and grow.
        """
        touched = self._collector.touched
        self._fleet.track(touched)
        try:
            yield
        except BaseException:
            self._fleet.untrack()
            touched.clear()
            raise

    @contextmanager
    def _letting_go(self, file: StateFile) -> Iterator[None]:
        """Close a file that cannot be restored, and move it aside where it is damaged."""
        try:
            yield
        except BaseException as error:
            with closing(file):
                if isinstance(error, StateDamagedError):
                    self._tell_damaged(file.start_over())
            raise

    def _go_on_from(self, notes: Notes) -> None:
        self._collector.go_on_from(notes)
        self._gap_detector.remember(notes.sessions)

    def _taken_on(self, file: StateFile, began: float) -> None:
        file.release_memory()
        self._file = file
        if file.moved_aside is not None:
            self._tell_damaged(file.moved_aside)
        self._log.info(
            "state restored",
            clients=len(self._fleet.presence.clients),
            things=len(self._fleet.inventory.things.live),
            seconds=round(time.monotonic() - began, 2),
        )

    def _tell_damaged(self, moved_aside: Path) -> None:
        self._log.error(
            "the state file was damaged: presenced starts without what it knew",
            moved_aside=str(moved_aside),
        )

    async def _open_later(self) -> None:
        """Try until the file can be opened, and take on what it holds beside what is known."""
        while self._file is None:
            await asyncio.sleep(_OPEN_AGAIN_AFTER)
            try:
                file = await in_thread(lambda: StateFile.open(self.path), name="state file")
                await self._take_on_late(file)
            except StateDamagedError:
                continue  # and moved aside: the next attempt makes a new one
            except StateError as error:
                self._run_without(error)
            except Exception:  # noqa: BLE001 - the next attempt may go better
                self._log.exception("could not take the state file on")

    def _start_writer(self, file: StateFile) -> Writer:
        loop = asyncio.get_running_loop()
        writer = Writer(file, self, loop, on_error=self._on_error, counts=self.counts)
        self._writer = writer
        writer.start()
        return writer

    def _run_without(self, error: StateError) -> None:
        """Count that the file cannot be used, and log it where that is news."""
        self.counts.failures[getattr(error, "cause", "other")] += 1
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._log.error("presenced runs without its state file for now", detail=self._trouble)

    def _count_fault(self) -> None:
        self.counts.failures["other"] += 1

    def _flush_now(self) -> None:
        self._later = None
        if self._writer is not None and not self._taking_on:
            self._submit(None)

    def _submit(self, done: Done | None) -> None:
        changes = self._collector.collect()
        if self._writer is not None and (changes or done):
            self._writer.submit(changes, done)
