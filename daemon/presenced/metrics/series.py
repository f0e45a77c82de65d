"""Text of the per-client series, rendered when a client changes and put together at scrape.

Names in order.

Clients by class: the named groups of `metrics.client_id_pattern`.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from presenced.fleet import Description
from presenced.metrics.catalog import PER_CLIENT
from presenced.metrics.metric import Block, Family, label_names, label_text
from presenced.presence import Client, State
from presenced.settings.values import RESERVED
from presenced.system.log import get_logger

_LONGEST = 1000


class Ranking:
    """A set of names that knows its first and its last; a change costs little at any size.

    The names lie in sorted lists of bounded length; the first name of each tells which list a name
    belongs to.
    """

    __slots__ = ("_firsts", "_lists")

    def __init__(self) -> None:
        self._firsts: list[str] = []
        self._lists: list[list[str]] = []

    def __bool__(self) -> bool:
        return bool(self._lists)

    @property
    def first(self) -> str:
        """The least name. Raises IndexError where there is none."""
        return self._lists[0][0]

    @property
    def last(self) -> str:
        """The greatest name. Raises IndexError where there is none."""
        return self._lists[-1][-1]

    def add(self, name: str) -> None:
        """Take in a name; one that is there already stays."""
        if not self._lists:
            self._insert(0, [name])
            return
        number, at, there = self._find(name)
        if there:
            return
        names = self._lists[number]
        names.insert(at, name)
        self._firsts[number] = names[0]
        if len(names) > _LONGEST:
            # Names that come in order, as from the state file, leave full lists behind.
            half = _LONGEST if at == _LONGEST else _LONGEST // 2
            self._insert(number + 1, names[half:])
            del names[half:]

    def discard(self, name: str) -> None:
        """Take out a name, if it is there."""
        number, at, there = self._find(name)
        if not there:
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
        """The number of the list that holds a name, or would, where in it, and whether it does."""
        number = max(0, bisect_right(self._firsts, name) - 1)
        names = self._lists[number] if self._lists else []
        at = bisect_left(names, name)
        return number, at, at < len(names) and names[at] == name


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


_OTHER = "other"


class ClassCounts:
    """How many clients of each class are in each state, kept up to date with every change.

    A client's class is what the named groups of `pattern` hold in its client ID; a client that does
    not match has none. Beyond `most` classes the clients of new ones count in one more, whose
    groups all say `other`, so that client IDs cannot fill the memory.
    """

    def __init__(self, pattern: re.Pattern[str] | None = None, *, most: int = 1000) -> None:
        self._pattern = pattern
        self._most = most
        self._classes: dict[tuple[str, ...], dict[State, int]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the groups, in the order of the pattern."""
        return tuple(self._pattern.groupindex) if self._pattern else ()

    def count(self, client: Client, state: State, change: int) -> None:
        """Take into account that a client entered (1) or left (-1) a state."""
        match = self._pattern.search(client.client_id) if self._pattern else None
        if match is None:
            return
        groups = tuple(value or "" for value in match.groupdict().values())
        if groups not in self._classes and len(self._classes) >= self._most:
            groups = (_OTHER,) * len(groups)
        self._classes.setdefault(groups, dict.fromkeys(State, 0))[state] += change

    def samples(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Label values, of the groups and then the state, and how many clients."""
        for groups, states in self._classes.items():
            for state, count in states.items():
                yield (*groups, state.value), count
