"""Publishes messages over one connection, in order, with many unanswered at a time."""

import asyncio
from typing import Self

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from presenced.sources.faults import Fault, FaultReason
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.aiomqtt_link import AiomqttLink
from presenced.sources.mqtt.diagnosis import Diagnostician
from presenced.sources.mqtt.link import ConnectError
from presenced.sources.source import SourceOptions
from presenced.sources.status import ConnectionStatus
from presenced.system.loop import in_thread

_UNANSWERED_LIMIT = 100
_NO_SUBSCRIBERS = 0x10


class SimulationError(Exception):
    """The simulation cannot go on; the message says why."""


class Publisher:
    """An async context manager: connected inside it. Raises SimulationError where that fails.

    `published` counts messages that the broker has taken, or, with QoS 0, that are sent; `unheard`
    those without a subscriber, where the broker reports that (MQTT 5).
    """

    def __init__(self, options: SourceOptions) -> None:
        self.published = 0
        self.unheard = 0
        self._options = options
        self._link: AiomqttLink | None = None
        self._slots = asyncio.Semaphore(_UNANSWERED_LIMIT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusal: ReasonCode | None = None
        self._failed = False

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            self._link = await self._create_link()
            await self._link.open()
        except ConnectError as error:
            fault = error.fault
            if not error.certain:
                fault = await Diagnostician(self._options).explain(fault)
            await self.__aexit__()
            raise SimulationError(str(fault)) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        if self._link is not None:
            await self._link.close()

    async def send(self, topic: str, payload: bytes) -> None:
        """Publish a message once there is room for one more that is unanswered.

        The first goes alone: a broker that refuses it may close the connection, and the refusal
        is lost where it closes upon others that it has not read. Raises SimulationError when an
        earlier one could not be published.
        """
        if self._tasks and not self.published:
            await self.drain()
        await self._slots.acquire()
        link = await self._checked_link()
        task = asyncio.create_task(self._publish(link, topic, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the broker's answer to all messages. Raises SimulationError."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._checked_link()

    async def _create_link(self) -> AiomqttLink:
        options, tls = self._options, None
        if options.tls is not None:
            try:
                tls = await in_thread(lambda: AiomqttLink.load_tls(options), name="mqtt files")
            except OSError as error:
                detail = f"the TLS files of {options.address} cannot be used ({error})"
                raise ConnectError(Fault(FaultReason.TLS_FILES, detail), certain=False) from error
        status = ConnectionStatus(options.client_id, (), endpoint=options.endpoint)
        inbox = Inbox(asyncio.get_running_loop(), lambda _: None)
        return AiomqttLink(options, tls, inbox, status, self._on_puback)

    async def _publish(self, link: AiomqttLink, topic: str, payload: bytes) -> None:
        try:
            await link.publish(topic, payload)
            self.published += 1
        except aiomqtt.MqttError:
            self._failed = True
        finally:
            self._slots.release()

    def _on_puback(self, code: ReasonCode) -> None:
        self.unheard += code.value == _NO_SUBSCRIBERS
        if code.is_failure:
            self._refusal = code

    async def _checked_link(self) -> AiomqttLink:
        """Return the connection, or raise what went wrong so far.

        The simulation does not reconnect: messages are lost.
        """
        address = self._options.address
        if self._refusal is not None:
            raise SimulationError(
                f"the broker at {address} refuses messages below $aws/events/ ({self._refusal}):"
                f" allow {self._options.client_id} to publish there"
            )
        if self._link is None or self._link.ended:
            cause = await self._link.lost() if self._link else "there is no connection"
            raise SimulationError(f"in the middle of it: {cause}")
        if self._failed:
            raise SimulationError(f"the broker at {address} takes no messages")
        return self._link
