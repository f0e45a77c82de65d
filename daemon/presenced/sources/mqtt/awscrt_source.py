"""The transport for AWS IoT Core: MQTT 5 by the AWS Common Runtime.

What errors of the AWS Common Runtime mean for people.
"""

import asyncio
import time

from awscrt import mqtt5

from presenced.sources.faults import Fault, FaultReason
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.awscrt_link import AwscrtLink
from presenced.sources.mqtt.diagnosis import Diagnostician
from presenced.sources.mqtt.subscriber import Backoff, subscribe_until_granted
from presenced.sources.mqtt.symptoms import (
    closed_before_connack,
    connack_fault,
    connection_closed,
    disconnect_fault,
    name_unknown,
    no_connack,
    no_pingresp,
    unreachable,
)
from presenced.sources.mqtt.tls import examine_files, renewed, stamps
from presenced.sources.source import SourceOptions
from presenced.sources.status import ConnectionStatus
from presenced.system.loop import Tasks

_UNREACHABLE = {
    "AWS_IO_SOCKET_CONNECTION_REFUSED": "refused the TCP connection",
    "AWS_IO_SOCKET_TIMEOUT": "did not answer",
    "AWS_IO_SOCKET_NO_ROUTE_TO_HOST": "cannot be reached (no route)",
    "AWS_IO_SOCKET_NETWORK_DOWN": "cannot be reached (the network is down)",
}


def connect_symptom(error: Exception, options: SourceOptions) -> Fault:
    """What the library tells of an attempt that got no CONNACK; the cause may lie deeper."""
    name = getattr(error, "name", "")
    if name in _UNREACHABLE:
        return unreachable(_UNREACHABLE[name], options)
    if name.startswith("AWS_IO_DNS_"):
        return name_unknown(options)
    if name.startswith("AWS_IO_TLS_"):
        message = getattr(error, "message", name)
        detail = f"the TLS connection to {options.address} failed ({message})"
        return Fault(FaultReason.TLS, detail)
    if name == "AWS_ERROR_MQTT5_CONNACK_TIMEOUT":
        return no_connack(options)
    return closed_before_connack(options)


def loss_fault(error: Exception, options: SourceOptions) -> Fault:
    """The fault of an accepted connection that ended without a DISCONNECT from the broker."""
    if getattr(error, "name", "") == "AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT":
        return no_pingresp(options)
    return connection_closed(options)


# For the DISCONNECT to go out. Without a connection there is nothing to wait for, and the library
# may be busy for long: s2n-tls sits out up to 30 s after each failed handshake (its "blinding").
_STOP_TIMEOUT = 2.5
_STOP_TIMEOUT_UNCONNECTED = 0.2
_FLUSH_TIMEOUT = 0.5
_LOOK_CLOSER_AFTER = 3.0
# A connection cannot come about in the face of these.
_CERTAIN = frozenset(
    {
        FaultReason.TLS_SERVER_CERTIFICATE,
        FaultReason.TLS_CLIENT_CERTIFICATE,
        FaultReason.TLS_FILES,
    }
)
# Nothing more needs to be looked for where the library itself names the cause.
_CLEAR = frozenset({FaultReason.NAME_RESOLUTION, FaultReason.UNREACHABLE})


class AwscrtSource:
    """One MQTT 5 connection that fills an inbox; see `Source`.

    QoS 1 messages are acknowledged by `Message.acknowledge` only, so that the broker never has
    more than its in-flight limit of messages outstanding (100 on AWS IoT Core). The library
    reconnects by itself, with full jitter; subscribing again is done here. Certificate files that
    have changed on disk, and are complete, are read when the connection is lost or fails.
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
        self._subscribing: asyncio.Task[None] | None = None
        self._link: AwscrtLink | None = None
        self._closer_look: asyncio.TimerHandle | None = None
        self._judged = False
        self._read_from = stamps(options.tls)
        self._running = False

    async def start(self) -> None:
        """Begin to connect, and return without waiting for it."""
        self._running = True
        if not self._start_link():
            self._tasks.spawn(self._start_link_later(), "awscrt start")

    async def renew(self) -> bool:
        """Reconnect if the certificate files have changed, and are complete; see `Source`."""
        if not self._running or not renewed(self._options.tls, self._read_from):
            return False
        await self._tasks.cancel()
        await self._renew_link()
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
        if self._link is not None and self.status.connected:
            await self._link.flush(_FLUSH_TIMEOUT)
        connected = self.status.connected
        self.status.closed()
        await self._stop_link(connected=connected)

    def _start_link(self) -> bool:
        """Start a client of the library; False when its files cannot be used."""
        self._read_from = stamps(self._options.tls)
        try:
            self._link = AwscrtLink(
                self._options,
                self._inbox,
                self.status,
                attempting=self._on_attempt,
                connected=self._on_connected,
                failed=self._on_failure,
                disconnected=self._on_disconnected,
            )
        except Exception as error:  # noqa: BLE001 - AwsCrtError, OSError, ValueError and others
            self.status.failed(self._unusable(error))
            return False
        self._link.start()
        return True

    async def _start_link_later(self) -> None:
        backoff = Backoff(self._options.reconnect_min, self._options.reconnect_max)
        while True:
            await asyncio.sleep(backoff.next())
            if self._start_link():
                return

    async def _stop_link(self, *, connected: bool) -> None:
        """Stop the client of the library, which throws away what comes from now on.

        The status must say before that the connection is down: else deadlines would fire meanwhile.
        """
        link, self._link = self._link, None
        self._attempt_over()
        if link is not None:
            await link.stop(_STOP_TIMEOUT if connected else _STOP_TIMEOUT_UNCONNECTED)

    async def _renew_link(self) -> None:
        connected = self.status.connected
        if connected:
            self.status.closed()
        await self._stop_link(connected=connected)
        if not self._start_link():
            self._tasks.spawn(self._start_link_later(), "awscrt start")

    def _renew_if_changed(self) -> None:
        if renewed(self._options.tls, self._read_from):
            self._read_from = stamps(self._options.tls)
            self._tasks.spawn(self._renew_link(), "awscrt renewal")

    def _unusable(self, error: Exception) -> Fault:
        found = examine_files(self._options.tls) if self._options.tls else None
        return found or Fault(
            FaultReason.TLS_FILES if self._options.tls else FaultReason.OTHER,
            f"the connection to {self._options.address} cannot be set up"
            f" ({getattr(error, 'message', None) or error})",
        )

    def _on_attempt(self, _: mqtt5.LifecycleAttemptingConnectData) -> None:
        self._attempt_over()
        self._judged = False
        if self._options.tls:
            loop = asyncio.get_running_loop()
            self._closer_look = loop.call_later(_LOOK_CLOSER_AFTER, self._look_closer)

    def _attempt_over(self) -> None:
        if self._closer_look is not None:
            self._closer_look.cancel()
            self._closer_look = None

    def _look_closer(self) -> None:
        self._tasks.spawn(self._judge_early(), "awscrt diagnosis")

    async def _judge_early(self) -> None:
        """Tell now why the attempt under way fails, where that is certain."""
        symptom = Fault(FaultReason.TLS, f"no TLS connection to {self._options.address} so far")
        cause = await self._diagnostician.explain(symptom)
        if cause.reason in _CERTAIN and self._closer_look is not None:
            self._judged = True
            self.status.failed(cause)

    def _on_connected(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        assert self._link is not None  # noqa: S101 - only a link calls this
        self._attempt_over()
        self.status.up(resumed=bool(data.negotiated_settings.rejoined_session))
        # Also when the session was resumed: a broker may have lost its subscriptions all the same.
        self._subscribing = self._tasks.spawn(
            subscribe_until_granted(self._link.subscribe, self._link.unsubscribe, self.status),
            "awscrt subscribe",
        )

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        self._attempt_over()
        connack: mqtt5.ConnackPacket | None = data.connack_packet
        if connack is not None:
            code = int(connack.reason_code)
            self.status.failed(connack_fault(code, self._options, connack.reason_string))
        elif self._judged:  # and counted, when the closer look found the cause
            self._judged = False
        else:
            self._report(connect_symptom(data.exception, self._options))
        self._renew_if_changed()

    def _on_disconnected(self, data: mqtt5.LifecycleDisconnectData) -> None:
        if self._subscribing is not None:
            self._subscribing.cancel()
        packet: mqtt5.DisconnectPacket | None = data.disconnect_packet
        if packet is not None:
            code = int(packet.reason_code)
            fault = disconnect_fault(code, self._options, packet.reason_string)
        else:
            fault = loss_fault(data.exception, self._options)
        self.status.lost(fault, time.monotonic())
        self._renew_if_changed()

    def _report(self, symptom: Fault) -> None:
        if symptom.reason in _CLEAR:
            self.status.failed(symptom)
        else:
            self._tasks.spawn(self._explain(symptom), "awscrt diagnosis")

    async def _explain(self, symptom: Fault) -> None:
        cause = symptom
        try:
            cause = await self._diagnostician.explain(symptom)
        finally:
            # Each attempt counts once, also when it is stop() that ends the search.
            self.status.failed(cause)
