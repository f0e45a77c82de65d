"""Long work on the event loop in short slices."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Pace", "Turn"]

# A task that waits for a timer may have to wait for three slices.
_SLICE = 0.002


class Turn:
    """The right to hold the event loop; `breathe` is to be called between small steps of work."""

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

    async def breathe(self) -> None:
        """Let others go on, where the slice is used up."""
        if time.perf_counter() >= self._until:
            self.give()
            await self.take()


class Pace:
    """Lets one piece of work at a time hold the loop, for `seconds` at once.

    However many pieces of work are done side by side, all of them together hold the loop for one
    slice each time that it goes round.
    """

    def __init__(self, seconds: float = _SLICE) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Work in slices, as long as this is entered."""
        turn = Turn(self._lock, self._seconds)
        try:
            await turn.take()
            yield turn
        finally:
            turn.give()
