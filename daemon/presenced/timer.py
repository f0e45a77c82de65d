"""One timer of the event loop for all deadlines of presence."""

import asyncio
from collections.abc import Callable

__all__ = ["DeadlineTimer"]


class DeadlineTimer:
    """Calls `fire` when the earliest deadline is due.

    `next_deadline` tells it, on the clock of the loop. A deadline that was put off or cancelled
    leaves the timer as it is: firing early costs one look, and moving it with every event more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        next_deadline: Callable[[], float | None],
        fire: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._next_deadline = next_deadline
        self._fire = fire
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = False

    def arm(self) -> None:
        """See to it that the timer goes off no later than the earliest deadline."""
        deadline = self._next_deadline()
        if deadline is None or self._stopped:
            return
        if self._handle is not None:
            if self._handle.when() <= deadline:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(deadline, self._go_off)

    def stop(self) -> None:
        """Let nothing more go off, for good."""
        self._stopped = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _go_off(self) -> None:
        self._handle = None
        try:
            self._fire()
        finally:
            self.arm()
