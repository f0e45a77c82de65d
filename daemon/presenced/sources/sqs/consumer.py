"""The reading of one queue: its receivers, what is in flight, and how it is stopped."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from presenced.aws.client import AwsClient
from presenced.aws.queue import Queue
from presenced.settings import format_duration
from presenced.sources.clock_skew import ClockSkew
from presenced.sources.inbox import Inbox
from presenced.sources.sqs.clock_skew import TOLERANCE
from presenced.sources.sqs.counts import SqsCounts
from presenced.sources.sqs.in_flight import InFlight
from presenced.sources.sqs.marks import Marks
from presenced.sources.sqs.receivers import Receivers
from presenced.system.log import get_logger
from presenced.system.loop import Clocks

# What entered the queue until so many seconds ago is applied: a 20 s long poll proves the state at
# its start, and may fail once.
_DRAINED_WITHIN = 60.0
_AFTER_AN_ERROR = 1.0
# The steps of stopping, 2.9 s together.
_POLLS_END, _INBOX_SETTLES, _DELETED, _GIVEN_BACK, _CLOSED = 1.2, 0.7, 0.5, 0.3, 0.2


class Consumer:
    """Receives from a queue from `start` to `stop`; arguments are those of its parts."""

    def __init__(
        self,
        client: AwsClient,
        queue: Queue,
        inbox: Inbox,
        counts: SqsCounts,
        clocks: Clocks,
        jitter: Callable[[], float],
        *,
        receivers: int,
        visibility: int,
        capacity: int,
        is_deadline_pending: Callable[[], bool],
    ) -> None:
        self.queue = queue
        self._client = client
        self._inbox = inbox
        self._clocks = clocks
        self._is_deadline_pending = is_deadline_pending
        self._marks = Marks(clocks.monotonic(), visibility)
        self._skew = ClockSkew(clocks, TOLERANCE)
        self._in_flight = InFlight(
            client,
            queue,
            counts,
            self._skew,
            clocks.monotonic,
            jitter,
            visibility=visibility,
            capacity=capacity,
        )
        self._receivers = Receivers(
            client,
            queue,
            inbox,
            self._in_flight,
            self._marks,
            counts,
            self._skew,
            clocks,
            jitter,
            visibility=visibility,
            limit=receivers,
            in_hurry=self._in_hurry,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._log = get_logger("presenced.sqs", queue=queue.name)

    @property
    def problems(self) -> list[str]:
        """Why the queue is not being read, or not drained."""
        receivers, name = self._receivers, self.queue.name
        faults = filter(None, (receivers.fault, self._in_flight.fault))
        if problems := list(dict.fromkeys(f"the queue {name}: {fault}" for fault in faults)):
            return problems
        if not receivers.answered:
            return [f"waiting for the first answer from the queue {name}"]
        if self._is_drained:
            return []
        behind = self._clocks.monotonic() - self._marks.reached
        since = f" of the last {format_duration(round(behind))}" if behind < float("inf") else ""
        return [f"catching up with the queue {name}: not all messages{since} are applied"]

    @property
    def catching_up(self) -> bool:
        """Whether the queue is read without a fault, but is not drained."""
        faults = self._receivers.fault or self._in_flight.fault
        return self._receivers.answered and not faults and not self._is_drained

    @property
    def poison_at(self) -> float | None:
        """When a message without topic came last, in monotonic seconds."""
        return self._receivers.poison_at

    @property
    def clock_skew(self) -> float:
        """How many seconds this machine's clock is ahead of AWS's; 0 if it is right."""
        return self._skew.seconds

    @property
    def held_at(self) -> float:
        """The monotonic time after which no deadline is due yet."""
        return self._marks.held_at

    @property
    def _is_drained(self) -> bool:
        return self._clocks.monotonic() - self._marks.reached <= _DRAINED_WITHIN

    def _in_hurry(self) -> bool:
        # What is in flight may become a deadline as soon as it is applied.
        return bool(len(self._in_flight)) or self._is_deadline_pending() or not self._is_drained

    def use(self, receivers: int) -> None:
        """Poll with up to so many receivers from now on."""
        self._receivers.limit = receivers

    def start(self) -> None:
        """Begin to receive."""
        self._tasks = [
            asyncio.create_task(self._persist(self._receivers.run)),
            asyncio.create_task(self._persist(self._in_flight.run)),
        ]

    async def stop(self) -> None:
        """Receive no more, delete what is applied, and return the rest, within 3 seconds.

        What is in the inbox is applied first.
        """
        await self._receivers.stop(_POLLS_END)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await _within(_INBOX_SETTLES, self._inbox.settle())
        await _within(_DELETED, self._in_flight.delete_all())
        await _within(_GIVEN_BACK, self._in_flight.give_back())
        await _within(_CLOSED, self._client.close())

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work until it ends or is cancelled; after an error of presenced begin again."""
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - logged; without receivers the daemon stands still
                self._log.exception("reading the queue failed by an error in presenced")
                await asyncio.sleep(_AFTER_AN_ERROR)
            else:
                return


async def _within(seconds: float, work: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work
