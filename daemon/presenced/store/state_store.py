"""The state of one daemon in its file: restored at the start, written as it changes."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from presenced.pipeline import Batch, Pipeline
from presenced.recent.activity import RecentActivity
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.store.collector import Collector
from presenced.store.errors import StateDamagedError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.schema import ForgetRow
from presenced.store.totals import Total
from presenced.store.writer import Done, Writer, WriterCounts
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

_FLUSH_AFTER = 0.1
# Rows take 10 µs each to collect: more of them would hold the event loop for long.
_FLUSH_ABOVE = 500
_CLOSE_TIMEOUT = 1.4


class StateStore:
    """Presence, registry, totals and sessions of one daemon, kept in its state file.

    `gap_detector` has the sessions of MQTT, and is None with another source. `recent` is the recent
    activity of the fleet, None if nothing shows it.

    `open` restores them before anything changes; `start` begins to write. From `start` on all
    methods must be called on the event loop.
    """

    def __init__(
        self,
        path: Path,
        pipeline: Pipeline,
        gap_detector: GapDetector | None,
        totals: Iterable[Total],
        on_error: Literal["continue", "stall"],
        clocks: Clocks,
        recent: RecentActivity | None = None,
    ) -> None:
        self.path = path
        self.counts = WriterCounts()
        self._unusable: StateUnusableError | None = None
        self._damage: StateDamagedError | None = None
        self._pipeline = pipeline
        self._on_error = on_error
        self._recent = recent
        self._collector = Collector(pipeline, gap_detector, totals, clocks, self.counts, recent)
        self._file: StateFile | None = None
        self._writer: Writer | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._log = get_logger("presenced.state", path=str(path))
        self._throttled = ThrottledLogger(self._log)

    def open(self, damage: StateDamagedError | None = None) -> None:
        """Open the file and restore what it holds.

        `damage` is that of the file that was in its place and has been moved aside. Raises
        StateError if the file cannot or must not be used, StateDamagedError if it was damaged and
        has been moved aside. Part of it may have been restored by then, so the daemon needs a new
        fleet.
        """
        began = time.monotonic()
        if damage is not None:
            self._damage = damage
            self.counts.failures["corrupt"] += 1
            self._log.error(
                "the state file was damaged; presenced starts without its former state",
                detail=damage.detail,
                moved_aside=str(damage.moved_aside),
            )
        StateFile.open(self.path, self._restore)
        self._log.info(
            "state restored",
            clients=len(self._pipeline.fleet.presence.clients),
            things=len(self._pipeline.fleet.inventory.things.live),
            seconds=round(time.monotonic() - began, 2),
        )

    def _restore(self, file: StateFile) -> None:
        self._file = file
        self._collector.restore(file)
        self._pipeline.recount()

    def run_from_memory(self, error: StateUnusableError) -> None:
        """Keep nothing, because the file cannot be used; call it instead of `open`."""
        self._unusable = error
        self.counts.unavailable = True
        self.counts.failures[error.cause] += 1
        self._log.warning(
            "the state file cannot be used; presenced runs from memory until its next start",
            cause=error.cause,
            detail=error.detail,
            remedy=error.remedy,
        )

    @property
    def problems(self) -> list[str]:
        """What is wrong with the file, each with its consequence and the remedy."""
        problems = []
        if (error := self._unusable) is not None:
            problems.append(
                _problem("used", error, "presenced runs from memory until its next start")
            )
        elif self._writer is not None and (error := self._writer.failure) is not None:
            consequence = (
                "messages are not acknowledged, so the source soon delivers no more"
                if self._on_error == "stall"
                else "a crash loses what has changed meanwhile"
            )
            problems.append(_problem("written", error, consequence))
        if self._damage is not None:
            problems.append(
                "the state file was damaged at the start of presenced, which began without its "
                "former state: a client is unknown until its next event or the next snapshot of "
                "AWS's record; the log has the cause, and where the file is now"
            )
        return problems

    def start(self) -> None:
        """Begin to write."""
        if self._file is not None:
            self._writer = Writer(
                self._file,
                on_error=self._on_error,
                on_forget=self._forget,
                counts=self.counts,
            )
            self._writer.start()

    def observe(self, batch: Batch) -> None:
        """Note what a batch changed, to be written by the next flush."""
        if self._file is not None:
            self._collector.dirty.observe(batch)

    def flush(self, done: Done | None = None) -> None:
        """Write what has changed: within 0.1 s, or at once with `done` or if it is much.

        `done` is called when it is in the file, or when it cannot be written and `on_error` is
        `continue`.
        """
        if done is None:
            if self._flush_timer is None:
                loop = asyncio.get_running_loop()
                self._flush_timer = loop.call_later(_FLUSH_AFTER, self._flush_now)
            elif len(self._collector.dirty) >= _FLUSH_ABOVE:
                self._flush_timer.cancel()
                self._flush_now()
        elif self._writer is None:
            done()
        else:
            self._writer.submit(self._collector.collect(), done)

    def flush_failed(self) -> bool:
        """Log and count the failure that `flush` just raised; return whether to go on regardless.

        What it did not write is written by the next flush.
        """
        self.counts.failures["other"] += 1
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

    def note_reload(self, problems: Sequence[str]) -> None:
        """Tell `presenced reload` what was wrong with a reload."""
        if (file := self._file) is not None:
            in_thread(lambda: file.note_reload(problems), name="state lock")

    async def close(self) -> None:
        """Write what is left and release the file."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        writer, self._writer = self._writer, None
        if writer is not None:
            if self._recent is not None:
                self._recent.mass_events.note_growing()
            writer.submit(self._collector.collect())
            if not await in_thread(lambda: writer.close(_CLOSE_TIMEOUT), name="state file"):
                self._log.error("the last changes could not be written to the state file")
        elif self._file is not None:
            self._file.close()

    def _flush_now(self) -> None:
        self._flush_timer = None
        if self._writer is not None and (changes := self._collector.collect()):
            self._writer.submit(changes)

    def _forget(self, requests: Sequence[ForgetRow]) -> None:
        self._pipeline.forget([request.client_id for request in requests], "requested")
        self._collector.requests += requests
        self._log.info("clients forgotten on request", clients=len(requests))
        self.flush()


def _problem(verb: str, error: StateUnusableError, consequence: str) -> str:
    return f"the state file cannot be {verb} ({error.cause}): {consequence}; {error.remedy}"
