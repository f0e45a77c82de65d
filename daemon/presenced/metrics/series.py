"""Series of single clients, as text that is rendered on change; counts of clients by class."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from presenced.fleet import Fleet
from presenced.metrics.metric import Block, Family, Metric, label_names, label_text
from presenced.presence import Client, State
from presenced.settings import MetricsSettings
from presenced.settings.values import RESERVED
from presenced.system.log import get_logger

_CONNECTED = Metric(
    "iot_client_connected",
    "1 while the client is online or pending, 0 while it is offline.",
    "iot_client_connected == 0",
    labels=("client_id",),
)
_LAST_TRANSITION = Metric(
    "iot_client_last_transition_timestamp_seconds",
    "When the client last went online or offline.",
    "time() - iot_client_last_transition_timestamp_seconds > 600 and iot_client_connected == 0",
    labels=("client_id",),
)
_INFO = Metric(
    "iot_client_info",
    "Always 1; the labels are what the registry has about the client: its thing type, and the "
    "attributes named by metrics.thing_attributes.",
    "iot_client_connected * on(client_id) group_left(thing_type) iot_client_info",
    labels=("client_id", "thing_type"),
)
PER_CLIENT: dict[str, Metric] = {
    metric.name: metric for metric in (_CONNECTED, _LAST_TRANSITION, _INFO)
}
"""The metrics with one series for each client, in the order of the exposition."""

# As a global: see `State`.
_CONNECTED_STATES = (State.ONLINE, State.PENDING)


class ClientSeries:
    """The samples of every client that has series of its own.

    These are the first `max_clients` client IDs, sorted as text, of the clients that ever went
    online or offline: the choice depends neither on the order of arrival nor on a restart. A
    client beyond that waits until one is forgotten. If `per_client` is False, no client has series.
    The named groups of `client_id_pattern` become labels; `thing_attributes` become labels of
    `iot_client_info`.
    """

    def __init__(self, fleet: Fleet, settings: MetricsSettings) -> None:
        self.enabled = settings.per_client
        self._fleet = fleet
        self._max_clients = settings.max_clients
        self._pattern = settings.client_id_pattern
        groups = self._pattern.groupindex if self._pattern else ()
        names = label_names(settings.thing_attributes, RESERVED.union(groups))
        self._attributes = {attribute: names[attribute] for attribute in settings.thing_attributes}
        self._connected, self._transitions, self._info = map(Family, PER_CLIENT.values())
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._shown = SortedNames()
        self._waiting = SortedNames()
        self._log = get_logger("presenced.metrics")

    @property
    def shown(self) -> int:
        """How many clients have series of their own."""
        return len(self._places)

    def show(self, client: Client) -> None:
        """Render the state of a client, if it may have series."""
        place = self._places.get(client.client_id)
        if place is not None:
            connected, transition = _values(client)
            self._connected.set_value(place, connected)
            self._transitions.set_value(place, transition)
        elif self.enabled and client.transition is not None:
            self._admit(client)

    def describe(self, client: Client) -> None:
        """Render what the registry has about a client, if it has series."""
        place = self._places.get(client.client_id)
        if place is not None:
            self._put_info(place, client, self._labels(client.client_id))

    def drop(self, client: Client) -> None:
        """Remove the series of a client and give its place to the first waiting client."""
        client_id = client.client_id
        if client_id not in self._places:
            self._waiting.discard(client_id)
            return
        self._clear(client_id)
        while self._waiting:
            first = self._waiting.first
            self._waiting.discard(first)
            successor = self._fleet.presence.clients.get(first)
            # The same batch may have forgotten it too, and its thing may have made it known again.
            if successor is not None and successor.transition is not None:
                self._render(successor)
                return

    def blocks(self) -> Iterator[Block]:
        """Yield the text of all series; it is the same in both exposition formats."""
        if self.enabled:
            for family in (self._connected, self._transitions, self._info):
                yield from family.blocks()

    def _admit(self, client: Client) -> None:
        if len(self._places) >= self._max_clients:
            last = self._shown.last if self._places else ""
            if client.client_id >= last:
                self._wait(client.client_id)
                return
            self._clear(last)
            self._wait(last)
        self._render(client)

    def _wait(self, client_id: str) -> None:
        if not self._waiting:
            self._log.warning(
                "limit of clients with series of their own reached; totals count all clients",
                key="metrics.max_clients",
                value=self._max_clients,
            )
        self._waiting.add(client_id)

    def _render(self, client: Client) -> None:
        client_id = client.client_id
        place = self._free.pop() if self._free else len(self._places)
        self._places[client_id] = place
        self._shown.add(client_id)
        labels = self._labels(client_id)
        connected, transition = _values(client)
        self._connected.put(place, labels, connected)
        self._transitions.put(place, labels, transition)
        self._put_info(place, client, labels)

    def _clear(self, client_id: str) -> None:
        place = self._places.pop(client_id)
        self._shown.discard(client_id)
        self._free.append(place)
        for family in (self._connected, self._transitions, self._info):
            family.free(place)

    def _put_info(self, place: int, client: Client, labels: str) -> None:
        description = self._fleet.describe(client)
        registry = {"thing_type": description.thing_type} | {
            label: description.attributes.get(attribute) or ""
            for attribute, label in self._attributes.items()
        }
        self._info.put(place, f"{labels},{label_text(registry)}", b"1")

    def _labels(self, client_id: str) -> str:
        labels = {"client_id": client_id}
        match = self._pattern.search(client_id) if self._pattern else None
        if match:
            labels |= {name: value for name, value in match.groupdict().items() if value}
        return label_text(labels)


def _values(client: Client) -> tuple[bytes, bytes]:
    """Return the values of the client: connected, and its last transition with milliseconds."""
    connected = b"1" if client.state in _CONNECTED_STATES else b"0"
    return connected, b"%.3f" % (client.transition or 0.0)


_LONGEST = 1000


class SortedNames:
    """A set of names with its first and its last name; a change is cheap at any size.

    The names are in sorted lists of limited length. The first name of each list tells which list a
    name belongs to.
    """

    __slots__ = ("_firsts", "_lists")

    def __init__(self) -> None:
        self._firsts: list[str] = []
        self._lists: list[list[str]] = []

    def __bool__(self) -> bool:
        return bool(self._lists)

    @property
    def first(self) -> str:
        """The first name. Raises IndexError if there is none."""
        return self._lists[0][0]

    @property
    def last(self) -> str:
        """The last name. Raises IndexError if there is none."""
        return self._lists[-1][-1]

    def add(self, name: str) -> None:
        """Add a name unless it is in the set."""
        if not self._lists:
            self._insert(0, [name])
            return
        number, at, found = self._find(name)
        if found:
            return
        names = self._lists[number]
        names.insert(at, name)
        self._firsts[number] = names[0]
        if len(names) > _LONGEST:
            # Names that are added in order, as from the state file, leave full lists behind.
            half = _LONGEST if at == _LONGEST else _LONGEST // 2
            self._insert(number + 1, names[half:])
            del names[half:]

    def discard(self, name: str) -> None:
        """Remove a name if it is in the set."""
        number, at, found = self._find(name)
        if not found:
            return
        names = self._lists[number]
        del names[at]
        if names:
            self._firsts[number] = names[0]
        else:
            del self._lists[number], self._firsts[number]

    def _insert(self, number: int, names: list[str]) -> None:
        self._lists.insert(number, names)
        self._firsts.insert(number, names[0])

    def _find(self, name: str) -> tuple[int, int, bool]:
        """Return the number of the list for a name, the position in it, and if it is there."""
        number = max(0, bisect_right(self._firsts, name) - 1)
        names = self._lists[number] if self._lists else []
        at = bisect_left(names, name)
        return number, at, at < len(names) and names[at] == name


_OTHER = "other"


class ClassCounts:
    """How many clients of each class are in each state, updated with every change.

    The class of a client is the text that the named groups of `pattern` match in its client ID; a
    client that does not match has no class. At most `limit` classes are counted, so that client IDs
    cannot fill the memory. All clients of further classes count in one more class, in which each
    group is `other`.
    """

    def __init__(self, pattern: re.Pattern[str] | None = None, *, limit: int = 1000) -> None:
        self._pattern = pattern
        self._limit = limit
        self._classes: dict[tuple[str, ...], dict[State, int]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the groups, in the order of the pattern."""
        return tuple(self._pattern.groupindex) if self._pattern else ()

    def count(self, client: Client, state: State, change: int) -> None:
        """Count that a client entered (1) or left (-1) a state."""
        match = self._pattern.search(client.client_id) if self._pattern else None
        if match is None:
            return
        groups = tuple(value or "" for value in match.groupdict().values())
        if groups not in self._classes and len(self._classes) >= self._limit:
            groups = (_OTHER,) * len(groups)
        self._classes.setdefault(groups, dict.fromkeys(State, 0))[state] += change

    def samples(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield label values, the groups and then the state, each with the number of clients."""
        for groups, states in self._classes.items():
            for state, count in states.items():
                yield (*groups, state.value), count
