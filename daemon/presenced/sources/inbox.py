"""The bounded hand-over from a transport's threads to the event loop.

One MQTT message on its way to the pipeline.
"""

import asyncio
import contextlib
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable

from presenced.events.message import Message
from presenced.system.log import get_logger

_SETTLE_WITHIN = 2.0
_PACE = 0.002


class Inbox:
    """Collects messages from any thread and hands them to the event loop in batches.

    However many messages arrive before the loop gets round to them, the loop is woken once.
    One turn of the loop takes at most `batch` messages, so that timers and scrapes are served in
    between. A message that comes to an idle loop is taken at once. After a turn that took all, the
    loop looks again 2 ms later by itself: a thread that wakes it with every few messages contends
    with it for the interpreter, which costs more than the messages do.

    `capacity` bounds the messages that nobody can slow down, those of QoS 0: beyond it `put`
    refuses them. QoS 1 messages are always taken; the broker bounds them itself, because it waits
    for acknowledgements (MQTT 5 section 4.9).

    `settled` returns when all that was handed over has been acknowledged, where that is not so at
    once.

    `deliver` returns how many of its messages it has taken, None for all; it is brought the others
    again in the next turn, before those that came later. It is not expected to raise. When it does
    all the same, the failure is logged, its batch counted in `undelivered` and acknowledged:
    messages that fail would fail again, and unacknowledged they would fill the broker's in-flight
    window until it falls silent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[list[Message]], int | None],
        *,
        capacity: int = 100_000,
        batch: int = 500,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.undelivered = 0
        self._loop = loop
        self._deliver = deliver
        self._capacity = capacity
        self._batch = batch
        self._settled = settled
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self._awake = False
        self._closed = False
        self._log = get_logger("presenced.mqtt")

    @property
    def backlog(self) -> int:
        """Messages received and not yet handed over."""
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """Monotonic time of the oldest message not yet handed over, in seconds.

        Deadlines later than this must wait: the message may be the connect that cancels them.
        """
        with self._lock:
            return self._waiting[0].moment if self._waiting else None

    def put(self, message: Message) -> bool:
        """Take a message from any thread, without blocking.

        Returns False when the message was refused: a QoS 0 message beyond the capacity, or any
        message after `close` or the end of the loop. The caller counts it; a refused message is
        not acknowledged.
        """
        with self._lock:
            if self._closed or self._loop.is_closed():
                return False
            if message.qos == 0 and len(self._waiting) >= self._capacity:
                return False
            # Under the lock: close() then cannot fall between the check and the call.
            if not self._awake and not self._wake():
                return False
            self._waiting.append(message)
        return True

    def drain(self) -> None:
        """Hand over all that waits, now; called on the loop."""
        while self._waiting:
            self._hand_over()

    async def settle(self) -> None:
        """Hand over all that waits, and return when it is acknowledged, or after 2 s.

        A connection that is closed then has nothing outstanding that would be sent again.
        """
        self.drain()
        if self._settled is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_WITHIN):
                    await self._settled()

    def close(self) -> None:
        """Hand over what waits and refuse what comes later; called on the loop."""
        with self._lock:
            self._closed = True
        self.drain()

    def _wake(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._turn)
        except RuntimeError:  # the loop was closed at this very moment
            return False
        self._awake = True
        return True

    def _turn(self) -> None:
        taken = self._hand_over()
        with self._lock:
            if self._waiting:
                self._loop.call_soon(self._turn)
            elif taken and not self._closed:
                self._loop.call_later(_PACE, self._turn)
            else:
                self._awake = False

    def _hand_over(self) -> int:
        """Hand over a batch; how many messages were taken."""
        with self._lock:
            take = min(self._batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(take)]
        if not batch:
            return 0
        try:
            taken = self._deliver(batch)
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._give_up(batch, error)
            return len(batch)
        if taken is None:
            return len(batch)
        if taken < len(batch):
            with self._lock:
                self._waiting.extendleft(reversed(batch[taken:]))
        return taken

    def _give_up(self, batch: list[Message], error: Exception) -> None:
        self.undelivered += len(batch)
        trace = "".join(traceback.format_exception(error))
        self._log.error("messages could not be applied", messages=len(batch), traceback=trace)
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()
