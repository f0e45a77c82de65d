"""Small helpers for things that run side by side.

Work beside the event loop: blocking calls and tasks whose failures are seen.

Long work on the event loop in short slices.

What is made to stay, and the garbage collector.
"""

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeVar


class Clocks(NamedTuple):
    """The clocks of the machine: monotonic, and wall-clock since the epoch; in seconds."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def race(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run all until the first one ends, cancel the others, and raise what any of them raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Catch the signals that ask a program to end; the event is set by the first one."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


T = TypeVar("T")

_PATIENCE = 3.0


def in_thread(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Run a blocking call in a thread of its own and return the future of its result.

    Unlike those of an executor, such a thread never holds up the end of the process: a name
    resolution that hangs must not keep SIGTERM waiting.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as failure:  # noqa: BLE001 - it is handed to the waiting coroutine
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class Tasks:
    """The tasks of one owner: kept alive, cancelled together, and never failing unseen."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task; what it raises goes to `on_failure` with the name."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def cancel(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        pending = {task for task in self._tasks if task is not asyncio.current_task()}
        while pending:
            for task in pending:
                task.cancel()
            # Once more after a while: library code can swallow a cancellation (asyncio.wait_for
            # did before Python 3.12), and too soon would cut short what a task does to end well.
            _, pending = await asyncio.wait(pending, timeout=_PATIENCE)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)


# A task that waits for a timer may have to wait for three slices.
_SLICE = 0.002


class TimeSlice:
    """The right to hold the event loop; call `yield_if_due` between small steps of work."""

    def __init__(self, lock: asyncio.Lock, seconds: float) -> None:
        self._lock = lock
        self._seconds = seconds
        self._held = False
        self._until = 0.0

    async def take(self) -> None:
        """Wait until nobody else has the right."""
        await self._lock.acquire()
        self._held = True
        # The loop goes round first: who had the right before may have used up a slice just now.
        await asyncio.sleep(0)
        self._until = time.perf_counter() + self._seconds

    def give(self) -> None:
        """Let the next one work, where the right is held."""
        if self._held:
            self._held = False
            self._lock.release()

    async def yield_if_due(self) -> None:
        """Let others go on, where the slice is used up."""
        if time.perf_counter() >= self._until:
            self.give()
            await self.take()


class CooperativeScheduler:
    """Lets one piece of work at a time hold the loop, for `seconds` at once.

    However many pieces of work are done side by side, all of them together hold the loop for one
    slice each time that it goes round.
    """

    def __init__(self, seconds: float = _SLICE) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[TimeSlice]:
        """Work in slices, as long as this is entered."""
        turn = TimeSlice(self._lock, self._seconds)
        try:
            await turn.take()
            yield turn
        finally:
            turn.give()


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Leave all that is made within to no garbage collection, then or later.

    What is restored stays for as long as the daemon runs. The garbage collector need not look at it
    again and again while it is built, nor ever after: with a million clients each look would hold
    up the event loop for tens of milliseconds.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
