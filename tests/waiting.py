"""Waiting for something to become true, with a deadline and never by luck; and doing meanwhile."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def wait_for(condition: Callable[[], object], timeout: float = 20.0, what: str = "") -> None:
    """Block until the condition holds; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.01)


async def until(condition: Callable[[], object], timeout: float = 20.0, what: str = "") -> None:
    """Let the loop run until the condition holds; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        await asyncio.sleep(0.01)


async def until_async(
    condition: Callable[[], Awaitable[object]], timeout: float = 20.0, what: str = ""
) -> None:
    """As `until`, for a condition that is awaited."""
    deadline = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        await asyncio.sleep(0.01)


@contextmanager
def repeated(step: Callable[[], object], *, every: float) -> Iterator[None]:
    """Call a function in a thread until the block ends, with `every` seconds between two calls.

    Raises at the end of the block what the function has raised.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every):
            step()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            ended.set()
        running.result()
