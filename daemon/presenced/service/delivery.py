"""From the inbox to applied, stored and acknowledged messages; and the timer of all deadlines.

A broker sends a bounded number of messages unacknowledged (MQTT 5 section 4.9), and an
acknowledgement waits until its effect is in the state file. So no deadline fires that lies after
the oldest waiting message, in the inbox or waiting for its commit: the connect that arrives in time
for it may be the next.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from presenced.events.message import Message
from presenced.events.model import LifecycleEvent, RegistryEvent
from presenced.pipeline import Pipeline
from presenced.presence.record import Row
from presenced.sources.inbox import Inbox, InboxTurns
from presenced.system.loop import Clocks


class Store(Protocol):
    """What outlives the process: a state file, or the state topic of Kafka."""

    def flush(self, done: Callable[[], None] | None = None) -> None:
        """Write what has changed, soon; call `done` when it is kept."""

    def flush_failed(self) -> bool:
        """Log the failure that `flush` raised; return whether to go on regardless."""

    async def settled(self) -> None:
        """Return when all that has changed so far is kept."""


class Delivery:
    """Moves messages from `inbox` through the pipeline, on the event loop.

    `held_at` returns the monotonic time after which the source may still deliver what came in time
    for a deadline. `in_order` is whether messages come in the order in which they entered, as those
    of a partition do: then nothing that is in time for a deadline comes after a later message, and
    only the timer waits for `held_at`. `store` is None without a state file. `turns` are those
    that several inboxes share. `deadlines_per_turn` bounds what fires in one turn of the loop.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        held_at: Callable[[], float],
        store: Store | None,
        clocks: Clocks,
        *,
        in_order: bool = False,
        turns: InboxTurns | None = None,
        deadlines_per_turn: int = 500,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipeline = pipeline
        self._held_at = held_at
        self._store = store
        self._clocks = clocks
        self._in_order = in_order
        self._deadlines_per_turn = deadlines_per_turn
        # When the messages arrived that wait for a commit.
        self._unacknowledged: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.inbox = Inbox(
            self._loop, self._deliver, settled=store.settled if store else None, turns=turns
        )

    @property
    def unacknowledged_since(self) -> float | None:
        """When the oldest message arrived that waits for a commit, in monotonic seconds."""
        return self._unacknowledged[0] if self._unacknowledged else None

    def hold_after(self) -> float:
        """Return the monotonic time after which no deadline may fire yet; infinity for none."""
        oldest = self._unacknowledged[0] if self._unacknowledged else math.inf
        return min(self._held_at(), oldest)

    def close(self) -> None:
        """Apply what waits, take nothing after that, and fire no deadline any more.

        What comes from now on is refused, and may be the connect that is in time for a deadline: it
        comes again to the next process, which fires what is due then.
        """
        self.inbox.close()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def discard(self) -> None:
        """Drop what waits, take nothing after that, and fire no deadline any more."""
        self.inbox.discard()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def flush(self) -> None:
        """Write what has changed to the state file, soon."""
        if self._store is not None:
            self._store.flush()

    def arm(self) -> None:
        """Set the timer to the earliest deadline, unless it goes off sooner.

        A cancelled deadline does not move the timer: firing early costs one check, moving it with
        every event costs more.
        """
        deadline = self._pipeline.next_deadline(self.hold_after())
        if deadline is None or self._closed:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self.fire)

    def merge(
        self,
        rows: Iterable[Row],
        registry: Iterable[RegistryEvent],
        events: Mapping[str, LifecycleEvent],
    ) -> None:
        """Merge what AWS says, as `Pipeline.merge` does, and store the effect."""
        try:
            self._pipeline.merge(rows, registry, events, self._clocks.monotonic())
            self.flush()
        finally:
            self.arm()

    def give_up_lookup(self, client_id: str) -> None:
        """Take a client offline without waiting for its lookup any longer."""
        self._pipeline.give_up_lookup(client_id, self._clocks.monotonic())
        self.arm()

    def fire(self) -> None:
        """Fire the deadlines that are due, as the timer does."""
        self._timer = None
        now = self._clocks.monotonic()
        offset = self._clocks.wall() - now
        oldest = self.inbox.oldest
        until = now if oldest is None else min(now, oldest)
        try:
            self._pipeline.advance(
                until, offset, hold_after=self.hold_after(), limit=self._deadlines_per_turn
            )
            self.flush()
        finally:
            self.arm()

    def _deliver(self, messages: list[Message]) -> int:
        hold_after = math.inf if self._in_order else self.hold_after()
        try:
            applied = self._pipeline.process(
                messages, hold_after=hold_after, limit=self._deadlines_per_turn
            )
            acknowledge = [m.acknowledge for m in messages[:applied] if m.acknowledge is not None]
            if self._store is None:
                _call(acknowledge)
            elif acknowledge:
                self._store_then_acknowledge(self._store, messages[0].moment, acknowledge)
            else:
                self._store.flush()
        finally:
            self.arm()
        return applied

    def _store_then_acknowledge(
        self, store: Store, oldest: float, acknowledge: list[Callable[[], None]]
    ) -> None:
        """Acknowledge messages, the first received at `oldest`, once their effect is stored.

        No failure may reach the inbox: it would acknowledge also those of the batch that were not
        applied and must come again.
        """
        self._unacknowledged.append(oldest)

        def acknowledge_all() -> None:
            self._unacknowledged.popleft()
            _call(acknowledge)
            self.arm()

        try:
            store.flush(acknowledge_all)
        except Exception:  # noqa: BLE001 - logged and counted by the store
            self._unacknowledged.pop()
            if store.flush_failed():
                _call(acknowledge)


def _call(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        call()
