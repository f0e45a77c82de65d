"""Another program that receives from the same queue, recognized by the events that are missing.

SQS gives each message to one receiver. Of two daemons on one queue each gets half of the events at
random: of the connections that it sees at all, it sees both events of one third, only the connect
of another, only the disconnect of the last. Nothing else looks like this for minutes: late events
come in the end, an event that AWS loses is one of many, and a rule that selects one type of events
leaves out the other one alone. Versions that no event has prove nothing, because AWS may skip some
("Lifecycle events" in the AWS IoT developer guide).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from presenced.events.model import Event, LifecycleEvent

# Seconds. A window ends when it is this old and has the least evidence; what came in its last
# part is left out, because the other event may be on its way.
_WINDOW, _SETTLED = 120.0, 30.0
_LEAST_CONNECTIONS, _LEAST_CLIENTS = 50, 10
_MOST_CLIENTS, _MOST_CONNECTIONS = 2000, 20
# What is suspicious, in two windows running: so many connections with one event missing, of so
# many of the clients, and each type of event so often among the missing.
_INCOMPLETE, _CLIENTS_CONCERNED, _OF_EACH_TYPE = 0.25, 0.5, 0.2
_WINDOWS = 2

_CONNECT, _DISCONNECT, _BOTH = 1, 2, 3


class _Connection:
    """Which events of a connection came, and when the first of them did."""

    __slots__ = ("events", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.events = 0


class SharedQueueDetector:
    """Recognizes that part of the lifecycle events goes elsewhere.

    `incomplete` is the share of connections with one event missing while that is so, else None.
    `clock` is monotonic.
    """

    def __init__(self, clock: Callable[[], float], *, window: float = _WINDOW) -> None:
        self.incomplete: float | None = None
        self._clock = clock
        self._window = window
        self._settled = min(_SETTLED, window / 4)
        self._since = clock()
        self._clients: dict[str, dict[int, _Connection]] = {}
        self._suspicious = 0

    def observe(self, events: Sequence[Event | None]) -> None:
        """Note the events of a batch."""
        now = self._clock()
        for event in events:
            if isinstance(event, LifecycleEvent) and event.version is not None:
                self._add(event, event.version, now)

    def _add(self, event: LifecycleEvent, version: int, now: float) -> None:
        connections = self._clients.get(event.client_id)
        if connections is None:
            if len(self._clients) >= _MOST_CLIENTS:
                return
            connections = self._clients[event.client_id] = {}
        connection = connections.get(version)
        if connection is None:
            if len(connections) >= _MOST_CONNECTIONS:
                return
            connection = connections[version] = _Connection(now)
        connection.events |= _CONNECT if event.connected else _DISCONNECT

    def check(self) -> None:
        """End the window if it is time."""
        now = self._clock()
        if now - self._since < self._window:
            return
        seen = {name: list(_ended(c, now - self._settled)) for name, c in self._clients.items()}
        seen = {name: events for name, events in seen.items() if events}
        counts = Counter(each for events in seen.values() for each in events)
        if counts.total() < _LEAST_CONNECTIONS or len(seen) < _LEAST_CLIENTS:
            return
        incomplete = 1 - counts[_BOTH] / counts.total()
        concerned = sum(any(each != _BOTH for each in events) for events in seen.values())
        is_suspicious = (
            incomplete >= _INCOMPLETE
            and concerned >= _CLIENTS_CONCERNED * len(seen)
            and min(counts[_CONNECT], counts[_DISCONNECT])
            >= _OF_EACH_TYPE * (counts.total() - counts[_BOTH])
        )
        self._suspicious = self._suspicious + 1 if is_suspicious else 0
        self.incomplete = incomplete if self._suspicious >= _WINDOWS else None
        self._clients.clear()
        self._since = now


def _ended(connections: dict[int, _Connection], until: float) -> Iterator[int]:
    """Yield the events of each connection of a client that has surely ended by `until`.

    The first one may have begun before the window; one ends when the next one begins.
    """
    versions = sorted(connections)
    for version, successor in pairwise(versions[1:]):
        if connections[successor].since <= until:
            yield connections[version].events
