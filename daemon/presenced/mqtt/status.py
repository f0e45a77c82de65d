"""What is known about one MQTT connection of ours, told to metrics, logs and `/-/ready`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from presenced.log import Throttle, get_logger
from presenced.mqtt.policy import subscribe_remedy

__all__ = ["ConnectionStatus", "Fault", "FaultReason"]

_DROP_WINDOW = 5.0
_DROPS_THAT_MAKE_A_LOOP = 2


class FaultReason(StrEnum):
    """Why a connection was refused or lost: the label values of the failures metric."""

    NAME_RESOLUTION = "name_resolution"
    UNREACHABLE = "unreachable"
    TLS_SERVER_CERTIFICATE = "tls_server_certificate"
    TLS_CLIENT_CERTIFICATE = "tls_client_certificate"
    TLS_FILES = "tls_files"
    TLS = "tls"
    CONNECT_REFUSED = "connect_refused"
    NOT_AUTHORIZED = "not_authorized"
    TAKEN_OVER = "taken_over"
    KEEP_ALIVE_TIMEOUT = "keep_alive_timeout"
    SERVER_DISCONNECT = "server_disconnect"
    DROPPED_AFTER_SUBSCRIBE = "dropped_after_subscribe"
    CONNECTION_LOST = "connection_lost"
    FILTER_REFUSED = "filter_refused"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong: what happened, to what, and what to do about it."""

    reason: FaultReason
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.detail}. {self.remedy}" if self.remedy else self.detail


class ConnectionStatus:
    """The state of one MQTT connection and what has been counted about it.

    Transports report here, on the event loop; metrics, `/-/ready` and the log read from here.
    `filters` are the topic filters it must be granted. `now` arguments are monotonic seconds.
    """

    def __init__(self, client_id: str, filters: Sequence[str], *, endpoint: str = "") -> None:
        self.client_id = client_id
        self.filters = tuple(filters)
        self.endpoint = endpoint
        self.connected = False
        self.granted: dict[str, bool] = dict.fromkeys(self.filters, False)
        self.connects = {"new": 0, "resumed": 0}
        self.failures: dict[FaultReason, int] = dict.fromkeys(FaultReason, 0)
        self.messages_dropped = 0
        self._fault: Fault | None = None
        self._refusals: dict[str, Fault] = {}
        self._subscribed_at: float | None = None
        self._drops = 0
        self._throttle = Throttle(interval=60.0)
        self._log = get_logger("presenced.mqtt").bind(connection=client_id)

    @property
    def problem(self) -> str | None:
        """Why this connection is not ready, for people; None when it is."""
        if not self.connected:
            return str(self._fault) if self._fault else f"connecting to {self.endpoint}"
        if self._refusals:
            return "; ".join(str(fault) for fault in self._refusals.values())
        missing = [topic_filter for topic_filter, granted in self.granted.items() if not granted]
        if missing:
            return f"waiting for the broker to grant {', '.join(missing)}"
        return None

    def up(self, *, resumed: bool) -> None:
        """The broker accepted our CONNECT; `resumed` is its Session Present flag."""
        self.connected = True
        self.connects["resumed" if resumed else "new"] += 1
        self._subscribed_at = None
        self._log.info("connected to the broker", endpoint=self.endpoint, session_resumed=resumed)

    def subscribing(self, now: float) -> None:
        """A SUBSCRIBE for the filters is on its way."""
        self._subscribed_at = now

    def filter_granted(self, topic_filter: str, qos: int) -> None:
        """The SUBACK granted a filter with this maximum QoS."""
        self.granted[topic_filter] = True
        self._refusals.pop(topic_filter, None)
        self._log.info("subscription granted", filter=topic_filter, qos=qos)

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

    def failed(self, fault: Fault) -> None:
        """An attempt to connect failed before the broker accepted it."""
        self._down(fault, "connection attempt failed")

    def lost(self, fault: Fault, now: float) -> None:
        """An accepted connection ended against our will."""
        if self._dropped_after_subscribe(now):
            self._drops += 1
        else:
            self._drops = 0
        if self._drops >= _DROPS_THAT_MAKE_A_LOOP:
            fault = self._loop_fault(fault)
        self._down(fault, "connection lost")

    def settled(self, now: float) -> None:
        """The connection outlived the time in which a refused SUBSCRIBE gets it dropped."""
        if not self._dropped_after_subscribe(now):
            self._drops = 0

    def closed(self) -> None:
        """We ended the connection ourselves."""
        self.connected = False
        self.granted = dict.fromkeys(self.filters, False)
        self._fault = Fault(FaultReason.OTHER, "disconnected on request")
        self._log.info("disconnected from the broker")

    def explained(self, fault: Fault) -> None:
        """A closer look at the newest failure found its cause; it is not counted again."""
        if self.connected:
            return
        self._fault = fault
        self._warn("cause of the failed connection", fault)

    def _dropped_after_subscribe(self, now: float) -> bool:
        return self._subscribed_at is not None and now - self._subscribed_at <= _DROP_WINDOW

    def _loop_fault(self, fault: Fault) -> Fault:
        remedies = " ".join(subscribe_remedy(f, self.endpoint) for f in self.filters)
        return Fault(
            FaultReason.DROPPED_AFTER_SUBSCRIBE,
            f"the broker drops the connection right after SUBSCRIBE to {', '.join(self.filters)},"
            f" {self._drops} times in a row ({fault.detail})",
            f"AWS IoT Core does so when the policy does not allow the subscription. {remedies}",
        )

    def _down(self, fault: Fault, event: str) -> None:
        self.connected = False
        self.granted = dict.fromkeys(self.filters, False)
        self._refusals.clear()
        self.failures[fault.reason] += 1
        self._fault = fault
        self._warn(event, fault)

    def _warn(self, event: str, fault: Fault, **more: Any) -> None:
        left_out = self._throttle.admit((event, fault.reason, fault.detail))
        if left_out is None:
            return
        if left_out:
            more["repeats_left_out"] = left_out
        self._log.warning(
            event, reason=fault.reason.value, detail=fault.detail, remedy=fault.remedy, **more
        )
