"""The events of Kafka for a recording, read without a group: no worker loses any."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from confluent_kafka import KafkaError

from presenced.commands.kafka.cluster import needing, open_cluster
from presenced.commands.output import CommandError
from presenced.events.message import Message
from presenced.settings import Settings
from presenced.sources.inbox import Inbox
from presenced.sources.kafka.client_config import reader_config
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.faults import KafkaFaultError, topic_missing
from presenced.sources.kafka.permissions import Permission, denied
from presenced.sources.kafka.time_order import Place
from presenced.sources.kafka.topic_reader import TopicReader
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks, in_thread

_CLIENT_ID = "presenced-record"
_MAX_BACKLOG = 20_000
_STOP_TIMEOUT = 3.0


class KafkaReceiver:
    """Reads the topic of events and the global topic. Make it on the event loop.

    It reads what entered from `start` (epoch seconds) on, None for what enters from now on, for
    `duration` seconds of the times at which records entered, None for no end.
    """

    def __init__(self, settings: Settings, start: float | None, duration: float | None) -> None:
        self._settings = settings
        self._start = start
        self._duration = duration
        self._stack = AsyncExitStack()
        self._cluster: Cluster | None = None
        self._reader: TopicReader | None = None
        self._inbox: Inbox | None = None
        self._finished = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    @property
    def has_connected(self) -> bool:
        """Whether the topics have been found."""
        return self._reader is not None

    def connects(self) -> int | None:
        """Return 1 once the topics are read: an outage of the brokers loses no record."""
        return 1 if self._reader is not None else None

    async def start(self, inbox: Inbox) -> None:
        """Find the topics and begin to read. Raises CommandError and SettingsError."""
        self._inbox = inbox
        try:
            self._cluster = cluster = await self._stack.enter_async_context(
                open_cluster(self._settings, _CLIENT_ID)
            )
            positions = await in_thread(lambda: self._positions(cluster), name="kafka topics")
        except KafkaFaultError as error:
            raise CommandError(str(error)) from None
        clocks = Clocks(time.monotonic, time.time)
        began = clocks.wall() if self._start is None else self._start
        self._reader = TopicReader(
            cluster.config,
            reader_config(self._settings.kafka, cluster.config),
            positions,
            self._put,
            self._report,
            self._note_end,
            clocks,
            until=None if self._duration is None else began + self._duration,
        )
        topics = {place.topic for place in positions}
        self._log.info("reading topics", topics=sorted(topics), partitions=len(positions))
        self._reader.start()

    async def finished(self) -> None:
        """Wait until the duration is over, and all has been read that entered in it.

        A recording from now on ends after the duration also if no broker answers.
        """
        if self._start is not None or self._duration is None:
            await self._finished.wait()
        else:
            await asyncio.sleep(self._duration)

    async def stop(self) -> None:
        """Read no more, and deliver what was held back."""
        reader, inbox = self._reader, self._inbox
        if reader is not None and inbox is not None:
            rest = await in_thread(lambda: reader.stop(_STOP_TIMEOUT), name="kafka stop")
            if events := _events(rest):
                inbox.put_all(events)
        if inbox is not None:
            inbox.close()
        await self._stack.aclose()

    def _positions(self, cluster: Cluster) -> dict[Place, int]:
        """Return where to begin. Raises KafkaFaultError if a topic or permission is missing."""
        kafka = self._settings.kafka
        cluster.connect()
        positions: dict[Place, int] = {}
        for topic in (kafka.topic, kafka.global_topic):
            needed = Permission("topic", topic, ("Describe", "Read"))
            with needing(needed, self._settings):
                found = cluster.find(topic)
                if found is None:
                    raise KafkaFaultError(topic_missing(topic))
                granted = cluster.topic_operations(topic)
                if self._start is None:
                    offsets = cluster.ends(found)
                else:
                    offsets = cluster.offsets_since(found, self._start)
            if granted is not None and "Read" not in granted:
                region = self._settings.brokers_region
                raise KafkaFaultError(denied(kafka, needed.only(["Read"]), region))
            positions.update((Place(topic, number), at) for number, at in enumerate(offsets))
        return positions

    def _put(self, messages: Sequence[Message]) -> bool:
        inbox = self._inbox
        if inbox is None or inbox.backlog >= _MAX_BACKLOG:
            return False
        events = _events(messages)
        return not events or inbox.put_all(events)

    def _note_end(self) -> None:
        self._loop.call_soon_threadsafe(self._finished.set)

    def _report(self, error: KafkaError, topic: str | None) -> None:
        assert self._cluster is not None  # noqa: S101 - it was opened before anything is read
        fault = self._cluster.errors.explain(error, topic)
        self._log.warning(
            "records cannot be read; presenced tries again",
            key=fault,
            detail=fault.detail,
            remedy=fault.remedy,
        )


def _events(messages: Sequence[Message]) -> list[Message]:
    """Return the messages without what workers write there of AWS's snapshots."""
    return [each for each in messages if not each.is_snapshot]
