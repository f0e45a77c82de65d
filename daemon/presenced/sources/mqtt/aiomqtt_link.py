"""One connection of the aiomqtt transport, from its CONNECT to its end.

aiomqtt 2.5 wraps paho-mqtt for asyncio. It acknowledges each message on arrival, hands messages
over one by one with a task each, drops them when its queue is bounded and full, hides the Session
Present flag and the broker's DISCONNECT, and waits out a time-out where a broker hangs up on
CONNECT. Each of these lies in a callback that paho calls on the event loop, and paho itself can do
better; so this is aiomqtt's client with those callbacks replaced.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from presenced.events.message import Message
from presenced.sources.faults import Fault
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.aiomqtt_sockets import SocketClient
from presenced.sources.mqtt.symptoms import connection_closed, disconnect_fault, no_pingresp
from presenced.sources.source import SourceOptions
from presenced.sources.status import ConnectionStatus

# As many unacknowledged QoS 1 messages as AWS IoT Core keeps on a connection.
_RECEIVE_MAXIMUM = 100
_TIMEOUT = 10.0
_KEEP_ALIVE_TIMEOUT = 141

# What paho would say is told by ConnectionStatus, once and in other words.
_paho_log = logging.getLogger("presenced.sources.paho")
_paho_log.setLevel(logging.CRITICAL)


class AiomqttLink(SocketClient):
    """A connection that puts messages into an inbox and tells how it ended; used once.

    All runs on the event loop except the blocking part of `open`.
    """

    def __init__(
        self,
        options: SourceOptions,
        inbox: Inbox,
        status: ConnectionStatus,
        context: ssl.SSLContext | None,
    ) -> None:
        newest = options.protocol == "5"
        super().__init__(
            options.endpoint,
            options.port,
            identifier=options.client_id,
            username=options.username,
            password=options.password,
            protocol=aiomqtt.ProtocolVersion.V5 if newest else aiomqtt.ProtocolVersion.V311,
            clean_session=None if newest else not options.session_kept,
            clean_start=not options.session_kept if newest else MQTT_CLEAN_START_FIRST_ONLY,
            properties=_properties(options) if newest else None,
            keepalive=max(1, round(options.keep_alive)),
            tls_context=context,
            timeout=_TIMEOUT,
            logger=_paho_log,
        )
        self._options = options
        self._inbox = inbox
        self._status = status
        self._opened = False
        self._resumed = False
        self._loss: asyncio.Future[Fault] = self._loop.create_future()
        self._answered: Callable[[list[int]], None] | None = None
        self._unsubscribed: Callable[[list[int]], None] | None = None
        self.said: str | None = None
        # From here on paho sends no PUBACK of its own.
        self._client.manual_ack_set(on=True)

    async def open(self) -> bool:
        """Connect, and return the broker's Session Present flag.

        Raises OSError where no TLS connection comes about, aiomqtt.MqttConnectError where the
        broker refuses, another aiomqtt.MqttError where it hangs up or says nothing.
        """
        await self.dial()
        self._opened = True
        return self._resumed

    async def subscribe_to(self, filters: list[str], answered: Callable[[list[int]], None]) -> None:
        """Send one SUBSCRIBE and call `answered` with the reason codes of its SUBACK.

        Only one at a time. Raises aiomqtt.MqttError when none comes.
        """
        self._answered = answered
        qos = self._options.qos
        if self._options.protocol == "5":
            await self.subscribe([(each, SubscribeOptions(qos=qos)) for each in filters])
        else:
            await self.subscribe([(each, int(qos)) for each in filters])

    async def unsubscribe_from(
        self, filters: list[str], answered: Callable[[list[int]], None]
    ) -> None:
        """Send one UNSUBSCRIBE and call `answered` with the reason codes of its UNSUBACK.

        MQTT 3.1.1 has none, and a broker cannot refuse (section 3.11). Only one at a time. Raises
        aiomqtt.MqttError when no answer comes.
        """
        self._unsubscribed = lambda codes: answered(codes or [0] * len(filters))
        await self.unsubscribe(filters)

    @property
    def ended(self) -> bool:
        """Whether the connection has come to its end."""
        return self._loss.done()

    async def lost(self) -> Fault:
        """Wait for the end of the connection and return why it came."""
        return await asyncio.shield(self._loss)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - the bound is the point
        """Send what is left to send, then DISCONNECT, and let nothing through any more.

        After `timeout` seconds it just hangs up.
        """
        self._closing = True
        if self._opened and not self._loss.done():
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.__aexit__(None, None, None)
        self.hang_up()

    # What paho calls: messages

    def _on_message(self, client: Any, userdata: Any, message: MQTTMessage) -> None:  # noqa: ARG002
        self._arrived += 1
        try:
            self._take(message)
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._status.callback_failed("_on_message", error)

    def _take(self, received: MQTTMessage) -> None:
        message = Message(
            # Not `received.topic`, which raises where a broker lets bytes that are not UTF-8 pass.
            topic=received._topic.decode(errors="replace"),  # noqa: SLF001
            payload=bytes(received.payload),
            qos=received.qos,
            received=time.time(),
            moment=time.monotonic(),
            connection=self._options.client_id,
            acknowledge=_Acknowledgement(self, received.mid) if received.qos else None,
        )
        if not self._inbox.put(message):
            self._status.refused(message)

    def acknowledge(self, mid: int) -> None:
        """Send a PUBACK, unless the connection that brought the message has ended."""
        if self._loss.done() or self._closing:
            return
        try:
            self._client.ack(mid, 1)
        except Exception as error:  # noqa: BLE001 - nothing that the pipeline could mend
            self._status.callback_failed("acknowledge", error)

    # What paho calls: the state of the connection

    def _on_connect(
        self,
        client: Any,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._resumed = flags.session_present
        self.said = getattr(properties, "ReasonString", None)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_subscribe(
        self,
        client: Any,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and mid in self._pending_subscribes:
            answered([code.value for code in reason_codes])
        super()._on_subscribe(client, userdata, mid, reason_codes, properties)

    def _on_unsubscribe(
        self,
        client: Any,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        answered, self._unsubscribed = self._unsubscribed, None
        if answered is not None and mid in self._pending_unsubscribes:
            answered([code.value for code in reason_codes])
        super()._on_unsubscribe(client, userdata, mid, reason_codes, properties)

    def _on_disconnect(
        self,
        client: Any,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        if flags.is_disconnect_packet_from_server:
            said = getattr(properties, "ReasonString", None)
            self._end(disconnect_fault(reason_code.value, self._options, said))
        elif reason_code.value == _KEEP_ALIVE_TIMEOUT:
            self._end(no_pingresp(self._options))
        else:
            self._end(connection_closed(self._options))

    def _end(self, fault: Fault) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("closed before CONNACK"))
        for outcome in (self._connected, self._disconnected):
            if outcome.done():
                outcome.exception()  # seen: asyncio would report it as never retrieved
        if not self._loss.done():
            self._loss.set_result(fault)

    def broken(self, where: str, error: Exception) -> None:
        """Log and count a failure inside the library, and end the connection."""
        self._status.callback_failed(where, error)
        self._end(connection_closed(self._options))


class _Acknowledgement:
    """Acknowledges one message at most once: its packet identifier is another's soon after."""

    __slots__ = ("_link", "_mid")

    def __init__(self, link: AiomqttLink, mid: int) -> None:
        self._link: AiomqttLink | None = link
        self._mid = mid

    def __call__(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.acknowledge(self._mid)


def _properties(options: SourceOptions) -> Any:
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = _RECEIVE_MAXIMUM
    if options.session_kept:
        properties.SessionExpiryInterval = int(options.session_expiry)
    return properties
