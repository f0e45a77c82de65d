"""Publishes messages over one connection, in their order, many at a time under way."""

import asyncio
from typing import Any, Self

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.aiomqtt_link import AiomqttLink
from presenced.sources.mqtt.aiomqtt_source import AiomqttSource
from presenced.sources.mqtt.symptoms import no_connack
from presenced.sources.source import SourceOptions, Watch

_PATIENCE = 40.0
_MOST_UNDER_WAY = 100
_NO_SUBSCRIBERS = 0x10
_REFUSED = 0x80


class SimulationError(Exception):
    """The simulation cannot go on; the message says why."""


class _Source(AiomqttSource):
    """A connection that tells its link, and which answers its messages get."""

    def __init__(self, options: SourceOptions, inbox: Inbox, watch: Watch) -> None:
        super().__init__(options, inbox, watch)
        self.link: AiomqttLink | None = None
        self.unheard = 0
        self.refusal: ReasonCode | None = None

    async def _live(self, link: AiomqttLink) -> float:
        passed_on = link._on_publish  # noqa: SLF001 - aiomqtt keeps the answer to itself

        def answered(client: Any, userdata: Any, mid: int, code: Any, properties: Any) -> None:
            self._note(code)
            passed_on(client, userdata, mid, code, properties)

        link._client.on_publish = answered  # noqa: SLF001
        self.link = link
        return await super()._live(link)

    def _note(self, code: ReasonCode) -> None:
        self.unheard += code.value == _NO_SUBSCRIBERS
        if code.value >= _REFUSED:
            self.refusal = code


class Publisher:
    """An async context manager: connected inside it. Raises SimulationError where that fails.

    `published` counts messages that the broker has taken, or, with QoS 0, that are sent.
    """

    def __init__(self, options: SourceOptions) -> None:
        self.published = 0
        self._options = options
        self._watch = Watch(options)
        self._inbox = Inbox(asyncio.get_running_loop(), lambda _: None)
        self._source = _Source(options, self._inbox, self._watch)
        self._room = asyncio.Semaphore(_MOST_UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = False

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._source.start()
        await self._watch.until(lambda: self._watch.accepted, _PATIENCE)
        if not self._watch.accepted:
            await self._source.stop()
            raise SimulationError(str(self._watch.ended or no_connack(self._options)))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await self._source.stop()

    @property
    def unheard(self) -> int:
        """Messages that nobody is subscribed to, where the broker tells (MQTT 5)."""
        return self._source.unheard

    async def send(self, topic: str, payload: bytes) -> None:
        """Publish a message once there is room for one more under way.

        The first goes alone: a broker that refuses it may close the connection, and the refusal
        is lost where it closes upon others that it has not read. Raises SimulationError when an
        earlier one could not be published.
        """
        if self._tasks and not self.published:
            await self.drain()
        await self._room.acquire()
        self._check()
        task = asyncio.create_task(self._publish(topic, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the broker's answer to all messages. Raises SimulationError."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._check()

    async def _publish(self, topic: str, payload: bytes) -> None:
        link = self._source.link
        assert link is not None  # noqa: S101 - it is connected
        try:
            await link.publish(topic, payload, qos=self._options.qos)
            self.published += 1
        except aiomqtt.MqttError:
            self._failed = True
        finally:
            self._room.release()

    def _check(self) -> None:
        """Raise what went wrong so far. The connection is not taken up again: messages are lost."""
        if (refusal := self._source.refusal) is not None:
            raise SimulationError(
                f"the broker at {self._options.address} refuses messages below $aws/events/"
                f" ({refusal}): allow {self._options.client_id} to publish there"
            )
        if self._watch.ended is not None:
            raise SimulationError(f"in the middle of it: {self._watch.ended}")
        if self._failed:
            raise SimulationError(f"the broker at {self._options.address} takes no messages")
