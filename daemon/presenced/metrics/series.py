"""Series of single clients, as text that is rendered on change."""

from collections import deque
from collections.abc import Iterator, Mapping

from presenced.fleet import Fleet
from presenced.metrics.metric import (
    MAX_ID_BYTES,
    Block,
    Family,
    Metric,
    is_long,
    label_names,
    label_text,
)
from presenced.presence import Client, State
from presenced.presence.deadlines import REBUILD_ABOVE
from presenced.settings import MetricsSettings
from presenced.settings.values import RESERVED
from presenced.system.log import ThrottledLogger, get_logger

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

    The first `max_clients` clients have series, in the order in which they first went online or
    offline. Further clients wait until one is forgotten. A client ID of more than 128 bytes has no
    series. If `per_client` is False, no client has. The named groups of `client_id_pattern` become
    labels; `thing_attributes` become labels of `iot_client_info`.
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
        self._places: dict[str, int] = {}  # in the order of arrival
        self._free: list[int] = []
        self._waiting = WaitingClients(fleet.presence.clients)
        self._log = get_logger("presenced.metrics")
        self._throttled = ThrottledLogger(self._log)

    @property
    def shown(self) -> int:
        """How many clients have series of their own."""
        return len(self._places)

    def clients(self) -> Iterator[Client]:
        """Yield the clients with series and those that wait, in the order of their arrival."""
        known = self._fleet.presence.clients
        yield from (known[client_id] for client_id in self._places if client_id in known)
        yield from self._waiting

    def add(self, client: Client) -> None:
        """Render a client that had its first transition, or let it wait for a place."""
        if not self.enabled:
            return
        if is_long(client.client_id):
            self._throttled.warning(
                "client ID too long for series of its own; totals count the client",
                client_id=client.client_id[:MAX_ID_BYTES],
                limit_in_bytes=MAX_ID_BYTES,
            )
        elif len(self._places) < self._max_clients:
            self._render(client)
        else:
            if not self._waiting:
                self._log.warning(
                    "limit of clients with series of their own reached; totals count all clients",
                    key="metrics.max_clients",
                    value=self._max_clients,
                )
            self._waiting.add(client)

    def show(self, client: Client) -> None:
        """Render the state of a client, if it has series."""
        place = self._places.get(client.client_id)
        if place is not None:
            connected, transition = _values(client)
            self._connected.set_value(place, connected)
            self._transitions.set_value(place, transition)

    def describe(self, client: Client) -> None:
        """Render what the registry has about a client, if it has series."""
        place = self._places.get(client.client_id)
        if place is not None:
            self._put_info(place, client, self._labels(client.client_id))

    def drop(self, client: Client) -> None:
        """Remove the series of a client and give its place to the one that has waited longest."""
        if client.client_id in self._places:
            self._clear(client.client_id)
            successor = self._waiting.pop()
            if successor is not None:
                self._render(successor)
        elif client.transition is not None:
            self._waiting.forgot_one()

    def blocks(self) -> Iterator[Block]:
        """Yield the text of all series; it is the same in both exposition formats."""
        if self.enabled:
            for family in (self._connected, self._transitions, self._info):
                yield from family.blocks()

    def _render(self, client: Client) -> None:
        client_id = client.client_id
        place = self._free.pop() if self._free else len(self._places)
        self._places[client_id] = place
        labels = self._labels(client_id)
        connected, transition = _values(client)
        self._connected.put(place, labels, connected)
        self._transitions.put(place, labels, transition)
        self._put_info(place, client, labels)

    def _clear(self, client_id: str) -> None:
        place = self._places.pop(client_id)
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


class WaitingClients:
    """Clients without series, the one that has waited longest first.

    `known` are all clients of the fleet. A client that is forgotten stays in the queue until its
    turn, or until half of the queue may have been forgotten: a queue takes 8 bytes for a client.
    """

    def __init__(self, known: Mapping[str, Client]) -> None:
        self._known = known
        self._queue: deque[Client] = deque()
        self._forgotten = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[Client]:
        # A client that was forgotten and came back is another object, at a later place.
        return (each for each in self._queue if self._known.get(each.client_id) is each)

    def add(self, client: Client) -> None:
        """Add a client as the last one."""
        self._queue.append(client)

    def pop(self) -> Client | None:
        """Remove and return the first client; None if there is none."""
        while self._queue:
            client = self._queue.popleft()
            if self._known.get(client.client_id) is client:
                return client
        return None

    def forgot_one(self) -> None:
        """Note that a client was forgotten that may have been waiting."""
        self._forgotten += 1
        if self._forgotten > REBUILD_ABOVE and 2 * self._forgotten > len(self._queue):
            self._queue = deque(self)
            self._forgotten = 0
