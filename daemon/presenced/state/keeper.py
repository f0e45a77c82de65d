"""Keeps what must outlive the process: restores it at start, and writes down what changes."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Literal

import msgspec

from presenced.completeness import Clocks, Completeness
from presenced.log import get_logger
from presenced.mqtt.background import in_thread
from presenced.pipeline import Pipeline
from presenced.presence import State
from presenced.state.changes import Changes
from presenced.state.errors import StateDamagedError, StateError, StateUnusableError
from presenced.state.file import StateFile
from presenced.state.records import (
    client_row,
    thing_group_row,
    thing_row,
    thing_type_row,
    unknown_row,
)
from presenced.state.restoration import (
    DOUBTED_AT,
    FILTERS,
    GAPS,
    SESSION,
    restore_fleet,
    sessions_of,
    sound,
)
from presenced.state.rows import ClientRow, CounterRow, DisconnectRow, ForgetRow
from presenced.state.tallies import Tallies
from presenced.state.writer import CommitFailure, Writer, WriterCounts
from presenced.touched import Touched

__all__ = ["Keeper"]

_LATER = 0.1
_OPEN_AGAIN_AFTER = 10.0
_CLOSE_WITHIN = 1.4

Done = Callable[[], None]


class Keeper:
    """The state file of one daemon, and what it holds: presence, registry, totals, sessions.

    `open` comes before anything changes; from `start` on all methods belong to the event loop.
    `on_late_restore` is told when a file that could not be used at first has been taken on after
    all.
    """

    def __init__(
        self,
        path: Path,
        pipeline: Pipeline,
        completeness: Completeness,
        on_error: Literal["continue", "stall"],
        clocks: Clocks,
        *,
        on_late_restore: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.counts = WriterCounts()
        self._pipeline = pipeline
        self._fleet = pipeline.fleet
        self._completeness = completeness
        self._on_error = on_error
        self._clocks = clocks
        self._on_late_restore = on_late_restore
        self._touched = Touched()
        self._tallies = Tallies(pipeline, completeness)
        self._noted: dict[str, str] = {}
        self._trouble = ""
        self._requests: list[ForgetRow] = []
        self._file: StateFile | None = None
        self._writer: Writer | None = None
        self._opening: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._log = get_logger("presenced.state", path=str(path))

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
        self._fleet.track(self._touched)
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
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.submit(self._collect())
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
        self._requests += requests
        self._log.info("clients forgotten on request", clients=len(requests))
        self.flush()

    def _take_on(self, file: StateFile, *, late: bool = False) -> None:
        began = time.monotonic()
        try:
            self._restore(file, late=late)
        except BaseException as error:
            with closing(file):
                if isinstance(error, StateDamagedError):
                    self._tell_damaged(file.start_over())
            raise
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

    def _take_on_late(self, file: StateFile) -> None:
        try:
            self._take_on(file, late=True)
        finally:  # also where it was damaged, and something has been read of it
            self._fleet.recount()
            self._on_late_restore()

    def _restore(self, file: StateFile, *, late: bool) -> None:
        now = self._clocks.monotonic()
        with sound(file):
            restore_fleet(file, self._fleet, now, self._clocks.wall() - now, late=late)
            self._tallies.restore(chain.from_iterable(file.read(CounterRow)))
            sessions = sessions_of(file)
        for prefix in (SESSION, FILTERS):
            self._noted |= {prefix + session.client_id: "" for session in sessions}
        self._completeness.remember(sessions)

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
                self._take_on_late(file)
            except StateDamagedError:
                continue  # and moved aside: the next attempt makes a new one
            except StateError as error:
                self._run_without(error)
            except Exception:  # noqa: BLE001 - the next attempt may go better
                self._log.exception("could not take the state file on")
        self._start_writer(self._file)
        self.flush()

    def _start_writer(self, file: StateFile) -> None:
        loop = asyncio.get_running_loop()
        self._writer = Writer(file, self, loop, on_error=self._on_error, counts=self.counts)
        self._writer.start()

    def _run_without(self, error: StateError) -> None:
        """Count that the file cannot be used, and log it where that is news."""
        self.counts.failures[getattr(error, "cause", "other")] += 1
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._log.error("presenced runs without its state file for now", detail=self._trouble)

    def _flush_now(self) -> None:
        self._later = None
        if self._writer is not None:
            self._submit(None)

    def _submit(self, done: Done | None) -> None:
        changes = self._collect()
        if self._writer is not None and (changes or done):
            self._writer.submit(changes, done)

    def _collect(self) -> Changes:
        """All that has changed since the last time."""
        changes = Changes()
        self._collect_clients(changes)
        inventory, touched = self._fleet.inventory, self._touched
        for name in touched.things:
            thing = inventory.things.get(name)
            changes.things[name] = None if thing is None else thing_row(thing)
        for name in touched.thing_groups:
            group = inventory.groups.get(name)
            changes.thing_groups[name] = None if group is None else thing_group_row(group)
        for name in touched.thing_types:
            kind = inventory.types.get(name)
            changes.thing_types[name] = None if kind is None else thing_type_row(kind)
        changes.counted_disconnects = {
            number: None if digest is None else DisconnectRow(number, digest)
            for number, digest in touched.disconnects.items()
        }
        touched.clear()
        self._tallies.collect(changes)
        self._note(changes, GAPS, str(self._fleet.presence.gaps))
        self._note(changes, DOUBTED_AT, repr(self._fleet.presence.doubted_at))
        self._note_sessions(changes)
        for request in self._requests:
            changes.done(request)
        self._requests = []
        return changes

    def _collect_clients(self, changes: Changes) -> None:
        presence = self._fleet.presence
        offset = self._clocks.wall() - self._clocks.monotonic()
        for client_id in self._touched.clients:
            row: ClientRow | None = None
            client = presence.clients.get(client_id)
            forgotten = presence.departed.get(client_id)
            if client is None:
                if forgotten is not None:
                    row = client_row(forgotten, offset, departed=True)
            elif client.state is State.UNKNOWN and forgotten is not None:
                row = unknown_row(client, forgotten, offset)
            else:
                row = client_row(client, offset, departed=False)
            changes.clients[client_id] = row

    def _note_sessions(self, changes: Changes) -> None:
        notes: dict[str, str] = {}
        for each in self._completeness.sessions:
            notes[SESSION + each.client_id] = str(math.floor(each.alive_at))
            if each.subscribed is not None:
                notes[FILTERS + each.client_id] = msgspec.json.encode(each.subscribed).decode()
        for key in [each for each in self._noted if each.startswith((SESSION, FILTERS))]:
            if key not in notes:
                del self._noted[key]
                changes.meta[key] = None
        for key, value in notes.items():
            self._note(changes, key, value)

    def _note(self, changes: Changes, key: str, value: str) -> None:
        if self._noted.get(key) != value:
            self._noted[key] = value
            changes.note(key, value)
