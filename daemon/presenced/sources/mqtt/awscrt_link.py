"""MQTT 5 to AWS IoT Core with the client of the AWS Common Runtime.

The library calls back on its own threads. A callback never blocks: it passes messages to the inbox
and changes of the connection to the event loop.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from awscrt import http, io, mqtt5
from awscrt.exceptions import AwsCrtError

from presenced.settings.files import FileSnapshot
from presenced.settings.proxy import Proxy
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt import symptoms
from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.link import RECEIVE_MAXIMUM, ConnectError, Link, ping_timeout
from presenced.sources.mqtt.pkcs11 import HARDWARE_KEY_REMEDY, load_hardware_key
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.tls import CERT, read_authorities, read_pair
from presenced.sources.mqtt.websocket import HandshakeSigner, upgrade_refused

_SUBACK_TIMEOUT = 20.0
# For sending DISCONNECT. Without a connection there is nothing to wait for, and the library may be
# busy for long: s2n-tls waits up to 30 s after each failed handshake (its "blinding").
_STOP_TIMEOUT = 2.5
_STOP_TIMEOUT_UNCONNECTED = 0.2
_FLUSH_TIMEOUT = 0.5
# A link is one connection: `close` comes before this time.
_NEVER_RECONNECT = 3600.0
# The library gives None for what MQTT does not define; 128 is "unspecified error".
_UNKNOWN_CODE = 128
_UNREACHABLE = {
    "AWS_IO_SOCKET_CONNECTION_REFUSED": "refused the TCP connection",
    "AWS_IO_SOCKET_TIMEOUT": "did not answer",
    "AWS_IO_SOCKET_NO_ROUTE_TO_HOST": "cannot be reached (no route)",
    "AWS_IO_SOCKET_NETWORK_DOWN": "cannot be reached (the network is down)",
}


class AwscrtLink(Link):
    """A connection of the AWS Common Runtime; see `Link`."""

    def __init__(
        self, options: ConnectionOptions, tls: Any, inbox: Inbox, status: ConnectionStatus
    ) -> None:
        super().__init__(options, tls, inbox, status)
        self._acknowledged = False
        self._stopped = asyncio.Event()
        self._signer = HandshakeSigner(options) if options.signing_region else None
        # None once closed.
        self._client: Any = mqtt5.Client(self._client_options())

    @staticmethod
    def load_tls(options: ConnectionOptions, snapshot: FileSnapshot) -> Any:
        """Return a TLS context of the library; see `Link`."""
        files = options.tls or TlsFiles()
        authorities = read_authorities(files, snapshot)

        def context(tls: Any) -> Any:
            if authorities is not None:
                tls.override_default_trust_store(authorities)
            if options.alpn:
                tls.alpn_list = options.alpn
            return io.ClientTlsContext(tls)  # type: ignore[no-untyped-call]

        if files.pkcs11 is not None and files.cert is not None:
            return load_hardware_key(
                files.pkcs11, snapshot.read(files.cert, CERT), snapshot, context
            )
        if (pair := read_pair(files, snapshot)) is not None:
            return context(io.TlsContextOptions.create_client_with_mtls(*pair))  # type: ignore[no-untyped-call]
        return context(io.TlsContextOptions())  # type: ignore[no-untyped-call]

    async def open(self) -> None:
        """Connect and wait until the broker accepts; see `Link`."""
        if self._signer is not None:
            await self._signer.prepare()
        self._client.start()
        await self._opened

    async def subscribe(self, filters: list[str]) -> Sequence[int]:
        """Send one SUBSCRIBE and return the reason codes of its SUBACK; see `Link`."""
        qos = mqtt5.QoS(self._options.qos)
        subscriptions = [mqtt5.Subscription(topic_filter=each, qos=qos) for each in filters]
        packet = mqtt5.SubscribePacket(subscriptions=subscriptions)
        return await self._codes(self._client.subscribe(packet))

    async def unsubscribe(self, filters: list[str]) -> Sequence[int]:
        """Send one UNSUBSCRIBE and return the reason codes of its UNSUBACK; see `Link`."""
        packet = mqtt5.UnsubscribePacket(topic_filters=filters)
        return await self._codes(self._client.unsubscribe(packet))

    async def close(self) -> None:
        """Send waiting acknowledgements and DISCONNECT; see `Link`."""
        self.mute()
        connected = self._connected
        if connected and self._acknowledged:
            # The library sends DISCONNECT before waiting acknowledgements, but SUBSCRIBE after
            # them: the answer to one more SUBSCRIBE shows that they have been sent.
            with contextlib.suppress(TimeoutError, AwsCrtError):
                async with asyncio.timeout(_FLUSH_TIMEOUT):
                    await self.subscribe(list(self._options.filters[:1]))
        reason = mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
        self._client.stop(mqtt5.DisconnectPacket(reason_code=reason))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT if connected else _STOP_TIMEOUT_UNCONNECTED):
                await self._stopped.wait()
        # The library holds the callbacks, and so this link, for as long as the client exists.
        self._client = None

    def _client_options(self) -> mqtt5.ClientOptions:
        options = self._options
        keep_alive = max(1, round(options.keep_alive))
        login: Any = {"username": options.username, "password": options.password}
        websocket: Any = {}
        if self._signer is not None:
            websocket = {"websocket_handshake_transform": self._signer.sign}
        behavior = mqtt5.ClientSessionBehaviorType
        return mqtt5.ClientOptions(
            host_name=options.endpoint,
            port=options.port,
            tls_ctx=self._tls,
            http_proxy_options=_proxy_options(options.proxy),
            connect_options=mqtt5.ConnectPacket(
                client_id=options.client_id,
                **login,
                keep_alive_interval_sec=keep_alive,
                session_expiry_interval_sec=int(options.session_expiry),
                request_problem_information=True,
                receive_maximum=RECEIVE_MAXIMUM,
            ),
            # Always: the session may be that of an earlier connection.
            session_behavior=behavior.REJOIN_ALWAYS if options.session_kept else behavior.CLEAN,
            extended_validation_and_flow_control_options=(
                mqtt5.ExtendedValidationAndFlowControlOptions.NONE
            ),
            # A SUBSCRIBE belongs to one connection; the next one sends its own.
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.NONE,
            min_reconnect_delay_ms=_milliseconds(_NEVER_RECONNECT),
            max_reconnect_delay_ms=_milliseconds(_NEVER_RECONNECT),
            ping_timeout_ms=_milliseconds(ping_timeout(keep_alive)),
            connack_timeout_ms=_milliseconds(options.answer_timeout),
            ack_timeout_sec=round(_SUBACK_TIMEOUT),
            disable_metrics=True,
            **websocket,
            on_publish_callback_fn=self._on_publish,
            on_lifecycle_event_connection_success_fn=self._on_loop(self._on_success),
            on_lifecycle_event_connection_failure_fn=self._on_loop(self._on_failure),
            on_lifecycle_event_disconnection_fn=self._on_loop(self._on_disconnection),
            on_lifecycle_event_stopped_fn=self._on_loop(lambda _: self._stopped.set()),
        )

    async def _codes(self, answer: Future[Any]) -> Sequence[int]:
        future = asyncio.wrap_future(answer)
        # Else asyncio reports a failure that comes after this was cancelled.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shielded: a cancelled future would raise in the library's thread when the answer comes.
        codes = (await asyncio.shield(future)).reason_codes
        return [_UNKNOWN_CODE if code is None else int(code) for code in codes]

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        try:
            # First, so that the library never acknowledges the message itself, even if this fails.
            take: Callable[[], Any] | None = data.acquire_publish_acknowledgement_control
            acknowledge = functools.partial(self._acknowledge, take()) if take else None
            if not self._muted:
                packet = data.publish_packet
                payload = bytes(packet.payload or b"")
                self._receive(
                    packet.topic,
                    payload,
                    int(packet.qos),
                    acknowledge,
                    retained=bool(packet.retain),
                )
        except Exception as error:  # noqa: BLE001 - logged and counted; the library would swallow it
            self._status.callback_failed("_on_publish", error)

    def _acknowledge(self, handle: mqtt5.PublishAcknowledgementControlHandle) -> None:
        """Send the PUBACK; the library drops it if its connection has ended."""
        client = self._client
        if client is None:  # closed: the broker sends the message again
            return
        self._acknowledged = True
        try:
            client.invoke_publish_acknowledgement(handle)
        except Exception as error:  # noqa: BLE001 - the caller cannot do anything about it
            self._status.callback_failed("acknowledge", error)

    def _on_success(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        self._accepted(resumed=bool(data.negotiated_settings.rejoined_session))

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        connack: mqtt5.ConnackPacket | None = data.connack_packet
        if connack is not None:
            code = int(connack.reason_code)
            self.fail(
                ConnectError(symptoms.connack_fault(code, self._options, connack.reason_string))
            )
        else:
            self.fail(connect_error(data.exception, self._options))

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        packet: mqtt5.DisconnectPacket | None = data.disconnect_packet
        if packet is not None:
            code = int(packet.reason_code)
            self._ended(symptoms.disconnect_fault(code, self._options, packet.reason_string))
        elif getattr(data.exception, "name", "") == "AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT":
            self._ended(symptoms.no_pingresp(self._options))
        else:
            self._ended(symptoms.connection_closed(self._options))

    def _on_loop(self, handle: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a callback for the library that calls `handle` on the loop."""

        def run(data: Any) -> None:
            try:
                handle(data)
            except Exception as error:  # noqa: BLE001 - logged and counted
                self._status.callback_failed(handle.__name__, error)

        def forward(data: Any) -> None:
            # When the process ends, the loop closes before the library's threads end.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(run, data)
            keep_thread_state()

        return forward


def connect_error(error: Exception, options: ConnectionOptions) -> ConnectError:
    """Return the error of an attempt without a CONNACK."""
    name = getattr(error, "name", "")
    if name in _UNREACHABLE:
        return ConnectError(symptoms.unreachable(_UNREACHABLE[name], options))
    if name == "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE":
        return ConnectError(upgrade_refused(options), certain=False)
    if options.proxy and name.startswith("AWS_ERROR_HTTP_"):
        return ConnectError(symptoms.proxy_refused(options), certain=False)
    if name.startswith("AWS_IO_DNS_"):
        return ConnectError(symptoms.name_unknown(options))
    if name.startswith("AWS_IO_TLS_"):
        message = getattr(error, "message", name)
        detail = f"the TLS connection to {options.address} failed ({message})"
        remedy = HARDWARE_KEY_REMEDY if options.tls and options.tls.pkcs11 else ""
        return ConnectError(Fault(FaultReason.TLS, detail, remedy), certain=False)
    if name == "AWS_ERROR_MQTT5_CONNACK_TIMEOUT":
        return ConnectError(symptoms.no_connack(options), certain=False)
    return ConnectError(symptoms.closed_before_connack(options), certain=False)


def _proxy_options(proxy: Proxy | None) -> Any:
    if proxy is None:
        return None
    kind = http.HttpProxyAuthenticationType
    return http.HttpProxyOptions(
        proxy.host,
        proxy.port,
        auth_type=kind.Nothing if proxy.username is None else kind.Basic,
        auth_username=proxy.username,
        auth_password=proxy.password,
        connection_type=http.HttpProxyConnectionType.Tunneling,
    )


def keep_thread_state() -> None:
    """Keep Python's state of the calling thread until the process ends.

    Called in callbacks of the library. It brackets each callback with `PyGILState_Ensure` and
    `PyGILState_Release`; in a thread that Python does not know the first creates a thread state and
    maps memory for its stack, and the second destroys both: 7 µs of system time for each message.
    One more `PyGILState_Ensure` without a release keeps them ("Non-Python created threads" in
    Python's C API manual). Further calls have no effect.
    """
    with contextlib.suppress(ImportError):  # a Python without ctypes works, more slowly
        from ctypes import pythonapi

        pythonapi.PyGILState_Ensure()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
