"""Keep one MQTT connection up, and its topic filters subscribed, with either library."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from presenced.settings import SettingsError
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.diagnosis import Diagnostician
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.link import ConnectError, Link
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.symptoms import is_refusal, reason_name
from presenced.sources.mqtt.tls import LiveTls
from presenced.system.loop import Tasks

# After a connection of this length the back-off starts again.
_STABLE_AFTER = 30.0
# A broker may refuse a filter and close the connection: the refusal is reported before the loss.
_LAST_ANSWERS_WITHIN = 0.05
# AWS IoT Core: topic filters per SUBSCRIBE ("AWS IoT Core message broker quotas").
_FILTERS_PER_PACKET = 8
# An attempt with one of these faults cannot succeed by waiting.
_FATAL = frozenset(
    {
        FaultReason.TLS_SERVER_CERTIFICATE,
        FaultReason.TLS_CLIENT_CERTIFICATE,
        FaultReason.TLS_FILES,
    }
)


class MqttConnection:
    """One MQTT connection that fills an inbox until it is stopped.

    All methods are called on the event loop. Being disconnected is a state that `status` shows,
    never an exception. `link` is the class that adapts the MQTT library.

    QoS 1 messages are acknowledged by `Message.acknowledge` only, so that the in-flight limit
    bounds those that are outstanding: with MQTT 5 a Receive Maximum of 100, with 3.1.1 the broker's
    own limit. An attempt to connect reads certificate files that have changed and can be used.
    """

    def __init__(
        self,
        link: type[Link],
        options: ConnectionOptions,
        inbox: Inbox,
        status: ConnectionStatus | None = None,
    ) -> None:
        self.status = status or ConnectionStatus(
            options.client_id, options.filters, endpoint=options.certified_name
        )
        self._new_link = link
        self._options = options
        self._inbox = inbox
        self._diagnostician = Diagnostician(options)
        self._tasks = Tasks(self.status.callback_failed)
        self._link: Link | None = None
        self._tls = LiveTls(options, link.load_tls)
        self._running = False

    async def start(self) -> None:
        """Begin to connect, and return without waiting for it."""
        self._running = True
        self._tasks.spawn(self._keep_connected(), "mqtt connection")

    async def renew(self) -> bool:
        """Reconnect if the certificate files have changed since they were read, and can be used.

        Returns whether it did. Files that are half written, do not match or are not valid now
        leave the connection as it is.
        """
        try:
            if not self._running or not await self._tls.refresh():
                return False
        except Exception:  # noqa: BLE001 - the next attempt to connect reports it
            return False
        await self._disconnect()
        if self._running:  # not stopped meanwhile
            await self.start()
        return True

    async def stop(self) -> None:
        """Send DISCONNECT if connected, and return when no more messages will come.

        Messages that have arrived are delivered first: acknowledged now, they do not come again.
        """
        if self._running:
            self._running = False
            await self._inbox.settle()
            await self._disconnect()

    async def _disconnect(self) -> None:
        # The status first: no deadline may fire while the connection closes, which takes a while.
        if self._link is not None:
            self._link.mute()
        self.status.closed()
        await self._tasks.cancel()

    async def _keep_connected(self) -> None:
        bounds = self._options.reconnect_min, self._options.reconnect_max
        waits = backoff(*bounds)
        while True:
            try:
                if await self._connect_once() >= _STABLE_AFTER:
                    waits = backoff(*bounds)
            except Exception as error:  # noqa: BLE001 - logged, counted, repeated
                self.status.callback_failed("connection", error)
            await asyncio.sleep(next(waits))

    async def _connect_once(self) -> float:
        """Connect, and wait until the connection ends; return how many seconds it was up."""
        try:
            await self._tls.refresh()
            link = self._new_link(self._options, self._tls.context, self._inbox, self.status)
        except SettingsError as error:
            problem = error.problems[0]
            self.status.failed(Fault(FaultReason.TLS_FILES, problem.summary, problem.remedy))
            return 0.0
        except Exception as error:  # noqa: BLE001 - AwsCrtError, OSError, ValueError and others
            symptom = Fault(
                FaultReason.TLS_FILES if self._options.tls else FaultReason.OTHER,
                f"the connection to {self._options.address} cannot be set up"
                f" ({getattr(error, 'message', None) or error})",
            )
            self.status.failed(await self._diagnostician.explain(symptom))
            return 0.0
        self._link = link
        try:
            return await self._run_link(link)
        finally:
            await link.close()

    async def _run_link(self, link: Link) -> float:
        """Open a link, subscribe, and return how long it was up, in seconds."""
        diagnosis = self._tasks.spawn(self._diagnose_early(link), "mqtt diagnosis")
        try:
            await link.open()
        except ConnectError as error:
            fault = error.fault
            if not error.certain:
                fault = await self._diagnostician.explain(fault)
            self.status.failed(fault)
            return 0.0
        finally:
            diagnosis.cancel()
        begun = time.monotonic()
        waits = backoff(self._options.retry_min, self._options.retry_max)
        # Also if the session was resumed: the broker may have lost its subscriptions.
        subscribing = self._tasks.spawn(
            subscribe_until_granted(link, self.status, waits), "mqtt subscribe"
        )
        try:
            fault = await link.lost()
            ended = time.monotonic()
            await asyncio.wait({subscribing}, timeout=_LAST_ANSWERS_WITHIN)
        finally:
            subscribing.cancel()
        self.status.lost(fault, ended)
        return ended - begun

    async def _diagnose_early(self, link: Link) -> None:
        """End an attempt that cannot succeed; s2n-tls would report it after up to 30 seconds."""
        if self._options.tls is None:
            return
        await asyncio.sleep(self._options.diagnose_after)
        symptom = Fault(FaultReason.TLS, f"no TLS connection to {self._options.address} so far")
        cause = await self._diagnostician.explain(symptom)
        if cause.reason in _FATAL:
            link.fail(ConnectError(cause))


async def subscribe_until_granted(
    link: Link, status: ConnectionStatus, waits: Iterator[float]
) -> None:
    """Subscribe to all filters, and again to those refused, until the broker grants them all.

    Then unsubscribe from filters that a resumed session holds and that are no longer configured. A
    policy that is corrected while the connection is up takes effect with the next attempt. An
    exception of the library counts as no answer. Cancelled when the connection ends; it also ends
    by itself, because aiomqtt loses a cancellation that meets an answer (`wait_for` before 3.12).
    """
    missing = list(status.filters)
    while status.connected and not link.ended and (missing or status.unwanted):
        if missing:
            status.subscribing(time.monotonic())
        unanswered = status.subscription_unanswered
        async for topic_filter, code in _answers(link, link.subscribe, missing, unanswered):
            if is_refusal(code):
                status.filter_refused(topic_filter, reason_name(code))
            else:
                status.filter_granted(topic_filter, code)
        missing = [topic_filter for topic_filter, granted in status.granted.items() if not granted]
        if not missing:
            # Only now, so that a message that matches an old and a new filter is never left out.
            unanswered, unwanted = status.still_subscribed, status.unwanted
            async for topic_filter, code in _answers(link, link.unsubscribe, unwanted, unanswered):
                if is_refusal(code):
                    status.still_subscribed([topic_filter], reason_name(code))
                else:
                    status.unsubscribed(topic_filter)
        if status.connected and (missing or status.unwanted):
            await asyncio.sleep(next(waits))


async def _answers(
    link: Link,
    send: Callable[[list[str]], Awaitable[Sequence[int]]],
    filters: list[str],
    unanswered: Callable[[Sequence[str], str], None],
) -> AsyncIterator[tuple[str, int]]:
    """Send filters in packets, and yield each filter that was answered, with its reason code."""
    for start in range(0, len(filters), _FILTERS_PER_PACKET):
        packet = filters[start : start + _FILTERS_PER_PACKET]
        try:
            codes = await send(packet)
        except Exception as error:  # noqa: BLE001 - of either library; none may end the retries
            if not link.ended:  # the loss is reported elsewhere
                unanswered(packet, f"{type(error).__name__}: {error}")
            continue
        for answer in zip(packet, codes, strict=False):
            yield answer


def backoff(
    minimum: float, maximum: float, uniform: Callable[[float, float], float] = random.uniform
) -> Iterator[float]:
    """Yield waits in seconds: exponential back-off with full jitter.

    Each is uniform between 0 and a bound that doubles from `minimum` to `maximum`. Full jitter
    spreads the reconnects of daemons that lost the same broker ("Exponential Backoff And Jitter",
    AWS Architecture Blog).
    """
    bound = minimum
    while True:
        yield uniform(0.0, min(bound, maximum))
        bound = min(bound * 2, maximum)
