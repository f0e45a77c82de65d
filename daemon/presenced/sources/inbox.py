"""The bounded queue of messages from a transport's threads to the event loop."""

import asyncio
import contextlib
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from presenced.events.message import Message
from presenced.system.log import get_logger

_POLL_AFTER = 0.002
_SETTLE_TIMEOUT = 2.0


class InboxTurns:
    """Lets inboxes deliver, one batch of one inbox in each iteration of the event loop.

    So timers and scrapes are served between two batches, however many inboxes share the turns. The
    first message wakes the loop, and is delivered at once if the loop is idle. After an iteration
    that emptied all inboxes the loop polls them again 2 ms later: a thread that wakes the loop
    every few messages contends with it for the interpreter, which costs more than the messages do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: deque[Inbox] = deque()
        self._awake = False

    def add(self, inbox: "Inbox") -> bool:
        """Let an inbox deliver, from any thread; return False after the end of the loop."""
        with self._lock:
            if not self._awake:
                try:
                    self._loop.call_soon_threadsafe(self._turn)
                except RuntimeError:  # the loop is closed
                    return False
                self._awake = True
            self._waiting.append(inbox)
        return True

    def _turn(self) -> None:
        with self._lock:
            inbox = self._waiting.popleft() if self._waiting else None
        taken = has_more = False
        if inbox is not None:
            taken = inbox.deliver_batch() > 0
            has_more = inbox.has_more()
        with self._lock:
            if inbox is not None and has_more:
                self._waiting.append(inbox)
            if self._waiting:
                self._loop.call_soon(self._turn)
            elif taken:
                self._loop.call_later(_POLL_AFTER, self._turn)
            else:
                self._awake = False


class Inbox:
    """Collects messages from any thread and delivers them on the event loop in batches.

    An iteration of the loop delivers at most `batch` messages; `turns` are those of the inboxes
    that share them, and this one's own if None.

    `capacity` bounds messages of QoS 0, which a receiver cannot slow down: beyond it `put` refuses
    them. QoS 1 messages are always taken; the broker bounds them, because it waits for
    acknowledgements (MQTT 5 section 4.9).

    `deliver` returns how many of its messages it has taken, None for all; the next iteration
    delivers the others again, before later ones. If it raises, the failure is logged, and the batch
    counted in `undelivered` and acknowledged: its messages would fail again, and unacknowledged
    they would fill the broker's in-flight window until it sends nothing more.

    `settled` returns when everything delivered is acknowledged, if `deliver` does not do that
    itself; `settle` waits for it at most 2 seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[list[Message]], int | None],
        *,
        capacity: int = 100_000,
        batch: int = 300,
        settled: Callable[[], Awaitable[None]] | None = None,
        turns: InboxTurns | None = None,
    ) -> None:
        self.undelivered = 0
        self._loop = loop
        self._turns = turns or InboxTurns(loop)
        self._deliver = deliver
        self._capacity = capacity
        self._batch = batch
        self._settled = settled
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self._is_queued = False  # for a turn
        self._closed = False
        self._log = get_logger("presenced.mqtt")

    @property
    def backlog(self) -> int:
        """Messages received and not yet delivered."""
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """Monotonic time of the oldest message not yet delivered, in seconds.

        Deadlines later than this must wait: the message may be the connect that cancels them.
        """
        with self._lock:
            return self._waiting[0].moment if self._waiting else None

    def put(self, message: Message) -> bool:
        """Take a message from any thread, without blocking.

        Return False if it is refused: a QoS 0 message beyond the capacity, or any message after
        `close` or the end of the loop. The caller counts it and does not acknowledge it.
        """
        with self._lock:
            is_excess = message.qos == 0 and len(self._waiting) >= self._capacity
            if is_excess or not self._wake():
                return False
            self._waiting.append(message)
        return True

    def put_all(self, messages: Sequence[Message]) -> bool:
        """Take messages of QoS 1, as `put` does, in one go."""
        with self._lock:
            if not self._wake():
                return False
            self._waiting.extend(messages)
        return True

    def _wake(self) -> bool:
        """Have what waits delivered; return False if nothing is delivered any more.

        Called with the lock, so that `close` cannot run between the check and the call.
        """
        if self._closed or self._loop.is_closed():
            return False
        if not self._is_queued:
            self._is_queued = self._turns.add(self)
        return self._is_queued

    def drain(self) -> None:
        """Deliver all waiting messages now; called on the loop."""
        while self._waiting:
            self.deliver_batch()

    async def settle(self) -> None:
        """Deliver all waiting messages, and wait until they are acknowledged.

        If the connection is closed then, the broker sends none of them again.
        """
        self.drain()
        if self._settled is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_TIMEOUT):
                    await self._settled()

    def discard(self) -> None:
        """Drop all waiting messages and refuse later ones."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        # What it delivered to may be large, and has the inbox.
        self._deliver, self._settled = len, None

    def close(self) -> None:
        """Deliver all waiting messages and refuse later ones; called on the loop."""
        with self._lock:
            self._closed = True
        self.drain()

    def has_more(self) -> bool:
        """Return whether a turn has left messages; if not, the next message asks for another."""
        with self._lock:
            self._is_queued = bool(self._waiting)
            return self._is_queued

    def deliver_batch(self) -> int:
        """Deliver a batch; return how many messages were taken."""
        with self._lock:
            size = min(self._batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
        if not batch:
            return 0
        try:
            taken = self._deliver(batch)
        except Exception as error:  # noqa: BLE001 - logged and counted
            self.undelivered += size
            trace = "".join(traceback.format_exception(error))
            self._log.error("messages could not be applied", messages=size, traceback=trace)
            for message in batch:
                if message.acknowledge is not None:
                    message.acknowledge()
            return size
        if taken is None:
            return size
        if taken < size:
            with self._lock:
                self._waiting.extendleft(reversed(batch[taken:]))
        return taken
