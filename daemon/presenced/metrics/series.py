"""Text of the per-client series, rendered when a client changes and put together at scrape."""

import re
from collections.abc import Callable, Iterator, Sequence

from presenced.fleet import Description
from presenced.log import get_logger
from presenced.metrics.catalog import PER_CLIENT
from presenced.metrics.labels import RESERVED, label_names, label_text
from presenced.metrics.lines import Block, Family
from presenced.metrics.ranking import Ranking
from presenced.presence import Client, State

__all__ = ["ClientSeries"]

# Looked up once: a member of an enumeration costs more than the comparison.
_CONNECTED = (State.ONLINE, State.PENDING)


def _nothing(_: Client) -> Description:
    return Description("", {})


def _nobody(_: str) -> None:
    return None


class ClientSeries:
    """The samples of every client that has series of its own.

    These are the first `max_clients` by client ID of those that ever went online or offline: which
    they are depends neither on the order in which they came nor on a restart. `find` tells the
    client of an ID, so that one that waits can take the place of one that is forgotten. `pattern`'s
    named groups become labels. `describe` tells what the registry says of a client, and
    `attributes` which attributes of things become labels of `iot_client_info`. `enabled` False
    keeps no series at all.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        max_clients: int = 20_000,
        pattern: re.Pattern[str] | None = None,
        attributes: Sequence[str] = (),
        describe: Callable[[Client], Description] = _nothing,
        find: Callable[[str], Client | None] = _nobody,
    ) -> None:
        self._enabled = enabled
        self._max_clients = max_clients
        self._pattern = pattern
        groups = pattern.groupindex if pattern else ()
        names = label_names(attributes, RESERVED.union(groups))
        self._attributes = {attribute: names[attribute] for attribute in attributes}
        self._describe = describe
        self._find = find
        self._connected, self._transitions, self._info = map(Family, PER_CLIENT.values())
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._shown = Ranking()
        self._waiting = Ranking()
        self._log = get_logger("presenced.metrics")

    @property
    def shown(self) -> int:
        """Clients that have series of their own."""
        return len(self._places)

    @property
    def enabled(self) -> bool:
        """Whether clients have series of their own at all."""
        return self._enabled

    def show(self, client: Client) -> bool:
        """Render a client anew; False where it has no series."""
        place = self._places.get(client.client_id)
        if place is None:
            return self._admit(client)
        connected, transition = _values(client)
        self._connected.set_value(place, connected)
        self._transitions.set_value(place, transition)
        return True

    def describe(self, client: Client) -> None:
        """Render anew what the registry says of a client, if it has series of its own."""
        place = self._places.get(client.client_id)
        if place is not None:
            self._put_info(place, client, self._labels(client.client_id))

    def drop(self, client: Client) -> None:
        """Take a client's series away, and give its place to the first that waits."""
        client_id = client.client_id
        if client_id not in self._places:
            self._waiting.discard(client_id)
            return
        self._clear(client_id)
        if not self._waiting:
            return
        first = self._waiting.first
        self._waiting.discard(first)
        successor = self._find(first)
        if successor is not None:
            self._render(successor)

    def blocks(self) -> Iterator[Block]:
        """Exposition text of all per-client series; the same in both formats."""
        if self._enabled:
            for family in (self._connected, self._transitions, self._info):
                yield from family.blocks()

    def _admit(self, client: Client) -> bool:
        """Render a client that has no series, if it is to have any."""
        if not self._enabled or client.transition is None:
            return False
        if len(self._places) >= self._max_clients:
            last = self._shown.last if self._places else ""
            if client.client_id >= last:
                self._wait(client.client_id)
                return False
            self._clear(last)
            self._wait(last)
        self._render(client)
        return True

    def _wait(self, client_id: str) -> None:
        if not self._waiting:
            self._log.warning(
                "no more clients get series of their own; totals still count them",
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
        description = self._describe(client)
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
    """Whether it is connected, and its last transition to the millisecond."""
    return b"1" if client.state in _CONNECTED else b"0", b"%.3f" % (client.transition or 0.0)
