"""The transport for any broker: MQTT 3.1.1 and 5 by aiomqtt and paho-mqtt."""

import asyncio
import ssl
import time

from aiomqtt.exceptions import MqttConnectError, MqttError
from paho.mqtt.reasoncodes import ReasonCode

from presenced.sources.faults import Fault, FaultReason
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.aiomqtt_link import AiomqttLink
from presenced.sources.mqtt.diagnosis import Diagnostician
from presenced.sources.mqtt.subscriber import Backoff, subscribe_until_granted
from presenced.sources.mqtt.symptoms import (
    closed_before_connack,
    connack_fault,
    network_fault,
    no_connack,
)
from presenced.sources.mqtt.tls import (
    Stamps,
    client_context,
    examine_files,
    renewed,
    stamps,
    tls_fault,
)
from presenced.sources.source import SourceOptions
from presenced.sources.status import ConnectionStatus
from presenced.system.loop import Tasks, in_thread

_STOP_TIMEOUT = 2.5
# As awscrt does: a connection that held this long does not count as one more failure.
_HELD_LONG_ENOUGH = 30.0


class AiomqttSource:
    """One MQTT connection that fills an inbox; see `Source`.

    An attempt to connect reads certificate files that have changed, and are complete. QoS 1
    messages are acknowledged by `Message.acknowledge` only. The broker's in-flight limit then
    bounds them: with MQTT 5 that which we ask for (Receive Maximum 100), with 3.1.1 whatever the
    broker is set to.
    """

    def __init__(
        self, options: SourceOptions, inbox: Inbox, status: ConnectionStatus | None = None
    ) -> None:
        self.status = status or ConnectionStatus(
            options.client_id, options.filters, endpoint=options.endpoint
        )
        self._options = options
        self._inbox = inbox
        self._diagnostician = Diagnostician(options)
        self._tasks = Tasks(self.status.callback_failed)
        self._read_from: Stamps = ()
        self._tls_context: ssl.SSLContext | None = None
        self._running = False

    async def start(self) -> None:
        """Begin to connect, and return without waiting for it."""
        self._running = True
        self._tasks.spawn(self._keep_connected(), "aiomqtt connection")

    async def renew(self) -> bool:
        """Reconnect if the certificate files have changed, and are complete; see `Source`."""
        if not self._running or not renewed(self._options.tls, self._read_from):
            return False
        await self._tasks.cancel()
        self.status.closed()
        self._tasks.spawn(self._keep_connected(), "aiomqtt connection")
        return True

    async def stop(self) -> None:
        """Send DISCONNECT if connected, and return when no more messages will come.

        What has arrived is handed over first: acknowledged now, it does not come a second time.
        """
        if not self._running:
            return
        self._running = False
        await self._inbox.settle()
        await self._tasks.cancel()
        self.status.closed()

    async def _keep_connected(self) -> None:
        backoff = Backoff(self._options.reconnect_min, self._options.reconnect_max)
        while True:
            held = 0.0
            try:
                held = await self._connect_once()
            except Exception as error:  # noqa: BLE001 - not foreseen: seen, and tried again
                self.status.callback_failed("connection", error)
            if held >= _HELD_LONG_ENOUGH:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _connect_once(self) -> float:
        """Go from reading the files to the end of the connection; returns how long it held."""
        try:
            context = await self._context()
        except OSError as error:
            self.status.failed(self._unusable(error))
            return 0.0
        link = AiomqttLink(self._options, self._inbox, self.status, context)
        try:
            return await self._live(link)
        finally:
            await link.close(_STOP_TIMEOUT)

    async def _live(self, link: AiomqttLink) -> float:
        try:
            resumed = await link.open()
        except MqttConnectError as error:
            self.status.failed(self._refused(error, link.said))
            return 0.0
        except (OSError, MqttError) as error:
            self.status.failed(await self._cause(error, link))
            return 0.0
        begun = time.monotonic()
        self.status.up(resumed=resumed)
        subscribing = self._tasks.spawn(
            subscribe_until_granted(link.subscribe_to, link.unsubscribe_from, self.status),
            "aiomqtt subscribe",
        )
        try:
            fault = await link.lost()
        finally:
            subscribing.cancel()
        self.status.lost(fault, time.monotonic())
        return time.monotonic() - begun

    async def _context(self) -> ssl.SSLContext | None:
        """The TLS context of the newest files that were fit to be used."""
        tls = self._options.tls
        if tls is None:
            return None
        if self._tls_context is None or renewed(tls, self._read_from):
            self._read_from = stamps(tls)
            self._tls_context = await in_thread(
                lambda: client_context(self._options), name="mqtt files"
            )
        return self._tls_context

    def _unusable(self, error: OSError) -> Fault:
        found = examine_files(self._options.tls) if self._options.tls else None
        detail = f"the TLS files of {self._options.address} cannot be used ({error})"
        return found or Fault(FaultReason.TLS_FILES, detail)

    def _refused(self, error: MqttConnectError, said: str | None) -> Fault:
        code = error.rc.value if isinstance(error.rc, ReasonCode) else 128
        return connack_fault(code, self._options, said)

    async def _cause(self, error: Exception, link: AiomqttLink) -> Fault:
        symptom = self._symptom(error, link)
        if symptom.reason is FaultReason.NAME_RESOLUTION:
            return symptom
        if isinstance(error, ConnectionRefusedError):
            return symptom
        return await self._diagnostician.explain(symptom)

    def _symptom(self, error: Exception, link: AiomqttLink) -> Fault:
        if isinstance(error, ssl.SSLError | ConnectionResetError | BrokenPipeError):
            return tls_fault(error, self._options)
        if isinstance(error, OSError):
            return network_fault(error, self._options)
        return closed_before_connack(self._options) if link.ended else no_connack(self._options)
