"""Series of single clients, as text that is rendered on change."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from presenced.fleet import Fleet, Partition
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
    "When the client last went online or offline; no sample for a client that AWS's record showed "
    "offline when it was first known.",
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

    The first `max_clients` clients have series, in the order in which they were first known to be
    online or offline. Further clients wait until one is forgotten. A client that is only known to
    have been offline from AWS's record (`Client.has_record_only`) gives its place to one that has
    events. A client ID of more than 128 bytes has no series, and neither has a client whose rule
    says so. If `per_client` is False, no client
    has. The named groups of `client_id_pattern` become labels; `thing_attributes` become labels of
    `iot_client_info`.

    A partition of Kafka has its share of `max_clients`, and a label.
    """

    def __init__(
        self, fleet: Fleet, settings: MetricsSettings, partition: Partition | None = None
    ) -> None:
        self.enabled = settings.per_client
        self._fleet = fleet
        self._max_clients = settings.max_clients
        self._partition: dict[str, str] = {}
        if partition is not None:
            self._max_clients = -(-settings.max_clients // partition.of)
            self._partition = {"partition": str(partition.number)}
        self._pattern = settings.client_id_pattern
        groups = self._pattern.groupindex if self._pattern else ()
        names = label_names(settings.thing_attributes, RESERVED.union(groups))
        self._attributes = {attribute: names[attribute] for attribute in settings.thing_attributes}
        self._connected, self._transitions, self._info = map(Family, PER_CLIENT.values())
        self._places: dict[str, int] = {}  # in the order of arrival
        self._free: list[int] = []
        # Those with a place but no sample of a last transition, in the order of arrival.
        self._without_transition: dict[str, None] = {}
        self._waiting = WaitingClients(fleet.presence.clients)
        self._left_out: dict[str, Client] = {}  # by their rules
        self._log = get_logger("presenced.metrics")
        self._throttled = ThrottledLogger(self._log)

    @property
    def shown(self) -> int:
        """How many clients have series of their own."""
        return len(self._places)

    @property
    def left_out(self) -> int:
        """How many clients have no series because of their rules."""
        return len(self._left_out)

    def clients(self) -> Iterator[Client]:
        """Yield the clients with series, those that wait, and those left out, each as they came."""
        known = self._fleet.presence.clients
        yield from (known[client_id] for client_id in self._places if client_id in known)
        yield from self._waiting
        yield from self._left_out.values()

    def add(self, client: Client) -> None:
        """Render a client that is known to be online or offline, or let it wait for a place."""
        if not self.enabled:
            return
        if client.rule is not None and not client.rule.series:
            self._left_out[client.client_id] = client
        elif is_long(client.client_id):
            self._throttled.warning(
                "client ID too long for series of its own; totals count the client",
                client_id=client.client_id[:MAX_ID_BYTES],
                limit_in_bytes=MAX_ID_BYTES,
            )
        elif len(self._places) < self._max_clients or self._make_room(client):
            self._render(client)
        else:
            self._wait(client)

    def show(self, client: Client) -> None:
        """Render the state of a client, if it has series."""
        place = self._places.get(client.client_id)
        if place is None:
            self.note_event(client)
            return
        self._connected.set_value(place, _connected(client))
        if client.client_id in self._without_transition:
            del self._without_transition[client.client_id]
            self._transitions.put(place, self._labels(client.client_id), _transition(client))
        else:
            self._transitions.set_value(place, _transition(client))

    def note_event(self, client: Client) -> None:
        """Promote a waiting client known only from AWS's record after its first event."""
        if self._waiting.note_event(client) and self._make_room(client):
            self._waiting.withdraw_last()
            self._render(client)

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
        elif (
            self._left_out.pop(client.client_id, None) is None and client.state is not State.UNKNOWN
        ):
            self._waiting.forgot(client)

    @property
    def families(self) -> tuple[Family, ...]:
        """The samples of each metric; none if no client has series."""
        return (self._connected, self._transitions, self._info) if self.enabled else ()

    def _make_room(self, client: Client) -> bool:
        """Take the place of a client that only AWS's record tells of, for one that has events."""
        if client.has_record_only:
            return False
        known = self._fleet.presence.clients
        for client_id in reversed(self._without_transition):
            other = known.get(client_id)
            if other is not None and other.has_record_only:
                self._clear(client_id)
                self._wait(other)
                return True
        return False

    def _wait(self, client: Client) -> None:
        if not self._waiting:
            self._log.warning(
                "limit of clients with series of their own reached; totals count all clients",
                key="metrics.max_clients",
                value=self._max_clients,
            )
        self._waiting.add(client)

    def _render(self, client: Client) -> None:
        client_id = client.client_id
        place = self._free.pop() if self._free else len(self._places)
        self._places[client_id] = place
        labels = self._labels(client_id)
        self._connected.put(place, labels, _connected(client))
        if client.transition is None:
            self._without_transition[client_id] = None
            self._transitions.free(place)
        else:
            self._transitions.put(place, labels, _transition(client))
        self._put_info(place, client, labels)

    def _clear(self, client_id: str) -> None:
        place = self._places.pop(client_id)
        self._without_transition.pop(client_id, None)
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
        labels = {"client_id": client_id, **self._partition}
        match = self._pattern.search(client_id) if self._pattern else None
        if match:
            labels |= {name: value for name, value in match.groupdict().items() if value}
        return label_text(labels)


def _connected(client: Client) -> bytes:
    return b"1" if client.state in _CONNECTED_STATES else b"0"


def _transition(client: Client) -> bytes:
    """Return the time of the last transition, with milliseconds."""
    return b"%.3f" % (client.transition or 0.0)


def series_blocks(parts: Sequence[ClientSeries]) -> Iterator[Block]:
    """Yield the text of all series of a fleet, which is in one or several parts.

    It is the same in both exposition formats.
    """
    for families in zip(*(part.families for part in parts), strict=True):
        yield families[0].head
        for family in families:
            yield from family.samples()


class WaitingClients:
    """Clients without series: those with events first, of these the one that has waited longest.

    `known` are all clients of the fleet. A client that is forgotten stays in the queue until its
    turn, or until half of the queue may have been forgotten: a queue takes 8 bytes for a client.
    Clients that only AWS's record tells of are kept by their ID, so that an event finds them.
    """

    def __init__(self, known: Mapping[str, Client]) -> None:
        self._known = known
        self._queue: deque[Client] = deque()
        self._of_record: dict[str, Client] = {}
        self._forgotten = 0

    def __bool__(self) -> bool:
        return bool(self._queue or self._of_record)

    def __iter__(self) -> Iterator[Client]:
        yield from self._with_events()
        yield from self._of_record.values()

    def add(self, client: Client) -> None:
        """Add a client as the last one of its kind."""
        if client.has_record_only:
            self._of_record[client.client_id] = client
        else:
            self._queue.append(client)

    def note_event(self, client: Client) -> bool:
        """Move a client that has its first event to those that have; return whether it moved."""
        if client.client_id not in self._of_record or client.has_record_only:
            return False
        del self._of_record[client.client_id]
        self._queue.append(client)
        return True

    def withdraw_last(self) -> None:
        """Remove the client with events that was added last."""
        self._queue.pop()

    def pop(self) -> Client | None:
        """Remove and return the first client; None if there is none."""
        while self._queue:
            client = self._queue.popleft()
            if self._known.get(client.client_id) is client:
                return client
        if self._of_record:
            return self._of_record.pop(next(iter(self._of_record)))
        return None

    def forgot(self, client: Client) -> None:
        """Note that a client was forgotten that may have been waiting."""
        if self._of_record.pop(client.client_id, None) is not None:
            return
        self._forgotten += 1
        if self._forgotten > REBUILD_ABOVE and 2 * self._forgotten > len(self._queue):
            self._queue = deque(self._with_events())
            self._forgotten = 0

    def _with_events(self) -> Iterator[Client]:
        # A client that was forgotten and came back is another object, at a later place.
        return (each for each in self._queue if self._known.get(each.client_id) is each)
