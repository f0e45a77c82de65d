"""The state of one MQTT connection: for metrics, logs, `/-/ready` and the doctor."""

import asyncio
import contextlib
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from presenced.events.message import Message
from presenced.sources.mqtt.faults import Fault, FaultReason, subscribe_remedy
from presenced.system.log import ThrottledLogger, get_logger

_POLL_INTERVAL = 0.02
_DROP_WINDOW = 5.0
_DROPS_THAT_MAKE_A_LOOP = 2
_TAKEOVER_WINDOW = 300.0
_LOSSES_THAT_MAKE_A_LOOP = 3
_UNEXPLAINED = frozenset({FaultReason.CONNECTION_LOST, FaultReason.SERVER_DISCONNECT})
# The cause is known, however soon after SUBSCRIBE the connection ended.
_EXPLAINED = frozenset({FaultReason.TAKEN_OVER, FaultReason.KEEP_ALIVE_TIMEOUT})


class ConnectionListener:
    """Gets notifications about connections and subscriptions, on the event loop; ignores them."""

    def up(self, client_id: str, *, resumed: bool) -> None:
        """The broker accepted a connection; `resumed` is its Session Present flag."""

    def down(self, client_id: str) -> None:
        """A connection that was up has ended."""

    def granted(self, client_id: str, topic_filter: str, qos: int) -> None:
        """The broker granted a topic filter with this maximum QoS."""

    def unwanted(self, client_id: str) -> list[str]:  # noqa: ARG002 - for subclasses
        """Return the topic filters of the connection's session that are no longer configured."""
        return []

    def unsubscribed(self, client_id: str, topic_filter: str) -> None:
        """The broker has ended a subscription."""


class ConnectionStatus:
    """The state and the counters of one MQTT connection.

    Transports report here, on the event loop unless a method says otherwise. `filters` are the
    topic filters that the broker must grant; `answers` has its answer to each since the last
    CONNACK: the QoS that it granted, or a fault. `fault` is why the last attempt to connect failed
    or the last connection ended; None before. `now` arguments are monotonic seconds.
    """

    def __init__(
        self,
        client_id: str,
        filters: Sequence[str],
        *,
        endpoint: str = "",
        clock: Callable[[], float] = time.monotonic,
        listener: ConnectionListener | None = None,
    ) -> None:
        self.client_id = client_id
        self.filters = tuple(filters)
        self.endpoint = endpoint
        self.connected = False
        self.fault: Fault | None = None
        self.answers: dict[str, int | Fault] = {}
        self.connects = {"new": 0, "resumed": 0}
        self.failures: dict[FaultReason, int] = dict.fromkeys(FaultReason, 0)
        self.messages_dropped = 0
        self.callback_errors = 0
        self._subscribed_at: float | None = None
        self._drops = 0
        self._losses: deque[tuple[float, FaultReason]] = deque()
        self._clock = clock
        self._listener = listener or ConnectionListener()
        self._log = get_logger("presenced.mqtt", connection=client_id)
        self._throttled = ThrottledLogger(self._log)

    @property
    def accepted(self) -> bool:
        """Whether the broker has ever accepted the connection."""
        return any(self.connects.values())

    @property
    def granted(self) -> dict[str, bool]:
        """Whether the broker has granted each filter on the present connection."""
        return {f: self.connected and isinstance(self.answers.get(f), int) for f in self.filters}

    @property
    def unreceived(self) -> list[str]:
        """The filters whose messages do not come at present."""
        if self.fault and self._in_loop:
            return [*self.filters]
        return [topic_filter for topic_filter, granted in self.granted.items() if not granted]

    @property
    def problem(self) -> str | None:
        """Why this connection is not ready; None if it is."""
        # In a loop of drops the connection is up now and then, but not ready.
        if self.fault and (not self.connected or self._in_loop):
            return str(self.fault)
        if not self.connected:
            return f"connecting to {self.endpoint}"
        if not (missing := self.unreceived):
            return None
        faults = [str(self.answers[each]) for each in missing if each in self.answers]
        return "; ".join(faults) or f"waiting for the broker to grant {', '.join(missing)}"

    @property
    def unwanted(self) -> list[str]:
        """The topic filters that the session holds and that are no longer configured."""
        return self._listener.unwanted(self.client_id)

    async def until(self, condition: Callable[[], object], limit: float) -> None:
        """Wait until a condition is true or there is a fault, at most `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not condition() and self.fault is None:  # noqa: ASYNC110 - of any kind
                    await asyncio.sleep(_POLL_INTERVAL)

    def up(self, *, resumed: bool) -> None:
        """The broker accepted our CONNECT; `resumed` is its Session Present flag."""
        self.connected = True
        self.connects["resumed" if resumed else "new"] += 1
        self.answers.clear()
        self._subscribed_at = None
        self._log.info("connected to the broker", endpoint=self.endpoint, session_resumed=resumed)
        self._listener.up(self.client_id, resumed=resumed)

    def subscribing(self, now: float) -> None:
        """A SUBSCRIBE is sent."""
        self._subscribed_at = now

    def subscription_unanswered(self, filters: Sequence[str], detail: str) -> None:
        """No SUBACK came, for the reason in `detail`; the SUBSCRIBE is repeated."""
        for each in filters:
            text = f"the subscription to {each} got no answer ({detail})"
            self.answers[each] = Fault(FaultReason.OTHER, text)
        self._throttled.warning(
            "subscription not answered", key=tuple(filters), filters=list(filters), detail=detail
        )

    def filter_granted(self, topic_filter: str, qos: int) -> None:
        """The SUBACK granted a filter with this maximum QoS."""
        self.answers[topic_filter] = qos
        self._log.info("subscription granted", filter=topic_filter, qos=qos)
        if all(self.granted.values()):
            self._drops = 0
        self._listener.granted(self.client_id, topic_filter, qos)

    def filter_refused(self, topic_filter: str, detail: str) -> None:
        """The SUBACK refused a filter; `detail` names its reason code."""
        fault = Fault(
            FaultReason.FILTER_REFUSED,
            f"the broker refused the subscription to {topic_filter} ({detail})",
            subscribe_remedy(topic_filter, self.endpoint),
        )
        self.answers[topic_filter] = fault
        self.failures[FaultReason.FILTER_REFUSED] += 1
        self._warn("subscription refused", fault, filter=topic_filter)

    def unsubscribed(self, topic_filter: str) -> None:
        """The UNSUBACK confirmed that the session no longer holds a filter."""
        self._log.info("unsubscribed from a filter that is not configured", filter=topic_filter)
        self._listener.unsubscribed(self.client_id, topic_filter)

    def still_subscribed(self, filters: Sequence[str], detail: str) -> None:
        """An UNSUBSCRIBE failed for the reason in `detail`; it is repeated."""
        self._throttled.warning(
            "the session still holds filters that are not configured",
            key=tuple(filters),
            filters=list(filters),
            detail=detail,
        )

    def failed(self, fault: Fault) -> None:
        """An attempt to connect failed before the broker accepted it."""
        self._count(fault, "connection attempt failed")

    def lost(self, fault: Fault, now: float) -> None:
        """An accepted connection ended, other than by `closed`."""
        self._drops = self._drops + 1 if self._dropped_after_subscribe(fault, now) else 0
        if self._in_drop_loop:
            fault = self._drop_loop_fault(fault)
        elif all(self.granted.values()):
            fault = self._takeover_fault(fault, now)
        self._down()
        self._count(fault, "connection lost")

    def closed(self) -> None:
        """The daemon ended the connection or the attempt to connect."""
        self._down()
        self.fault = Fault(FaultReason.OTHER, "disconnected on request")
        self._log.info("disconnected from the broker")

    def refused(self, message: Message) -> None:
        """The inbox refused a message; called on any thread.

        At QoS 0 it is lost and counted. At QoS 1 it stays unacknowledged, so that the broker sends
        it again on the next connection.
        """
        if message.qos > 0:
            return
        self.messages_dropped += 1
        self._throttled.warning(
            "message dropped: the backlog is full", dropped_so_far=self.messages_dropped
        )

    def callback_failed(self, where: str, error: BaseException) -> None:
        """A callback of the library failed; called on any thread.

        The libraries swallow such exceptions. The traceback has no local variables, which could be
        payloads.
        """
        self.callback_errors += 1
        self._throttled.error(
            "failure inside a callback",
            key=(where, type(error)),
            callback=where,
            traceback="".join(traceback.format_exception(error)),
        )

    @property
    def _in_loop(self) -> bool:
        return self._in_drop_loop or self._in_takeover_loop(self._clock())

    @property
    def _in_drop_loop(self) -> bool:
        return self._drops >= _DROPS_THAT_MAKE_A_LOOP

    def _dropped_after_subscribe(self, fault: Fault, now: float) -> bool:
        return (
            self._subscribed_at is not None
            and now - self._subscribed_at <= _DROP_WINDOW
            and not all(self.granted.values())
            and fault.reason not in _EXPLAINED
        )

    def _drop_loop_fault(self, fault: Fault) -> Fault:
        remedies = " ".join(subscribe_remedy(f, self.endpoint) for f in self.filters)
        return Fault(
            FaultReason.DROPPED_AFTER_SUBSCRIBE,
            f"the broker repeatedly drops the connection right after SUBSCRIBE to"
            f" {', '.join(self.filters)} ({fault.detail})",
            f"Some brokers do so if they do not allow the subscription. {remedies}",
            fault.said,
        )

    def _in_takeover_loop(self, now: float) -> bool:
        """Whether the broker itself reported enough takeovers in the last five minutes."""
        takeovers = sum(reason is FaultReason.TAKEN_OVER for reason in self._recent_losses(now))
        return takeovers >= _LOSSES_THAT_MAKE_A_LOOP

    def _takeover_fault(self, fault: Fault, now: float) -> Fault:
        """Return the fault of a loss, extended if two clients seem to share the client ID.

        A broker ends the old connection when its client ID connects again (MQTT 5 section 3.1.4),
        and each of two clients reconnects. With MQTT 5 the broker may report that (DISCONNECT 142);
        with 3.1.1 it cannot, and some brokers never do. Three losses in five minutes make a loop.
        """
        self._losses.append((now, fault.reason))
        if self._in_takeover_loop(now):
            return replace(
                fault,
                detail="another client repeatedly takes over the client ID"
                f" {self.client_id} ({fault.detail})",
                remedy="Two daemons run with the same mqtt.client_id and end each other's"
                " connections: give each its own, or stop one",
            )
        losses = self._recent_losses(now)
        if len(losses) >= _LOSSES_THAT_MAKE_A_LOOP and _UNEXPLAINED.issuperset(losses):
            remedy = (
                f"{fault.remedy} This happens repeatedly: if a second client uses the client ID"
                f" {self.client_id}, the two end each other's connections; give each its own"
                " mqtt.client_id"
            )
            return replace(fault, remedy=remedy.strip())
        return fault

    def _recent_losses(self, now: float) -> list[FaultReason]:
        while self._losses and self._losses[0][0] <= now - _TAKEOVER_WINDOW:
            self._losses.popleft()
        return [reason for _, reason in self._losses]

    def _down(self) -> None:
        if self.connected:
            self._listener.down(self.client_id)
        self.connected = False
        self._subscribed_at = None

    def _count(self, fault: Fault, event: str) -> None:
        self.failures[fault.reason] += 1
        self.fault = fault
        self._warn(event, fault)

    def _warn(self, event: str, fault: Fault, **more: Any) -> None:
        if fault.said:
            more["broker_said"] = fault.said
        self._throttled.warning(
            event,
            key=fault,
            reason=fault.reason.value,
            detail=fault.detail,
            remedy=fault.remedy,
            **more,
        )
