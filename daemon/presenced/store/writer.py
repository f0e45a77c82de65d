"""A thread that writes the state file, so that the event loop never waits for a disk."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from presenced.presence.counts import Distribution
from presenced.store.changes import Changes
from presenced.store.errors import CAUSES, REMEDIES, cause_of
from presenced.store.file import StateFile
from presenced.store.schema import ForgetRow

_INTERVAL = 0.1
_POLL = 1.0
_FIRST_RETRY, _LONGEST_RETRY = 0.1, 30.0
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Done = Callable[[], None]


class CommitFailure(NamedTuple):
    """Why nothing could be written; `cause` is one of CAUSES, `remedy` says what to do."""

    cause: str
    detail: str
    remedy: str


class WriterListener(Protocol):
    """Who is told, on the event loop, what became of the writing."""

    def commits_fail(self, failure: CommitFailure) -> None:
        """Writing has begun to fail, or fails for another reason than before."""

    def commits_succeed(self, seconds: float) -> None:
        """Writing succeeds again, after so many seconds; nothing was lost."""

    def rows_refused(self, count: int) -> None:
        """So many rows were left out of a commit: SQLite does not take their values."""

    def forget(self, requests: Sequence[ForgetRow]) -> None:
        """An operator asks to forget clients: submit what follows, and the requests as `done`."""


class WriterCounts:
    """What the writer has counted. `durations` and `last_commit` (epoch) are in seconds.

    `unavailable` is whether the file could not be opened at the start.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self.commits = 0
        self.failures = Counter(dict.fromkeys(CAUSES, 0))
        self.rows_refused = 0
        self.durations = Distribution(_BUCKETS)
        self.last_commit = 0.0


class Writer:
    """Commits what is submitted, several submissions in one transaction.

    A commit begins at most 100 ms after a submission, and at once when one waits for it to be done.
    What cannot be written is kept and tried again after 0.1 to 30 seconds; of each row only the
    latest is kept, and nothing of those that came and went meanwhile, so that memory is bounded by
    what the file and presence hold. While writing fails, `continue` calls what waits as if it were
    done, `stall` holds it back.

    `submit` belongs to the event loop, and everything is told there. The file belongs to the
    writer, which closes it in the end.
    """

    def __init__(
        self,
        file: StateFile,
        listener: WriterListener,
        loop: asyncio.AbstractEventLoop,
        *,
        on_error: Literal["continue", "stall"] = "continue",
        counts: WriterCounts | None = None,
    ) -> None:
        self.counts = counts or WriterCounts()
        self._file = file
        self._listener = listener
        self._loop = loop
        self._stalls = on_error == "stall"
        self._wake = threading.Condition()
        self._pending = Changes()
        self._waiting: list[Done] = []
        self._closing = False
        self._failing_since: float | None = None
        self._cause = ""
        self._retry_after = 0.0
        self._due = 0.0
        self._poll_at = 0.0
        self._last_request = 0
        self._thread = threading.Thread(target=self._run, name="state writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._failing_since is not None

    def submit(self, changes: Changes, done: Done | None = None) -> None:
        """Hand over changes, which are the writer's from now on, and which it empties.

        `done` is called on the loop once they are committed.
        """
        with self._wake:
            was_idle = not self._pending
            if was_idle:
                self._pending = changes
            else:
                self._pending.merge(changes)
            released = done is not None and self.failing and not self._stalls
            if done is not None and not released:
                self._waiting.append(done)
            if done is not None or was_idle:
                self._wake.notify()
        if released and done is not None:
            self._loop.call_soon(done)

    def close(self, timeout: float) -> bool:
        """Write what is left, close the file and end the thread; whether all was written.

        Waits at most `timeout` seconds, so the event loop should have a thread do it. There is one
        more attempt, also where writing failed. Nothing may be submitted any more.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive() and not self._pending

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            self._file.close()

    def _turn(self) -> bool:
        """Wait for something to do and do it; whether there is another turn."""
        with self._wake:
            while (seconds := self._seconds_to_wait()) > 0:
                self._wake.wait(seconds)
            last = self._closing
            changes, self._pending = self._pending, Changes()
            waiting, self._waiting = self._waiting, []
        if changes or waiting or self.failing:
            self._commit(changes, waiting)
        if not last and not self.failing and time.monotonic() >= self._poll_at:
            self._poll()
        return not last

    def _seconds_to_wait(self) -> float:
        if self._closing:
            return 0.0
        if self.failing or (self._pending and not self._waiting):
            return self._due - time.monotonic()
        return 0.0 if self._waiting else self._poll_at - time.monotonic()

    def _commit(self, changes: Changes, waiting: list[Done]) -> None:
        began = time.monotonic()
        try:
            refused = self._file.commit(changes)
        except Exception as error:  # noqa: BLE001 - whatever it is, the daemon runs on memory
            self._failed(changes, waiting, error)
            return
        ended = time.monotonic()
        self.counts.commits += 1
        self.counts.durations.observe(ended - began)
        self.counts.last_commit = time.time()
        self._due = began + _INTERVAL
        self._tell(*waiting)
        changes.discard()
        if refused:
            self.counts.rows_refused += refused
            self._tell(lambda: self._listener.rows_refused(refused))
        if self._failing_since is not None:
            failed_for = ended - self._failing_since
            self._failing_since, self._cause, self._retry_after = None, "", 0.0
            self._tell(lambda: self._listener.commits_succeed(failed_for))

    def _failed(self, changes: Changes, waiting: list[Done], error: Exception) -> None:
        cause = cause_of(error, self._file.path)
        self.counts.failures[cause] += 1
        now = time.monotonic()
        self._retry_after = min(max(2 * self._retry_after, _FIRST_RETRY), _LONGEST_RETRY)
        self._due = now + self._retry_after
        with contextlib.suppress(sqlite3.Error):  # a file that cannot be read either
            self._file.drop_needless(changes)
        with self._wake:
            changes.merge(self._pending)
            self._pending = changes
            if self._failing_since is None:
                self._failing_since = now
            # From here on `submit` lets go of what waits by itself.
            held = waiting + self._waiting
            self._waiting = held if self._stalls else []
        if cause != self._cause:
            self._cause = cause
            failure = CommitFailure(cause, str(error), REMEDIES[cause])
            self._tell(lambda: self._listener.commits_fail(failure))
        if not self._stalls:
            self._tell(*held)

    def _poll(self) -> None:
        """Ask for requests of operators, which another process writes into the file."""
        self._poll_at = time.monotonic() + _POLL
        try:
            requests = self._file.forget_requests(self._last_request)
        except sqlite3.Error:
            return  # if it is serious the next commit tells
        if requests:
            self._last_request = requests[-1].id
            self._tell(lambda: self._listener.forget(requests))

    def _tell(self, *calls: Done) -> None:
        def call_all() -> None:
            for call in calls:
                call()

        if calls:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(call_all)
