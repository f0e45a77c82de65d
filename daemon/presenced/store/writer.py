"""The thread that writes the state file, so that the event loop never waits for a disk."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from presenced.presence.counts import Distribution
from presenced.store.changes import Changes
from presenced.store.errors import REMEDIES, StateError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.schema import ForgetRow
from presenced.system.log import get_logger

_COMMIT_INTERVAL, _POLL_INTERVAL = 0.1, 1.0
_FIRST_RETRY, _LAST_RETRY = 0.1, 30.0
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Done = Callable[[], None]


class WriterCounts:
    """Counts of the writer. `durations` and `last_commit` (since the epoch) are in seconds.

    `unavailable` is whether the file could not be opened at start.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self.commits = 0
        self.failures = Counter(dict.fromkeys(REMEDIES, 0))
        self.rows_refused = 0
        self.durations = Distribution(_BUCKETS)
        self.last_commit = 0.0


class Writer:
    """Commits what is submitted, several submissions in one transaction.

    A commit begins at most 100 ms after a submission, and at once if the submission has a `done`.
    What cannot be written is kept and tried again after 0.1 to 30 seconds. Only the latest version
    of each row is kept, and none of a row that was created and deleted meanwhile, so that memory is
    bounded by what the file and presence hold. While writing fails, `continue` calls the `done` of
    submissions as if they were committed, `stall` holds it back.

    Create it and call `submit` on the event loop, on which it calls `done` and `on_forget`.
    `on_forget` gets operators' requests to forget clients; submit what follows from them together
    with the deletion of the requests. The writer closes the file in the end. `failure` is why the
    last attempt to write failed, None if it did not.
    """

    def __init__(
        self,
        file: StateFile,
        *,
        on_forget: Callable[[Sequence[ForgetRow]], None],
        on_error: Literal["continue", "stall"],
        counts: WriterCounts,
    ) -> None:
        self._counts = counts
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._on_forget = on_forget
        self._stalls = on_error == "stall"
        self._wake = threading.Condition()
        self._pending = Changes()
        self._waiting: list[Done] = []
        self._closing = False
        self._failing_since: float | None = None
        self.failure: StateUnusableError | None = None
        self._retry_after = 0.0
        self._due = 0.0
        self._poll_at = 0.0
        self._last_request = 0
        self._log = get_logger("presenced.state", path=str(file.path))
        self._thread = threading.Thread(target=self._run, name="state writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._failing_since is not None

    def submit(self, changes: Changes, done: Done | None = None) -> None:
        """Hand over changes, which the writer will empty; call `done` once they are committed."""
        with self._wake:
            was_idle = not self._pending
            if was_idle:
                self._pending = changes
            else:
                self._pending.merge(changes)
            if done is not None and self.failing and not self._stalls:
                self._loop.call_soon(done)
            elif done is not None:
                self._waiting.append(done)
            if done is not None or was_idle:
                self._wake.notify()

    def close(self, timeout: float) -> bool:
        """Write what is left, close the file and end the thread; return whether all was written.

        This blocks for up to `timeout` seconds. There is one more attempt, also if writing failed.
        Nothing may be submitted after it.
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
        """Wait until something is due and do it; return whether there is another turn."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, the daemon goes on
            if not isinstance(error, StateUnusableError):
                error = StateUnusableError(self._file.path, "other", repr(error))
            self._failed(changes, waiting, error)
            return
        ended = time.monotonic()
        self._counts.commits += 1
        self._counts.durations.observe(ended - began)
        self._counts.last_commit = time.time()
        self._due = began + _COMMIT_INTERVAL
        self._call_on_loop(*waiting)
        changes.discard()
        if refused:
            self._counts.rows_refused += refused
            self._log.warning(
                "rows left out of the state file for values it cannot hold", rows=refused
            )
        if self._failing_since is not None:
            failed_for = round(ended - self._failing_since, 1)
            self._failing_since, self.failure, self._retry_after = None, None, 0.0
            self._log.info("the state file is written again", failed_for=failed_for)

    def _failed(self, changes: Changes, waiting: list[Done], error: StateUnusableError) -> None:
        self._counts.failures[error.cause] += 1
        now = time.monotonic()
        self._retry_after = min(max(2 * self._retry_after, _FIRST_RETRY), _LAST_RETRY)
        self._due = now + self._retry_after
        with contextlib.suppress(sqlite3.Error):  # the file cannot be read either
            self._file.drop_needless_deletions(changes)
        with self._wake:
            changes.merge(self._pending)
            self._pending = changes
            if self._failing_since is None:
                self._failing_since = now
            # From here on `submit` itself releases what waits.
            held = waiting + self._waiting
            self._waiting = held if self._stalls else []
        before, self.failure = self.failure, error
        if before is None or before.cause != error.cause:
            self._log.error(
                "the state file cannot be written; presenced tries again",
                cause=error.cause,
                detail=error.detail,
                remedy=error.remedy,
                acknowledgements="held back" if self._stalls else "go on",
            )
        if not self._stalls:
            self._call_on_loop(*held)

    def _poll(self) -> None:
        """Look for operators' requests, which another process writes into the file."""
        self._poll_at = time.monotonic() + _POLL_INTERVAL
        try:
            stored = self._file.read(ForgetRow)
            requests = [request for request in stored if request.id > self._last_request]
        except StateError:
            return  # a serious error also fails the next commit
        if requests:
            self._last_request = requests[-1].id
            self._call_on_loop(lambda: self._on_forget(requests))

    def _call_on_loop(self, *calls: Done) -> None:
        def call_all() -> None:
            for call in calls:
                try:
                    call()
                except Exception:  # noqa: BLE001 - the other calls must still be made
                    self._log.exception(
                        "messages not acknowledged because of an error in presenced"
                    )

        if calls:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
                self._loop.call_soon_threadsafe(call_all)
