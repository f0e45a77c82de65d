"""Helpers for the event loop: clocks, signals, tasks, blocking calls, long work in short slices."""

import asyncio
import concurrent.futures
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CANCEL_AGAIN_AFTER = 3.0


class Clocks(NamedTuple):
    """The clocks of the machine: monotonic, and wall-clock since the epoch; in seconds."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Yield an event that is set by the first signal that asks the program to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


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


def abort_transport(transport: asyncio.WriteTransport) -> None:
    """Close a connection at once, without writing what is left.

    On Python 3.11.2, that of Debian 12, a TLS transport that was closed twice before raises
    AttributeError; it is closing already. Later versions do nothing then.
    """
    with suppress(AttributeError):
        transport.abort()


async def to_its_end(work: Awaitable[T]) -> T:
    """Return the result of work that goes on to its end even if the caller is cancelled.

    The caller is then cancelled at that end.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Tasks:
    """The tasks of one owner: kept alive, cancelled together, their failures reported.

    `on_failure` gets the name of a task and what it raised.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task."""
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
            # Library code can swallow a cancellation (asyncio.wait_for did before Python 3.12). A
            # repetition that comes too soon would interrupt the cleanup of a task.
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_AFTER)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)


def in_thread(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Run a blocking call in a thread of its own and return the future of its result.

    Unlike the threads of an executor, the thread does not delay the end of the process: SIGTERM
    must work while a name resolution hangs.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised by the future
            future.set_exception(error)
        else:
            future.set_result(result)

    waiting = asyncio.wrap_future(future)
    threading.Thread(target=run, name=name, daemon=True).start()
    return waiting


class BoundedThread:
    """Runs blocking calls in a thread called `name`, one at a time, each for at most `seconds`.

    A call that takes longer raises TimeoutError and goes on in its thread. Until it ends, further
    calls wait for it, and raise TimeoutError too: a file system that hangs occupies one thread.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._running: asyncio.Future[Any] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of a call. Raises what it raises, and TimeoutError."""
        async with asyncio.timeout(self._seconds), self._lock:
            if self._running is not None:
                await asyncio.wait({self._running})
            self._running = running = in_thread(work, name=self._name)
            # Else asyncio reports a failure that comes after the time limit.
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            return await asyncio.shield(running)


class CooperativeScheduler:
    """Runs pieces of work one at a time on the event loop, each for `seconds` without interruption.

    Between two iterations of the loop only one slice runs, however many pieces of work there are.
    With the default a task that waits for a timer is delayed by up to three slices, 6 ms. Work in
    the background waits while there is other work, but for each slice at most `patience` seconds.
    """

    def __init__(self, seconds: float = 0.002, patience: float = 0.02) -> None:
        self.seconds = seconds
        self._patience = patience
        self._lock = asyncio.Lock()
        self._foreground = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def turn(self, *, background: bool = False) -> AsyncIterator["TimeSlice"]:
        """Wait for the loop, and yield the time slice to work in."""
        turn, foreground = TimeSlice(self, background=background), 0 if background else 1
        self._count(foreground)
        try:
            await turn.take()
            yield turn
        finally:
            turn.release()
            self._count(-foreground)

    async def acquire(self, *, background: bool) -> None:
        """Wait until no other work has the loop, for its next slice."""
        if background:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._idle.wait()
        await self._lock.acquire()

    def release(self) -> None:
        """Let other work have the loop."""
        self._lock.release()

    def _count(self, change: int) -> None:
        self._foreground += change
        if self._foreground:
            self._idle.clear()
        else:
            self._idle.set()


class TimeSlice:
    """The right to hold the event loop; call `yield_if_due` between small steps of work."""

    def __init__(self, scheduler: CooperativeScheduler, *, background: bool) -> None:
        self._scheduler = scheduler
        self._background = background
        self._held = False
        self._until = 0.0

    async def take(self) -> None:
        """Wait for the right."""
        await self._scheduler.acquire(background=self._background)
        self._held = True
        # One iteration of the loop first: the previous holder may just have used up a slice.
        await asyncio.sleep(0)
        self._until = time.perf_counter() + self._scheduler.seconds

    def release(self) -> None:
        """Give up the right if it is held; after a cancelled `take` it is not."""
        if self._held:
            self._held = False
            self._scheduler.release()

    async def yield_if_due(self) -> None:
        """Let other work and the loop go on if the slice is used up."""
        if time.perf_counter() >= self._until:
            self.release()
            await self.take()


def freeze_survivors() -> None:
    """Exclude all live objects from garbage collection, after collecting the young generations."""
    gc.collect(1)
    gc.freeze()


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Exclude all objects, including those created in this block, from garbage collection.

    Restored clients live as long as the daemon. Each collection would examine up to a million of
    them and block the event loop for tens of milliseconds.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
