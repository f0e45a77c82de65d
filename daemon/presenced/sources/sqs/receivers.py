"""The long polls of a queue, and what they put into the inbox."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from presenced.aws.client import AwsClient, retry_delay
from presenced.aws.errors import AwsError
from presenced.aws.queue import BATCH, LONGEST_WAIT, Queue, QueueMessage
from presenced.events.message import Message
from presenced.sources.clock_skew import ClockSkew
from presenced.sources.inbox import Inbox
from presenced.sources.records import UnreadableRecordError, read_record
from presenced.sources.sqs.clock_skew import note_answer
from presenced.sources.sqs.counts import SqsCounts
from presenced.sources.sqs.in_flight import InFlight
from presenced.sources.sqs.marks import Arrival, Marks
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, Tasks

# In seconds. A poll proves nothing before it ends: polls are short while a deadline waits for one.
_SHORT_WAIT = 1
_ANSWER_TIMEOUT = 10.0
_LONGEST_DELAY = 5.0
# With older messages than this there is a backlog, whatever the size of the answers.
_BACKLOG_AGE = 1.0


class Receivers:
    """Polls a queue with one receiver, and with up to `limit` while there is a backlog.

    `in_hurry` says that something waits for what an empty poll proves, so that polls have to be
    short. `fault` is why the last poll failed; `answered` is set by the first that did not;
    `poison_at` is when a message without topic came last, in monotonic seconds.
    """

    def __init__(
        self,
        client: AwsClient,
        queue: Queue,
        inbox: Inbox,
        in_flight: InFlight,
        marks: Marks,
        counts: SqsCounts,
        skew: ClockSkew,
        clocks: Clocks,
        jitter: Callable[[], float],
        *,
        visibility: int,
        limit: int,
        in_hurry: Callable[[], bool],
    ) -> None:
        self.fault: AwsError | None = None
        self.answered = False
        self.limit = limit
        self.poison_at: float | None = None
        self._client = client
        self._queue = queue
        self._inbox = inbox
        self._in_flight = in_flight
        self._marks = marks
        self._counts = counts
        self._skew = skew
        self._clocks = clocks
        self._jitter = jitter
        self._visibility = visibility
        self._in_hurry = in_hurry
        self._helpers: set[int] = set()
        self._stopping = False
        self._waits_long = False
        self._polling = 0
        self._poll_ended = asyncio.Event()
        self._logger = get_logger("presenced.sqs", queue=queue.name)
        self._log = ThrottledLogger(self._logger)
        self._tasks = Tasks(self._failed)

    async def run(self) -> None:
        """Poll until `stop`, or until cancelled."""
        self._marks.join(0)
        failures = 0
        while not self._stopping:
            self._waits_long = not self._in_hurry()
            await self._poll(0, LONGEST_WAIT if self._waits_long else _SHORT_WAIT)
            failures = failures + 1 if self.fault else 0
            if failures:
                delay = retry_delay(failures, self._jitter())
                await asyncio.sleep(min(_LONGEST_DELAY, delay))

    async def stop(self, grace: float) -> None:
        """Begin no poll any more, and wait for short ones, at most `grace` seconds.

        A message that is handed to a poll that is broken off stays hidden until its visibility
        timeout is over.
        """
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._polling and not self._waits_long:
                    self._poll_ended.clear()
                    await self._poll_ended.wait()
        await self._tasks.cancel()

    async def _help(self, number: int) -> None:
        """Poll until there is no backlog any more."""
        self._marks.join(number)
        try:
            while not self._stopping and number < self.limit:
                if not await self._poll(number, _SHORT_WAIT):
                    break
        finally:
            self._marks.leave(number)
            self._helpers.discard(number)

    async def _poll(self, receiver: int, wait: int) -> bool:
        """Poll once; return whether there is a backlog."""
        await self._in_flight.room()
        self._polling += 1
        try:
            has_backlog = await self._receive(receiver, wait)
        except BaseException as error:
            if not isinstance(error, AwsError) or error.may_have_run:
                self._marks.lost(self._clocks.monotonic())
            if not isinstance(error, AwsError):
                raise
            self._report(error)
            return False
        finally:
            self._polling -= 1
            self._poll_ended.set()
        if has_backlog:
            self._add_helper()
        return has_backlog

    async def _receive(self, receiver: int, wait: int) -> bool:
        """Receive messages; return whether more of them wait, as it seems. Raises AwsError."""
        began = self._clocks.monotonic()
        request = self._queue.receive(wait=wait, visibility=self._visibility)
        answer = await self._client.send(request, attempts=1, within=wait + _ANSWER_TIMEOUT)
        self._report(None)
        note_answer(self._skew, answer)
        return self._take(receiver, began, answer.value)

    def _add_helper(self) -> None:
        free = (number for number in range(1, self.limit) if number not in self._helpers)
        number = next(free, None)
        if number is not None and not self._stopping:
            self._helpers.add(number)
            self._tasks.spawn(self._help(number), f"receiver-{number}")

    def _take(self, receiver: int, began: float, messages: tuple[QueueMessage, ...]) -> bool:
        """Put messages into the inbox; return whether there is a backlog."""
        now, wall = self._clocks.monotonic(), self._clocks.wall()
        messages = tuple(sorted(messages, key=_sent))
        clock = wall - self._skew.seconds
        ages = [max(0.0, clock - message.sent) for message in messages]
        moments = [now - age for age in ages]
        arrival = self._marks.answered(receiver, began, moments, full=len(messages) >= BATCH)
        for message, moment in zip(messages, moments, strict=True):
            self._take_one(message, arrival, min(message.sent, wall), moment)
        if ages:
            self._counts.note_age(now, ages[0])
        return len(messages) >= BATCH or (bool(ages) and ages[0] > _BACKLOG_AGE)

    def _take_one(
        self, message: QueueMessage, arrival: Arrival, received: float, moment: float
    ) -> None:
        self._counts.redelivered += message.receives > 1
        try:
            topic, payload = read_record(message.body.encode(), message.topic)
        except UnreadableRecordError as error:
            self._marks.finished(arrival)
            self._in_flight.discard(message.receipt_handle)
            self.poison_at = self._clocks.monotonic()
            self._log.warning("message cannot be read and is deleted", detail=str(error))
            return
        delete = self._in_flight.add(message.receipt_handle)
        # Refused only while the daemon stops; then it is returned to the queue.
        self._inbox.put(
            Message(
                topic=topic,
                payload=payload,
                qos=1,
                received=received,
                moment=moment,
                connection=self._queue.name,
                acknowledge=partial(self._applied, arrival, delete),
            )
        )

    def _applied(self, arrival: Arrival, delete: Callable[[], None]) -> None:
        self._marks.finished(arrival)
        delete()

    def _report(self, error: AwsError | None) -> None:
        if error is not None:
            self._log.warning("queue not read", key=error.cause, problem=str(error))
        elif self.fault is not None or not self.answered:
            self._logger.info("the queue answers")
            self.answered = True
        self.fault = error

    def _failed(self, name: str, error: BaseException) -> None:
        self._logger.error("a receiver ended by an error in presenced", exc_info=error, task=name)


def _sent(message: QueueMessage) -> float:
    return message.sent
