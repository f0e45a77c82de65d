"""The request for a page of clients: filters, order, and the position where it begins."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from presenced.fleet import Fleet
from presenced.presence import Client, State

Key = str | tuple[float, str]
"""The position of a client: its client ID, or when its state began and then its client ID."""

Predicate = Callable[[Client], bool]

_NEVER = -1.0


class Order(StrEnum):
    """An order of clients; a leading minus reverses it."""

    CLIENT_ID = "client_id"
    CLIENT_ID_DESCENDING = "-client_id"
    SINCE = "since"
    SINCE_DESCENDING = "-since"

    @property
    def by_since(self) -> bool:
        """Whether clients are sorted by when their state began, and then by client ID."""
        return self in (Order.SINCE, Order.SINCE_DESCENDING)

    @property
    def descending(self) -> bool:
        """Whether the order is reversed."""
        return self.value.startswith("-")

    def key(self, client: Client) -> Key:
        """Return the position of a client; unknown clients, without a since, come first."""
        if not self.by_since:
            return client.client_id
        return (_NEVER if client.since is None else client.since, client.client_id)


def client_id_of(key: Key) -> str:
    """Return the client ID in a key."""
    return key if isinstance(key, str) else key[1]


class Selection(NamedTuple):
    """Filters, all of which a client must pass; the default of each passes every client.

    `thing` selects the clients of a thing. An empty `thing_type` or `thing_group` selects clients
    that have none. `classes` are pairs of a named group of `metrics.client_id_pattern` and its
    value.
    """

    states: frozenset[State] = frozenset()
    thing: str | None = None
    thing_type: str | None = None
    thing_group: str | None = None
    classes: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    @property
    def is_range(self) -> bool:
        """Whether it selects all clients between two client IDs."""
        return self == Selection(prefix=self.prefix)

    @property
    def prefix_end(self) -> str | None:
        """The first text after all texts that begin with the prefix; None if there is none."""
        kept = self.prefix.rstrip("\U0010ffff")
        return kept[:-1] + chr(ord(kept[-1]) + 1) if kept else None

    def predicate(self, fleet: Fleet, pattern: re.Pattern[str] | None) -> Predicate:
        """Return a function that returns whether a client is selected now."""
        tests: list[Predicate] = []
        if self.prefix:
            tests.append(lambda client: client.client_id.startswith(self.prefix))
        if self.states:
            tests.append(lambda client: client.state in self.states)
        if self.thing is not None:
            tests.append(lambda client: fleet.thing_of(client) == self.thing)
        if self.thing_type is not None:
            tests.append(lambda client: fleet.describe(client).thing_type == self.thing_type)
        if (group := self.thing_group) is not None:
            tests.append(lambda client: fleet.is_in_group(client, group))
        if self.classes:
            tests.append(lambda client: self._has_classes(client.client_id, pattern))
        if len(tests) == 1:
            return tests[0]
        return lambda client: all(test(client) for test in tests)

    def _has_classes(self, client_id: str, pattern: re.Pattern[str] | None) -> bool:
        match = pattern.search(client_id) if pattern else None
        if match is None:
            return False
        groups = match.groupdict("")
        return all(groups.get(name, "") == value for name, value in self.classes)


class PageRequest(NamedTuple):
    """A page of at most `limit` clients that come after a key in an order; None: the first page."""

    selection: Selection
    order: Order
    limit: int
    after: Key | None = None

    @property
    def start(self) -> tuple[Key | None, bool]:
        """The key at which the scan for the page begins, and whether that key is included."""
        after, prefix = self.after, self.selection.prefix
        if self.order.by_since or not prefix:
            return after, False
        if self.order.descending:
            end = self.selection.prefix_end
            if after is None or (end is not None and client_id_of(after) > end):
                return end, False
        elif after is None or client_id_of(after) < prefix:
            return prefix, True
        return after, False


class Page(NamedTuple):
    """Clients, and the key after which the next page begins; None on the last page."""

    clients: list[Client]
    next: Key | None
