"""The messages that are here and still in the queue: hidden from others, deleted when applied."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from presenced.aws.client import AwsClient, retry_delay
from presenced.aws.errors import AwsError
from presenced.aws.operations import Request
from presenced.aws.queue import BATCH, EntryFailure, Queue
from presenced.sources.clock_skew import ClockSkew
from presenced.sources.sqs.clock_skew import note_answer
from presenced.sources.sqs.counts import SqsCounts
from presenced.system.log import ThrottledLogger, get_logger

# Applied messages are gathered for so many seconds, unless there are enough for a batch.
_GATHER = 0.1
_REQUESTS_AT_ONCE = 8
_RETRY_AFTER = 0.5
# Messages are hidden for longer when this share of the time is left.
_EXTEND_IN_LAST = 2 / 3
_EXTEND_EVERY = 6


class _Entry(msgspec.Struct, eq=False):
    """A message; `hidden_until` is when others can receive it, in monotonic seconds."""

    receipt_handle: str
    hidden_until: float
    applied: bool = False
    is_poison: bool = False


class InFlight:
    """Deletes messages after their effect is kept, hides them until then, and returns the rest.

    A message is hidden for `visibility` seconds at a time. `room` waits until there are fewer
    messages than `capacity`. `fault` is why messages cannot be deleted; None if they can.
    `jitter` returns the share of the longest delay after a fault (`retry_delay`).
    """

    def __init__(
        self,
        client: AwsClient,
        queue: Queue,
        counts: SqsCounts,
        skew: ClockSkew,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        *,
        visibility: int,
        capacity: int,
    ) -> None:
        self.fault: AwsError | None = None
        self._client = client
        self._queue = queue
        self._counts = counts
        self._skew = skew
        self._clock = clock
        self._jitter = jitter
        self._visibility = visibility
        self._capacity = capacity
        self._entries: dict[_Entry, None] = {}
        self._applied: deque[_Entry] = deque()
        self._wake = asyncio.Event()
        self._batch = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._log = ThrottledLogger(get_logger("presenced.sqs"))

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, receipt_handle: str) -> Callable[[], None]:
        """Take a message that has just been received; return what to call when it is applied."""
        return partial(self._apply, self._new(receipt_handle))

    def discard(self, receipt_handle: str) -> None:
        """Take a message that cannot be read, and delete it."""
        entry = self._new(receipt_handle)
        entry.is_poison = True
        self._apply(entry)

    async def room(self) -> None:
        """Wait until there are fewer messages than the capacity."""
        await self._room.wait()

    async def run(self) -> None:
        """Delete what is applied and hide what is not, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._delete_applied())
            group.create_task(self._keep_hidden())

    async def delete_all(self) -> None:
        """Delete what is applied, once each; a fault ends it."""
        again: list[_Entry] = []
        count = min(_REQUESTS_AT_ONCE, -(-len(self._applied) // BATCH))
        try:
            await asyncio.gather(*(self._delete_some(again) for _ in range(count)))
        finally:
            self._applied.extend(again)

    async def give_back(self) -> None:
        """Return to the queue what is not applied; what fails comes back by itself later."""
        entries = [entry for entry in self._entries if not entry.applied]
        for entry in entries:
            del self._entries[entry]
        self._counts.messages["returned"] += len(entries)
        await self._change_visibility(entries, 0)

    def _new(self, receipt_handle: str) -> _Entry:
        entry = _Entry(receipt_handle, self._clock() + self._visibility)
        self._entries[entry] = None
        if len(self._entries) >= self._capacity:
            self._room.clear()
        return entry

    def _apply(self, entry: _Entry) -> None:
        if entry in self._entries and not entry.applied:
            entry.applied = True
            self._applied.append(entry)
            self._wake.set()
            if len(self._applied) >= BATCH:
                self._batch.set()

    def _drop(self, entry: _Entry) -> None:
        self._entries.pop(entry, None)
        if len(self._entries) < self._capacity:
            self._room.set()

    async def _delete_applied(self) -> None:
        attempt = 0
        while True:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER):
                    await self._batch.wait()
            self._wake.clear()
            self._batch.clear()
            await self.delete_all()
            attempt = attempt + 1 if self.fault else 0
            if self._applied:
                delay = retry_delay(attempt, self._jitter()) if attempt else 0.0
                await asyncio.sleep(max(_RETRY_AFTER, delay))
                self._wake.set()

    async def _delete_some(self, again: list[_Entry]) -> None:
        """Delete batch after batch; add to `again` what has to be tried again."""
        while self._applied:
            count = min(BATCH, len(self._applied))
            entries = [self._applied.popleft() for _ in range(count)]
            try:
                failures = await self._send(self._queue.delete(_handles(entries)))
            except AwsError as error:
                again += entries
                self._report(error)
                return
            except asyncio.CancelledError:
                again += entries
                raise
            self._report(None)
            again += self._note_deleted(entries, failures)

    def _note_deleted(
        self, entries: Sequence[_Entry], failures: Sequence[EntryFailure]
    ) -> list[_Entry]:
        """Forget and count what is deleted; return what has to be tried again."""
        failed = {failure.id: failure for failure in failures}
        again: list[_Entry] = []
        for place, entry in enumerate(entries):
            failure = failed.get(str(place))
            if failure is not None and not failure.sender_fault:
                again.append(entry)
                continue
            self._drop(entry)
            if entry.is_poison:
                self._counts.messages["poison"] += 1
            elif failure is None:
                self._counts.messages["deleted"] += 1
            else:
                self._counts.messages["not_deleted"] += 1
                self._log.warning(
                    "an applied message is not deleted and comes again; it will be a duplicate",
                    key=failure.code,
                    code=failure.code,
                )
        return again

    def _report(self, error: AwsError | None) -> None:
        if error is None and self.fault is not None:
            self._log.info("applied messages are deleted again")
        self.fault = error
        if error is not None:
            self._log.warning(
                "applied messages cannot be deleted", key=error.cause, problem=str(error)
            )

    async def _keep_hidden(self) -> None:
        while True:
            await asyncio.sleep(self._visibility / _EXTEND_EVERY)
            due = self._clock() + self._visibility * _EXTEND_IN_LAST
            entries = [entry for entry in self._entries if entry.hidden_until <= due]
            if entries:
                await self._change_visibility(entries, self._visibility)

    async def _change_visibility(self, entries: Sequence[_Entry], visibility: int) -> None:
        """Hide messages for so many seconds from now; a failure is made up for by redelivery."""
        waiting = deque(entries)

        async def change_some() -> None:
            while waiting:
                some = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
                try:
                    await self._send(self._queue.change_visibility(_handles(some), visibility))
                except AwsError as error:
                    self._log.warning(
                        "messages may be received again before they are deleted",
                        key=error.cause,
                        problem=str(error),
                    )
                    return
                until = self._clock() + visibility
                for entry in some:
                    entry.hidden_until = until

        await asyncio.gather(*(change_some() for _ in range(_REQUESTS_AT_ONCE)))

    async def _send(self, request: Request[tuple[EntryFailure, ...]]) -> tuple[EntryFailure, ...]:
        answer = await self._client.send(request, attempts=1)
        note_answer(self._skew, answer)
        return answer.value


def _handles(entries: Sequence[_Entry]) -> list[str]:
    return [entry.receipt_handle for entry in entries]
