"""Totals that presence keeps up to date, so that nobody has to walk over all clients."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from presenced.presence.client import State

__all__ = ["DISCONNECT_REASONS", "Distribution", "PresenceCounts"]

DISCONNECT_REASONS = (
    "AUTH_ERROR",
    "CLIENT_INITIATED_DISCONNECT",
    "CLIENT_ERROR",
    "CONNECTION_LOST",
    "DUPLICATE_CLIENTID",
    "FORBIDDEN_ACCESS",
    "MQTT_KEEP_ALIVE_TIMEOUT",
    "SERVER_ERROR",
    "SERVER_INITIATED_DISCONNECT",
    "API_INITIATED_DISCONNECT",
    "THROTTLED",
    "WEBSOCKET_TTL_EXPIRATION",
    "CUSTOMAUTH_TTL_EXPIRATION",
)
"""`disconnectReason` as the AWS IoT developer guide lists it ("Lifecycle events"); open."""

_KNOWN_REASONS = frozenset(DISCONNECT_REASONS)

_SESSION_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)
_OFFLINE_BUCKETS = (5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)


class Distribution:
    """A histogram: how many observations fell at or below each bound, and their sum."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.buckets = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation; negative ones, which only clocks make, count as 0."""
        if value < 0:
            value = 0.0
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value


class PresenceCounts:
    """What presence has counted so far. Durations are in seconds."""

    def __init__(self) -> None:
        self.clients = dict.fromkeys(State, 0)
        self.transitions = {State.ONLINE: 0, State.OFFLINE: 0}
        self.disconnects: Counter[tuple[str, str]] = Counter()
        self.ignored = {"duplicate": 0, "stale": 0}
        self.flaps_suppressed = 0
        self.connections_replaced = 0
        self.version_resets = 0
        self.missed = {"connected": 0, "disconnected": 0}
        self.forgotten = {"expired": 0, "thing_deleted": 0, "requested": 0}
        self.supposed_online = 0
        self.unverified = 0
        self.session_duration = Distribution(_SESSION_BUCKETS)
        self.offline_duration = Distribution(_OFFLINE_BUCKETS)

    def count_disconnect(self, told: str | None, *, client_initiated: bool | None) -> None:
        """Count a disconnect by the reason that was told, and by who began it."""
        if client_initiated is None:
            client_initiated = told == "CLIENT_INITIATED_DISCONNECT"
        reason = told if told in _KNOWN_REASONS else "other"
        key = reason, "client" if client_initiated else "server"
        # `+= 1` looks for __missing__ and takes 0.4 µs where this takes 0.1.
        self.disconnects[key] = self.disconnects.get(key, 0) + 1

    def observe_session(self, milliseconds: int) -> None:
        """Count a session by the event times of its connect and disconnect, that far apart."""
        self.session_duration.observe(milliseconds / 1000)

    @property
    def known(self) -> int:
        """Clients of which it is known whether they are online."""
        return sum(self.clients.values()) - self.clients[State.UNKNOWN]
