"""The thread side of the awscrt transport: one client object of the library and its callbacks.

The AWS Common Runtime's MQTT 5 client, set up from our options.

Calls from threads that Python has not started.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from awscrt import io, mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder

from presenced.events.message import Message
from presenced.sources.inbox import Inbox
from presenced.sources.source import SourceOptions
from presenced.sources.status import ConnectionStatus

# AWS IoT Core keeps at most this many QoS 1 messages unacknowledged on a connection.
_RECEIVE_MAXIMUM = 100
_PING_TIMEOUT = 10.0
_CONNACK_TIMEOUT = 10.0
_SUBACK_TIMEOUT = 20.0


def build_client(options: SourceOptions, **callbacks: Any) -> mqtt5.Client:
    """A client that is ready to start; `callbacks` are those of `mqtt5.ClientOptions`.

    Raises what the library raises for files that it cannot use.
    """
    settings = _settings(options, callbacks)
    if options.tls is None:
        return mqtt5.Client(settings)
    if options.tls.cert is None:
        settings.tls_ctx = io.ClientTlsContext(_server_tls(options))  # type: ignore[no-untyped-call]
        return mqtt5.Client(settings)
    # Chooses ALPN x-amzn-mqtt-ca by itself on port 443.
    return mqtt5_client_builder.mtls_from_path(
        cert_filepath=str(options.tls.cert),
        pri_key_filepath=str(options.tls.key),
        ca_filepath=str(options.tls.ca) if options.tls.ca else None,
        endpoint=options.endpoint,
        username=options.username,
        enable_metrics_collection=False,
        client_options=settings,
    )


def _server_tls(options: SourceOptions) -> Any:
    tls: Any = io.TlsContextOptions()  # type: ignore[no-untyped-call]
    if options.tls and options.tls.ca:
        tls.override_default_trust_store_from_path(ca_filepath=str(options.tls.ca))
    if options.alpn:
        tls.alpn_list = options.alpn
    return tls


def _settings(options: SourceOptions, callbacks: dict[str, Any]) -> mqtt5.ClientOptions:
    keep_alive = max(1, round(options.keep_alive))
    behavior = mqtt5.ClientSessionBehaviorType
    return mqtt5.ClientOptions(
        host_name=options.endpoint,
        port=options.port,
        connect_options=_connect(options, keep_alive),
        # Always: the session may be one that an earlier process of ours left behind.
        session_behavior=behavior.REJOIN_ALWAYS if options.session_kept else behavior.CLEAN,
        extended_validation_and_flow_control_options=(
            mqtt5.ExtendedValidationAndFlowControlOptions.NONE
        ),
        # A SUBSCRIBE belongs to one connection; the next one sends its own.
        offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
        retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
        min_reconnect_delay_ms=_milliseconds(options.reconnect_min),
        max_reconnect_delay_ms=_milliseconds(options.reconnect_max),
        # The library demands that the keep-alive exceed the ping timeout.
        ping_timeout_ms=_milliseconds(min(_PING_TIMEOUT, keep_alive / 2)),
        connack_timeout_ms=_milliseconds(_CONNACK_TIMEOUT),
        ack_timeout_sec=round(_SUBACK_TIMEOUT),
        disable_metrics=True,
        **callbacks,
    )


def _connect(options: SourceOptions, keep_alive: int) -> mqtt5.ConnectPacket:
    packet = mqtt5.ConnectPacket(
        client_id=options.client_id,
        keep_alive_interval_sec=keep_alive,
        session_expiry_interval_sec=int(options.session_expiry) if options.session_kept else 0,
        request_problem_information=True,
        receive_maximum=_RECEIVE_MAXIMUM,
    )
    if options.username is not None:
        packet.username = options.username
    if options.password is not None:
        packet.password = options.password
    return packet


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def keep_thread_state() -> None:
    """Let Python know the calling thread from now on, until the process ends.

    To be called in a callback of the library. It brackets each callback with `PyGILState_Ensure`
    and `PyGILState_Release`, and where the thread is not known to Python the one makes a thread
    state and maps memory for its stack, and the other destroys both: 7 µs of system time for each
    message. One more `PyGILState_Ensure`, which nothing releases, keeps them ("Non-Python created
    threads" in Python's C API manual). It may be called again, to no effect.
    """
    with contextlib.suppress(ImportError):  # a Python without ctypes: slower, and no worse
        from ctypes import pythonapi

        pythonapi.PyGILState_Ensure()


Callback = Callable[[Any], None]

# The library gives None for what MQTT does not define; 128 is "unspecified error".
_UNKNOWN_CODE = 128


class AwscrtLink:
    """One client object of the library, from its start to its stop.

    The library calls back on threads of its own. A callback never blocks and does one of two
    things: a message goes into the inbox, a lifecycle event goes to the loop, where `attempting`,
    `connected`, `failed` and `disconnected` take the library's data. What fails in them is logged
    and counted.
    """

    def __init__(
        self,
        options: SourceOptions,
        inbox: Inbox,
        status: ConnectionStatus,
        *,
        attempting: Callback,
        connected: Callback,
        failed: Callback,
        disconnected: Callback,
    ) -> None:
        """Raises what the library raises for certificate files that it cannot use."""
        self._options = options
        self._inbox = inbox
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._closed = False
        self._acknowledged = False
        self._client = build_client(
            options,
            on_publish_callback_fn=self._seen(self._on_publish),
            on_lifecycle_event_attempting_connect_fn=self._on_loop(attempting),
            on_lifecycle_event_connection_success_fn=self._on_thread(self._on_loop(connected)),
            on_lifecycle_event_connection_failure_fn=self._on_loop(failed),
            on_lifecycle_event_disconnection_fn=self._on_loop(disconnected),
            on_lifecycle_event_stopped_fn=self._seen(self._on_stopped),
        )

    def start(self) -> None:
        """Let the library connect, and connect again, until `stop`."""
        self._client.start()  # type: ignore[no-untyped-call]

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - the bound is the point
        """Send DISCONNECT, wait at most `timeout` seconds, and let nothing through any more."""
        self._closed = True
        reason = mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
        self._client.stop(mqtt5.DisconnectPacket(reason_code=reason))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._ended.wait()

    async def flush(self, timeout: float) -> None:  # noqa: ASYNC109 - the bound is the point
        """Return when all acknowledgements have gone out, or after `timeout` seconds.

        The library sends DISCONNECT before acknowledgements that wait, and SUBSCRIBE after them:
        the answer to one more, for a filter that is granted already, shows that they are out.
        """
        if not self._acknowledged:
            return
        with contextlib.suppress(TimeoutError, AwsCrtError):
            async with asyncio.timeout(timeout):
                await self.subscribe(list(self._options.filters[:1]), lambda _: None)

    async def subscribe(self, filters: list[str], answered: Callable[[list[int]], None]) -> None:
        """Send one SUBSCRIBE and call `answered` with the reason codes of its SUBACK.

        Raises AwsCrtError when none comes.
        """
        qos = mqtt5.QoS(self._options.qos)
        packet = mqtt5.SubscribePacket(
            subscriptions=[mqtt5.Subscription(topic_filter=each, qos=qos) for each in filters]
        )
        await self._answer(self._client.subscribe(packet), answered)

    async def unsubscribe(self, filters: list[str], answered: Callable[[list[int]], None]) -> None:
        """Send one UNSUBSCRIBE and call `answered` with the reason codes of its UNSUBACK.

        Raises AwsCrtError when none comes.
        """
        packet = mqtt5.UnsubscribePacket(topic_filters=filters)
        await self._answer(self._client.unsubscribe(packet), answered)

    async def _answer(self, coming: Future[Any], answered: Callable[[list[int]], None]) -> None:
        """Wait for a SUBACK or UNSUBACK and hand over its reason codes."""
        done: asyncio.Future[None] = self._loop.create_future()

        def settle(future: Future[Any]) -> None:
            if done.done():  # nobody waits any more
                return
            if (error := future.exception()) is not None:
                done.set_exception(error)
                return
            codes = future.result().reason_codes
            answered([_UNKNOWN_CODE if code is None else int(code) for code in codes])
            done.set_result(None)

        # Straight to the loop, in the order of the library's lifecycle events.
        coming.add_done_callback(self._forwarded(settle, "answer"))
        await done

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        # Taken first: whatever fails below, the library does not acknowledge the message for us.
        take: Callable[[], Any] | None = data.acquire_publish_acknowledgement_control
        acknowledge = functools.partial(self._acknowledge, take()) if take else None
        if self._closed:
            return
        packet = data.publish_packet
        message = Message(
            topic=packet.topic,
            payload=bytes(packet.payload or b""),
            qos=int(packet.qos),
            received=time.time(),
            moment=time.monotonic(),
            connection=self._options.client_id,
            acknowledge=acknowledge,
        )
        if not self._inbox.put(message):
            self._status.refused(message)

    def _acknowledge(self, handle: mqtt5.PublishAcknowledgementControlHandle) -> None:
        """Send the PUBACK; after the end of its connection the library leaves it out."""
        self._acknowledged = True
        try:
            self._client.invoke_publish_acknowledgement(handle)
        except Exception as error:  # noqa: BLE001 - nothing that the pipeline could mend
            self._status.callback_failed("acknowledge", error)

    def _on_stopped(self, _: mqtt5.LifecycleStoppedData) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    def _on_thread(self, callback: Callback) -> Callback:
        """The same callback, after which the library's thread is one that Python knows."""

        def run(data: Any) -> None:
            callback(data)
            keep_thread_state()

        return self._seen(run, "connected")

    def _on_loop(self, handle: Callback) -> Callback:
        """A callback that has `handle` called on the loop, unless the link was closed."""

        def run(data: Any) -> None:
            if not self._closed:
                handle(data)

        return self._forwarded(self._seen(run, handle.__name__), handle.__name__)

    def _forwarded(self, handle: Callback, name: str) -> Callback:
        """A callback for the library's threads that has `handle` called on the loop."""

        def forward(data: Any) -> None:
            self._loop.call_soon_threadsafe(handle, data)

        return self._seen(forward, name)

    def _seen(self, callback: Callback, name: str = "") -> Callback:
        """The same callback, except that a failure in it is logged and counted.

        The library would swallow it, and acknowledge the message.
        """

        def guarded(data: Any) -> None:
            try:
                callback(data)
            except Exception as error:  # noqa: BLE001 - logged and counted
                # At the end of the process the loop closes before the library's threads do.
                if not self._loop.is_closed():
                    self._status.callback_failed(name or callback.__name__, error)

        return guarded
