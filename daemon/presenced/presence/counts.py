"""Totals that are updated with every change, so that no reader walks over all clients."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from presenced.events.model import DISCONNECT_REASONS
from presenced.presence.client import State

_KNOWN_REASONS = frozenset(DISCONNECT_REASONS)

STATUS_OFFLINE = "STATUS_OFFLINE"
"""The reason of clients that are offline by their status."""

_NAMED_REASONS = _KNOWN_REASONS | {STATUS_OFFLINE}

_SESSION_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)
_OFFLINE_BUCKETS = (5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)


def reason_key(reason: str | None) -> str:
    """Return the name under which a reason is counted: few, whatever reasons events state."""
    if not reason:
        return ""
    return reason if reason in _NAMED_REASONS else "other"


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
    """What presence has counted so far. Durations are in seconds.

    `offline_by_reason` is how many clients are offline now by the reason of their last disconnect:
    empty without one, `other` for reasons that AWS does not document.
    """

    def __init__(self) -> None:
        self.clients = dict.fromkeys(State, 0)
        self.offline_by_reason: dict[str, int] = {}
        self.transitions = {State.ONLINE: 0, State.OFFLINE: 0}
        self.disconnects: Counter[tuple[str, str]] = Counter()
        self.ignored = {"duplicate": 0, "stale": 0}
        self.flaps_suppressed = 0
        self.connections_replaced = 0
        self.version_resets = 0
        self.missed = {"connected": 0, "disconnected": 0}
        self.forgotten = {"expired": 0, "thing_deleted": 0, "requested": 0}
        self.supposed_online = 0
        self.unverified = dict.fromkeys(State, 0)
        self.adopted = dict.fromkeys(State, 0)
        self.corrections: Counter[tuple[State, str]] = Counter()
        self.offline_prevented = 0
        self.status_contradictions = {"online": 0, "offline": 0}
        self.session_duration = Distribution(_SESSION_BUCKETS)
        self.offline_duration = Distribution(_OFFLINE_BUCKETS)

    def count_disconnect(self, cause: str | None, *, client_initiated: bool | None) -> None:
        """Count a disconnect by its reason and the side that initiated it."""
        if client_initiated is None:
            client_initiated = cause == "CLIENT_INITIATED_DISCONNECT"
        reason = cause if cause in _KNOWN_REASONS else "other"
        key = reason, "client" if client_initiated else "server"
        # `+= 1` looks for __missing__ and takes 0.4 µs where this takes 0.1.
        self.disconnects[key] = self.disconnects.get(key, 0) + 1

    def count_offline(self, reason: str | None, change: int) -> None:
        """Count clients that are offline for a reason from now on, or not any more (negative)."""
        counts = self.offline_by_reason
        key = reason if reason in counts and reason else reason_key(reason)
        counts[key] = counts.get(key, 0) + change

    @property
    def unverified_connected(self) -> int:
        """How many clients are online or pending, but unverified."""
        return self.unverified[State.ONLINE] + self.unverified[State.PENDING]

    @property
    def known(self) -> int:
        """How many clients are known to be online or not."""
        return sum(self.clients.values()) - self.clients[State.UNKNOWN]


class StateCounts:
    """How many clients are in which state, by the name of a thing type or a thing group."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[State, int]] = {}

    def count(self, name: str, state: State, change: int) -> None:
        """Count clients of this name that enter a state, or leave it (negative)."""
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = dict.fromkeys(State, 0)
        counts[state] += change
        if change < 0 and not any(counts.values()):
            del self._counts[name]

    @property
    def names(self) -> list[str]:
        """The names of which anything is counted."""
        return list(self._counts)

    def offline_of(self, name: str) -> tuple[int, int]:
        """Return how many are offline of a name, and how many are in any known state."""
        counts = self._counts.get(name)
        if counts is None:
            return 0, 0
        offline = counts[State.OFFLINE]
        return offline, counts[State.ONLINE] + counts[State.PENDING] + offline

    def clear(self) -> None:
        """Set all counts to zero."""
        self._counts.clear()

    def samples(self, names: Iterable[str]) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield label values (name, state) and the count, for each of these names."""
        none = dict.fromkeys(State, 0)
        for name in names:
            for state, count in self._counts.get(name, none).items():
                yield (name, state.value), count
