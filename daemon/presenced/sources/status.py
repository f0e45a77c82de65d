"""What is known about one MQTT connection of ours, told to metrics, logs and `/-/ready`.

Recognises two clients that share a client ID and throw each other out for ever.

A broker ends the old connection when a client ID connects anew (MQTT 5 section 3.1.4), and each
of the two comes back. With MQTT 5 the broker may say so (DISCONNECT 142); with 3.1.1 it cannot,
and some brokers never do.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from presenced.events.message import Message
from presenced.sources.faults import Fault, FaultReason, subscribe_remedy
from presenced.system.log import ThrottledLogger, get_logger

_WINDOW = 300.0
_LOSSES_THAT_MAKE_A_LOOP = 3
_SILENT = frozenset({FaultReason.CONNECTION_LOST, FaultReason.SERVER_DISCONNECT})


class TakeoverWatch:
    """Losses of one connection within the last five minutes. Times are monotonic seconds."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._losses: deque[tuple[float, FaultReason]] = deque()

    def judge(self, fault: Fault, now: float) -> Fault:
        """The fault of a loss of a connection that was in good order, with what the others tell."""
        self._forget(now)
        self._losses.append((now, fault.reason))
        if len(self._losses) < _LOSSES_THAT_MAKE_A_LOOP:
            return fault
        if self.certain(now):
            return replace(
                fault,
                detail=f"another client keeps taking over the client ID {self._client_id},"
                f" time after time ({fault.detail})",
                remedy="Two daemons run with the same mqtt.client_id and end each other's"
                " connections for ever: give each its own, or stop one",
            )
        if all(reason in _SILENT for _, reason in self._losses):
            return replace(
                fault,
                remedy=f"{fault.remedy} This happens time after time: if a second client uses the"
                f" client ID {self._client_id}, the two end each other's connections for ever;"
                " give each its own mqtt.client_id".strip(),
            )
        return fault

    def certain(self, now: float) -> bool:
        """Whether the broker has said often enough, and not long ago, that it is a takeover."""
        self._forget(now)
        told = sum(reason is FaultReason.TAKEN_OVER for _, reason in self._losses)
        return told >= _LOSSES_THAT_MAKE_A_LOOP

    def _forget(self, now: float) -> None:
        while self._losses and self._losses[0][0] <= now - _WINDOW:
            self._losses.popleft()


_DROP_WINDOW = 5.0
_DROPS_THAT_MAKE_A_LOOP = 2
# These say themselves why the connection ended, however soon after SUBSCRIBE that was.
_EXPLAINED = frozenset({FaultReason.TAKEN_OVER, FaultReason.KEEP_ALIVE_TIMEOUT})


class ConnectionListener(Protocol):
    """Who is told, on the event loop, of connections and what they subscribe to."""

    def up(self, client_id: str, *, resumed: bool) -> None:
        """The broker accepted a connection; `resumed` is its Session Present flag."""

    def down(self, client_id: str) -> None:
        """A connection that was up has ended."""

    def granted(self, client_id: str, topic_filter: str, qos: int) -> None:
        """The broker granted a topic filter with this maximum QoS."""

    def unwanted(self, client_id: str) -> list[str]:
        """The topic filters that the connection's session still has and should not."""

    def unsubscribed(self, client_id: str, topic_filter: str) -> None:
        """The broker has ended a subscription."""


class ConnectionStatus:
    """The state of one MQTT connection and what has been counted about it.

    Transports report here, on the event loop except where a method says otherwise; metrics,
    `/-/ready` and the log read from here. `filters` are the topic filters it must be granted.
    `now` arguments are monotonic seconds.
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
        self.granted: dict[str, bool] = dict.fromkeys(self.filters, False)
        self.connects = {"new": 0, "resumed": 0}
        self.failures: dict[FaultReason, int] = dict.fromkeys(FaultReason, 0)
        self.messages_dropped = 0
        self.callback_errors = 0
        self._fault: Fault | None = None
        self._refusals: dict[str, Fault] = {}
        self._subscribed_at: float | None = None
        self._drops = 0
        self._takeovers = TakeoverWatch(client_id)
        self._clock = clock
        self._listener = listener
        self._log = get_logger("presenced.mqtt", connection=client_id)
        self._throttled = ThrottledLogger(self._log)

    @property
    def problem(self) -> str | None:
        """Why this connection is not ready, for people; None when it is."""
        missing = [topic_filter for topic_filter, granted in self.granted.items() if not granted]
        # A connection in a loop of drops is up now and then, and still not the better for it.
        if self._fault and (not self.connected or self._in_loop):
            return str(self._fault)
        if self.connected and not missing:
            return None
        if not self.connected:
            return f"connecting to {self.endpoint}"
        if self._refusals:
            return "; ".join(str(fault) for fault in self._refusals.values())
        return f"waiting for the broker to grant {', '.join(missing)}"

    def up(self, *, resumed: bool) -> None:
        """The broker accepted our CONNECT; `resumed` is its Session Present flag."""
        self.connected = True
        self.connects["resumed" if resumed else "new"] += 1
        self._subscribed_at = None
        self._log.info("connected to the broker", endpoint=self.endpoint, session_resumed=resumed)
        if self._listener is not None:
            self._listener.up(self.client_id, resumed=resumed)

    def subscribing(self, now: float) -> None:
        """A SUBSCRIBE for filters is on its way."""
        self._subscribed_at = now

    def subscription_unanswered(self, filters: Sequence[str], detail: str) -> None:
        """A SUBSCRIBE got no SUBACK; `detail` says why. It is tried again."""
        self._throttled.warning(
            "subscription not answered", key=tuple(filters), filters=list(filters), detail=detail
        )

    def filter_granted(self, topic_filter: str, qos: int) -> None:
        """The SUBACK granted a filter with this maximum QoS."""
        self.granted[topic_filter] = True
        self._refusals.pop(topic_filter, None)
        self._log.info("subscription granted", filter=topic_filter, qos=qos)
        if all(self.granted.values()):
            self._drops = 0
        if self._listener is not None:
            self._listener.granted(self.client_id, topic_filter, qos)

    def filter_refused(self, topic_filter: str, detail: str) -> None:
        """The SUBACK refused a filter; `detail` names its reason code."""
        self.granted[topic_filter] = False
        self.failures[FaultReason.FILTER_REFUSED] += 1
        fault = Fault(
            FaultReason.FILTER_REFUSED,
            f"the broker refused the subscription to {topic_filter} ({detail})",
            subscribe_remedy(topic_filter, self.endpoint),
        )
        self._refusals[topic_filter] = fault
        self._warn("subscription refused", fault, filter=topic_filter)

    @property
    def unwanted(self) -> list[str]:
        """The topic filters of an earlier configuration that the session still holds."""
        return [] if self._listener is None else self._listener.unwanted(self.client_id)

    def unsubscribed(self, topic_filter: str) -> None:
        """The UNSUBACK said that the session does not hold a filter any more."""
        self._log.info("unsubscribed from a filter that is not configured", filter=topic_filter)
        if self._listener is not None:
            self._listener.unsubscribed(self.client_id, topic_filter)

    def still_subscribed(self, filters: Sequence[str], detail: str) -> None:
        """An UNSUBSCRIBE was refused or not answered; `detail` says why. It is tried again."""
        self._throttled.warning(
            "the broker goes on sending what is not configured any more",
            key=tuple(filters),
            filters=list(filters),
            detail=detail,
        )

    def failed(self, fault: Fault) -> None:
        """An attempt to connect failed before the broker accepted it.

        It may be told late, when finding its cause took longer than the next attempt, which
        succeeded: it is counted then, and says nothing about the present.
        """
        self._count(fault, "connection attempt failed")

    def lost(self, fault: Fault, now: float) -> None:
        """An accepted connection ended against our will."""
        self._drops = self._drops + 1 if self._dropped_after_subscribe(fault, now) else 0
        if self._in_drop_loop:
            fault = self._loop_fault(fault)
        elif all(self.granted.values()):
            fault = self._takeovers.judge(fault, now)
        self._down()
        self._count(fault, "connection lost")

    def closed(self) -> None:
        """We ended the connection ourselves."""
        self._down()
        self._fault = Fault(FaultReason.OTHER, "disconnected on request")
        self._log.info("disconnected from the broker")

    def refused(self, message: Message) -> None:
        """The inbox refused a message; called on the transport's own thread.

        One of QoS 0 is lost and counted. One of QoS 1 stays unacknowledged, so that the broker
        keeps it and sends it again on the next connection.
        """
        if message.qos > 0:
            return
        self.messages_dropped += 1
        self._throttled.warning(
            "message dropped: the backlog is full", dropped_so_far=self.messages_dropped
        )

    def callback_failed(self, where: str, error: BaseException) -> None:
        """Our code failed inside a callback of the library; called on any thread.

        The libraries swallow such exceptions, so this log line is the only trace of them. It has
        no local variables, which could be payloads.
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
        return self._in_drop_loop or self._takeovers.certain(self._clock())

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

    def _loop_fault(self, fault: Fault) -> Fault:
        remedies = " ".join(subscribe_remedy(f, self.endpoint) for f in self.filters)
        return Fault(
            FaultReason.DROPPED_AFTER_SUBSCRIBE,
            f"the broker drops the connection right after SUBSCRIBE to {', '.join(self.filters)},"
            f" time after time ({fault.detail})",
            f"AWS IoT Core does so when the policy does not allow the subscription. {remedies}",
            fault.said,
        )

    def _down(self) -> None:
        if self.connected and self._listener is not None:
            self._listener.down(self.client_id)
        self.connected = False
        self.granted = dict.fromkeys(self.filters, False)
        self._refusals.clear()
        self._subscribed_at = None

    def _count(self, fault: Fault, event: str) -> None:
        self.failures[fault.reason] += 1
        if not self.connected:
            self._fault = fault
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
