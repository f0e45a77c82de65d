"""An Amazon SQS queue as the source of events."""

import random
from collections.abc import Callable

from presenced.aws.client import RequestCounts, open_queue_client
from presenced.aws.queue import Queue
from presenced.pipeline import Batch
from presenced.settings import Settings, format_duration
from presenced.settings.connection_secrets import aws_proxy_choice
from presenced.sources.inbox import Inbox
from presenced.sources.records import SELECT_TOPIC
from presenced.sources.source import SourceFiles
from presenced.sources.sqs.consumer import Consumer
from presenced.sources.sqs.counts import SqsCounts
from presenced.sources.sqs.sharing import SharedQueueDetector
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks
from presenced.system.shares import percent

_POISON_SHOWN_FOR = 600.0


class SqsSource:
    """Receives events from a queue; a source, and an observer of the pipeline.

    `is_deadline_pending` says whether a deadline may wait for `held_at`: polls are short then.
    `requests` counts the requests. Received messages are hidden for `visibility` seconds, at most
    `capacity` are here at a time, and `window` is that of `SharedQueueDetector`, in seconds.
    """

    def __init__(
        self,
        inbox: Inbox,
        requests: RequestCounts,
        clocks: Clocks,
        *,
        is_deadline_pending: Callable[[], bool],
        visibility: int = 30,
        capacity: int = 5000,
        window: float = 120.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.counts = SqsCounts()
        self._inbox = inbox
        self._requests = requests
        self._clocks = clocks
        self._is_deadline_pending = is_deadline_pending
        self._visibility = visibility
        self._capacity = capacity
        self._jitter = jitter
        self._sharing = SharedQueueDetector(clocks.monotonic, window=window)
        self._consumer: Consumer | None = None
        self._made_of: tuple[object, ...] = ()
        self._log = get_logger("presenced.sqs")
        self._throttled = ThrottledLogger(self._log)

    @property
    def started(self) -> bool:
        """Whether the queue is being read."""
        return self._consumer is not None

    @property
    def may_show(self) -> bool:
        """Whether its fleet may be shown now: always."""
        return True

    @property
    def problems(self) -> list[str]:
        """Why the source is not ready: the queue does not answer, or is not drained."""
        return self._consumer.problems if self._consumer else []

    @property
    def catching_up(self) -> bool:
        """Whether the queue answers, but is not drained."""
        return self._consumer is not None and self._consumer.catching_up

    @property
    def warnings(self) -> list[str]:
        """What is wrong although messages are received, one text each."""
        consumer = self._consumer
        if consumer is None:
            return []
        warnings = []
        if self._sharing.incomplete is not None:
            warnings.append(_shared(consumer.queue, self._sharing.incomplete))
        poison_at, now = consumer.poison_at, self._clocks.monotonic()
        if poison_at is not None and now - poison_at < _POISON_SHOWN_FOR:
            warnings.append(
                f"the queue {consumer.queue.name} has messages without a topic, which are deleted:"
                f" let the rule select it, {SELECT_TOPIC}"
            )
        if skew := consumer.clock_skew:
            way = "ahead of" if skew > 0 else "behind"
            warnings.append(
                f"the clock of this machine is {format_duration(round(abs(skew)))} {way} AWS's, by"
                " which messages are dated: synchronize it, timedatectl status"
            )
        return warnings

    @property
    def summary(self) -> str:
        """The state of the source in a few words."""
        if self._consumer is None:
            return "starting"
        if problems := self.problems:
            return f"not ready: {'; '.join(problems)}"
        return f"receiving from the queue {self._consumer.queue.name}"

    @property
    def oldest_age(self) -> float:
        """The age of the oldest message that was received in the last minute, in seconds."""
        return self.counts.oldest_age(self._clocks.monotonic())

    def held_at(self) -> float:
        """Return the monotonic time after which no deadline is due yet."""
        return self._consumer.held_at if self._consumer else float("-inf")

    def observe(self, batch: Batch) -> None:
        """Take in which events came."""
        self._sharing.observe(batch.events)

    def check(self) -> None:
        """Look for another program that receives from the queue."""
        self._sharing.check()
        if self._sharing.incomplete is not None and self._consumer is not None:
            text = _shared(self._consumer.queue, self._sharing.incomplete)
            self._throttled.warning("part of the events is missing", problem=text)

    async def use(self, settings: Settings, files: SourceFiles) -> int:  # noqa: ARG002 - Source
        """Receive from the queue of the settings; return 1 if that began anew, else 0.

        Raises SettingsError if the region is unknown.
        """
        sqs = settings.sqs
        if sqs.queue_url is None:
            return 0
        proxy = aws_proxy_choice(settings.aws, settings.mqtt)
        region, tls = settings.queue_region, settings.tls_files
        made_of = (sqs.queue_url, settings.aws, tls, region, proxy)
        if self._consumer is not None and made_of == self._made_of:
            self._consumer.use(sqs.receivers)
            return 0
        await self.stop()
        self._made_of = made_of
        self._consumer = Consumer(
            open_queue_client(settings, self._requests, self._clocks),
            Queue(sqs.queue_url),
            self._inbox,
            self.counts,
            self._clocks,
            self._jitter,
            receivers=sqs.receivers,
            visibility=self._visibility,
            capacity=self._capacity,
            is_deadline_pending=self._is_deadline_pending,
        )
        self._consumer.start()
        return 1

    async def renew(self) -> int:
        """Return 0: files of certificates are read with each request for credentials."""
        return 0

    async def stop(self) -> None:
        """Receive no more, delete what is applied, and return the rest, within 3 seconds."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()


def _shared(queue: Queue, incomplete: float) -> str:
    return (
        f"{percent(incomplete)} of connections lack their connect or disconnect: another consumer"
        f" seems to read queue {queue.name}, and each message reaches only one of them. Give each"
        " daemon its own queue and the rule one action for each queue; stop other consumers of this"
        " one"
    )
