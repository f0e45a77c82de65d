"""Publishes messages over one connection, in order, with many unanswered at a time."""

import asyncio
from functools import partial
from typing import Self

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from presenced.commands.output import CommandError
from presenced.settings import SettingsError
from presenced.settings.files import FileSnapshot
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.aiomqtt_link import AiomqttLink
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.diagnosis import Diagnostician
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.link import ConnectError
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.system.loop import in_thread

_UNANSWERED_LIMIT = 100
_NO_SUBSCRIBERS = 0x10


class Publisher:
    """An async context manager: connected inside it. Raises CommandError if that fails.

    `published` counts messages that the broker has taken, or, with QoS 0, that are sent; `unheard`
    those without a subscriber, if the broker reports that (MQTT 5).
    """

    def __init__(self, options: ConnectionOptions) -> None:
        self.published = 0
        self.unheard = 0
        self._options = options
        self._link: AiomqttLink
        self._slots = asyncio.Semaphore(_UNANSWERED_LIMIT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusal: ReasonCode | None = None
        self._failed = False

    async def __aenter__(self) -> Self:
        """Connect."""
        options = self._options
        try:
            tls = None
            if options.tls is not None:
                load = partial(AiomqttLink.load_tls, options, FileSnapshot())
                tls = await in_thread(load, name="mqtt files")
        except (OSError, SettingsError) as error:
            detail = f"the TLS files of {options.address} cannot be used ({error})"
            raise await self._explained(Fault(FaultReason.TLS_FILES, detail)) from error
        status = ConnectionStatus(options.client_id, (), endpoint=options.endpoint)
        inbox = Inbox(asyncio.get_running_loop(), lambda _: None)
        self._link = AiomqttLink(options, tls, inbox, status, self._on_puback)
        try:
            await self._link.open()
        except ConnectError as error:
            await self._link.close()
            if error.certain:
                raise CommandError(str(error.fault)) from error
            raise await self._explained(error.fault) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await self._link.close()

    async def send(self, topic: str, payload: bytes) -> None:
        """Publish a message once there is room for one more that is unanswered.

        The first goes alone: a broker that refuses it may close the connection, and the refusal
        is lost if it has not read others by then. Raises CommandError if an earlier one could not
        be published.
        """
        if self._tasks and not self.published:
            await self.drain()
        await self._slots.acquire()
        await self._check()
        task = asyncio.create_task(self._publish(topic, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the broker's answer to all messages. Raises CommandError."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._check()

    async def _explained(self, fault: Fault) -> CommandError:
        return CommandError(str(await Diagnostician(self._options).explain(fault)))

    async def _publish(self, topic: str, payload: bytes) -> None:
        try:
            await self._link.publish(topic, payload)
            self.published += 1
        except aiomqtt.MqttError:
            self._failed = True
        finally:
            self._slots.release()

    def _on_puback(self, code: ReasonCode) -> None:
        self.unheard += code.value == _NO_SUBSCRIBERS
        if code.is_failure:
            self._refusal = code

    async def _check(self) -> None:
        """Raise what went wrong so far. The simulation does not reconnect: messages are lost."""
        address = self._options.address
        if self._refusal is not None:
            raise CommandError(
                f"the broker at {address} refuses messages below $aws/events/ ({self._refusal}):"
                f" allow {self._options.client_id} to publish there"
            )
        if self._link.ended:
            raise CommandError(f"the simulation ended early: {await self._link.lost()}")
        if self._failed:
            raise CommandError(f"the broker at {address} takes no messages")
