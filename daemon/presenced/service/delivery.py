"""From the inbox to what is applied, written down and acknowledged; and how far deadlines may fire.

A broker sends no more than some messages unacknowledged (MQTT 5 section 4.9), and an
acknowledgement waits until its effect is in the state file. So no deadline fires that lies after
the oldest message that waits, in the inbox or for its commit: the connect that comes in time for it
may be the next.

One timer of the event loop for all deadlines of presence.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from presenced.events.message import Message
from presenced.pipeline import Pipeline
from presenced.sources.gap_detector import GapDetector
from presenced.sources.inbox import Inbox
from presenced.sources.status import ConnectionStatus
from presenced.store.state_store import StateStore


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


_STALLED_AFTER = 0.5
_MOST_DEADLINES_A_TURN = 500


class Delivery:
    """What happens to messages on the event loop, and to deadlines beside them.

    `inbox` is where messages come in. `store` is None where nothing is written down.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipeline: Pipeline,
        gap_detector: GapDetector,
        store: StateStore | None,
    ) -> None:
        self._pipeline = pipeline
        self._gap_detector = gap_detector
        self._store = store
        # When messages arrived that wait for a commit.
        self._unacknowledged: deque[float] = deque()
        self._outage_held_at = math.inf
        self.inbox = Inbox(loop, self._deliver, settled=store.settled if store else None)
        self.timer = DeadlineTimer(loop, lambda: pipeline.next_deadline, self._fire)

    def hold(self, held_at: float) -> None:
        """Let no deadline fire that lies after this monotonic time, because of an outage."""
        self._outage_held_at = held_at
        self._hold_deadlines()

    def look(self, statuses: Sequence[ConnectionStatus]) -> None:
        """Look for what may have been missed, on connections that are in these states."""
        now = time.monotonic()
        unacknowledged = self._unacknowledged[0] if self._unacknowledged else now
        if now - unacknowledged >= _STALLED_AFTER:
            self._gap_detector.hold_back(unacknowledged)
        oldest = min(unacknowledged, self.inbox.oldest or now)
        self._gap_detector.look(
            statuses, self._pipeline.traffic, stalled=now - oldest >= _STALLED_AFTER
        )

    def close(self) -> None:
        """Apply what waits, take nothing after that, and let no deadline fire any more.

        What comes from now on is refused, and may be the connect that is in time for a deadline: it
        comes again to the next process, which fires what is due then.
        """
        self.inbox.close()
        self.timer.stop()

    def flush(self) -> None:
        """Have written down what has changed, soon."""
        if self._store is not None:
            self._store.flush()

    def _deliver(self, batch: list[Message]) -> int:
        self._pipeline.heard = self._gap_detector.heard if self._gap_detector.catching_up else None
        try:
            applied = self._pipeline.process(batch, _MOST_DEADLINES_A_TURN)
            acknowledge = [m.acknowledge for m in batch[:applied] if m.acknowledge is not None]
            if self._store is None:
                _call(acknowledge)
            else:
                self._keep(self._store, batch[0].moment, acknowledge)
        finally:
            self.timer.arm()
        return applied

    def _keep(
        self, store: StateStore, oldest: float, acknowledge: list[Callable[[], None]]
    ) -> None:
        """Have written what was applied, and acknowledged then.

        No failure may reach the inbox: it would acknowledge those of the batch, too, that were not
        applied. They are to be brought again.
        """
        if not acknowledge:
            store.flush()
            return
        self._unacknowledged.append(oldest)
        self._hold_deadlines()
        try:
            store.flush(lambda: self._acknowledge(acknowledge))
        except Exception:  # noqa: BLE001 - logged and counted
            self._unacknowledged.pop()
            self._hold_deadlines()
            if store.flush_failed():
                _call(acknowledge)

    def _acknowledge(self, calls: list[Callable[[], None]]) -> None:
        self._unacknowledged.popleft()
        try:
            _call(calls)
        finally:
            self._hold_deadlines()

    def _hold_deadlines(self) -> None:
        oldest = self._unacknowledged[0] if self._unacknowledged else math.inf
        self._pipeline.held_at = min(self._outage_held_at, oldest)
        self.timer.arm()

    def _fire(self) -> None:
        now = time.monotonic()
        offset = time.time() - now
        oldest = self.inbox.oldest
        until = now if oldest is None else min(now, oldest)
        self._pipeline.advance(until, offset, most=_MOST_DEADLINES_A_TURN)
        self.flush()


def _call(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        call()
