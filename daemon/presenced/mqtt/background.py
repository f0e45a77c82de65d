"""Work beside the event loop: blocking calls and tasks whose failures are seen."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Tasks", "in_thread"]

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
