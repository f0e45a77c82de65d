"""MQTT 3.1.1 and 5 to any broker with aiomqtt and the paho-mqtt client below it.

aiomqtt subscribes, unsubscribes and publishes. These callbacks of paho's public interface add what
it does not offer:

- `on_connect`: aiomqtt hides the Session Present flag and the broker's Reason String.
- `on_disconnect`: it hides the broker's DISCONNECT, and waits for a time-out if a broker closes the
  connection instead of answering CONNECT.
- `on_message`, with paho's manual acknowledgement: it acknowledges on arrival, before the effect,
  and drops messages when its queue is full.
- `on_unsubscribe`, `on_publish`: it drops the reason codes.
- `connect` and the callbacks of the socket: see `paho_socket`.

- `_create_socket_connection`: its TCP connection cannot go through a proxy without another library,
  or to another address than the name that TLS verifies.

The only private names are this one and `aiomqtt.Client._client`, the paho client. pyproject.toml
allows the releases that were tested.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import aiomqtt
from paho.mqtt.client import (
    MQTT_CLEAN_START_FIRST_ONLY,
    MQTT_ERR_SUCCESS,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
)
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from presenced.settings.files import FileSnapshot
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt import symptoms
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.faults import Fault
from presenced.sources.mqtt.link import RECEIVE_MAXIMUM, ConnectError, Link
from presenced.sources.mqtt.paho_socket import PahoSocket
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.tls import client_context
from presenced.sources.mqtt.tunnel import ProxyError, open_connection

_KEEP_ALIVE_TIMEOUT = 141
_DISCONNECT_TIMEOUT = 2.5

# ConnectionStatus logs the same events.
_paho_log = logging.getLogger("presenced.sources.paho")
_paho_log.setLevel(logging.CRITICAL)


class AiomqttLink(Link):
    """A connection of aiomqtt; see `Link`. Only `_connect` runs on another thread.

    `on_puback` gets the reason code of each published message: that of the PUBACK (MQTT 5 section
    3.4.2.1), or success when a message of QoS 0 is sent.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        tls: ssl.SSLContext | None,
        inbox: Inbox,
        status: ConnectionStatus,
        on_puback: Callable[[ReasonCode], None] = lambda _: None,
    ) -> None:
        super().__init__(options, tls, inbox, status)
        self._is_v5 = options.protocol == "5"
        self._messages = 0
        self._unsuback: list[ReasonCode] = []
        self._on_puback = on_puback
        self._mqtt = aiomqtt.Client(
            options.certified_name,
            options.port,
            identifier=options.client_id,
            username=options.username,
            password=options.password,
            protocol=aiomqtt.ProtocolVersion.V5 if self._is_v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if self._is_v5 else not options.session_kept,
            tls_context=tls,
            timeout=options.answer_timeout,
            logger=_paho_log,
        )
        # The docstring of the module says why these are needed.
        self._paho: Client = self._mqtt._client  # noqa: SLF001
        self._paho._create_socket_connection = self._open_connection  # type: ignore[method-assign]  # noqa: SLF001
        self._socket = PahoSocket(
            self._paho,
            lambda: self._messages,
            on_failure=self._broken,
            on_silence=lambda: self._finish(symptoms.no_pingresp(options)),
        )
        self._aiomqtt_on_unsubscribe: Any = self._paho.on_unsubscribe
        self._aiomqtt_on_publish: Any = self._paho.on_publish
        self._paho.manual_ack_set(on=True)
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_message = self._on_message
        self._paho.on_unsubscribe = self._on_unsubscribe
        self._paho.on_publish = self._on_publish

    @staticmethod
    def load_tls(options: ConnectionOptions, snapshot: FileSnapshot) -> ssl.SSLContext:
        """Return a TLS context of the standard library; see `Link`."""
        return client_context(options, snapshot)

    async def open(self) -> None:
        """Connect and wait until the broker accepts; see `Link`."""
        try:
            await self._socket.open(self._connect)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
            raise ConnectError(symptoms.tls_fault(error, self._options), certain=False) from error
        except OSError as error:
            fault = symptoms.network_fault(error, self._options)
            certain = isinstance(error, ConnectionRefusedError | socket.gaierror | ProxyError)
            raise ConnectError(fault, certain=certain) from error
        try:
            async with asyncio.timeout(self._options.answer_timeout):
                await self._opened
        except TimeoutError as error:
            raise ConnectError(symptoms.no_connack(self._options), certain=False) from error

    async def subscribe(self, filters: list[str]) -> Sequence[int]:
        """Send one SUBSCRIBE and return the reason codes of its SUBACK; see `Link`."""
        qos = self._options.qos
        topics: Any = [(f, SubscribeOptions(qos=qos) if self._is_v5 else int(qos)) for f in filters]
        codes: Any = await self._mqtt.subscribe(topics)
        return [code.value for code in codes]

    async def unsubscribe(self, filters: list[str]) -> Sequence[int]:
        """Send one UNSUBSCRIBE and return the reason codes of its UNSUBACK; see `Link`.

        MQTT 3.1.1 has none, and a broker cannot refuse (section 3.11).
        """
        await self._mqtt.unsubscribe(filters)
        return [code.value for code in self._unsuback] or [0] * len(filters)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish with the QoS of the options and wait for an answer; raises aiomqtt.MqttError."""
        await self._mqtt.publish(topic, payload, self._options.qos)

    async def close(self) -> None:
        """Send what waits to be sent and DISCONNECT; after 2.5 seconds close the socket."""
        self.mute()
        if self._connected and self._paho.disconnect() == MQTT_ERR_SUCCESS:
            await asyncio.wait({self._end}, timeout=_DISCONNECT_TIMEOUT)
        self._socket.close()

    def acknowledge(self, mid: int) -> None:
        """Send a PUBACK, unless the connection that brought the message has ended."""
        if self.ended or self._muted:
            return
        try:
            self._paho.ack(mid, 1)
        except Exception as error:  # noqa: BLE001 - the caller cannot do anything about it
            self._status.callback_failed("acknowledge", error)

    def _open_connection(self) -> socket.socket:
        return open_connection(self._options, self._options.answer_timeout)

    def _connect(self) -> None:
        options = self._options
        properties: Any = None
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            properties.SessionExpiryInterval = int(options.session_expiry)
        self._paho.connect(
            options.certified_name,
            options.port,
            keepalive=max(1, round(options.keep_alive)),
            clean_start=not options.session_kept if self._is_v5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )

    def _on_connect(self, _: Any, __: Any, flags: ConnectFlags, code: Any, properties: Any) -> None:
        if code.is_failure:
            said = getattr(properties, "ReasonString", None)
            self.fail(ConnectError(symptoms.connack_fault(code.value, self._options, said)))
        else:
            self._socket.keep_alive()
            self._accepted(resumed=flags.session_present)

    def _on_disconnect(
        self, _: Any, __: Any, flags: DisconnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            said = getattr(properties, "ReasonString", None)
            self._finish(symptoms.disconnect_fault(code.value, self._options, said))
        elif code.value == _KEEP_ALIVE_TIMEOUT:
            self._finish(symptoms.no_pingresp(self._options))
        else:
            self._finish(symptoms.connection_closed(self._options))

    def _on_message(self, _: Any, __: Any, message: MQTTMessage) -> None:
        self._messages += 1
        if self._muted:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError as error:  # some brokers accept topics that are not UTF-8
            topic = error.object.decode(errors="replace")
        acknowledge = _Acknowledgement(self, message.mid) if message.qos else None
        try:
            payload = bytes(message.payload)
            self._receive(topic, payload, message.qos, acknowledge, retained=bool(message.retain))
        except Exception as error:  # noqa: BLE001 - logged and counted
            self._status.callback_failed("_on_message", error)

    def _on_unsubscribe(
        self, client: Any, userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        self._unsuback = codes
        self._aiomqtt_on_unsubscribe(client, userdata, mid, codes, properties)

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, code: ReasonCode, properties: Any
    ) -> None:
        self._on_puback(code)
        self._aiomqtt_on_publish(client, userdata, mid, code, properties)

    def _broken(self, where: str, error: Exception) -> None:
        self._status.callback_failed(where, error)
        self._finish(symptoms.connection_closed(self._options))

    def _finish(self, fault: Fault) -> None:
        self.fail(ConnectError(symptoms.closed_before_connack(self._options), certain=False))
        self._ended(fault)


class _Acknowledgement:
    """Acknowledges one message at most once, because its packet identifier is used again."""

    __slots__ = ("_link", "_mid")

    def __init__(self, link: AiomqttLink, mid: int) -> None:
        self._link: AiomqttLink | None = link
        self._mid = mid

    def __call__(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.acknowledge(self._mid)
