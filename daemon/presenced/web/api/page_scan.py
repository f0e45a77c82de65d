"""One page of clients, and the walk that finds them.

Which clients somebody asks for, and in which order.

Clients in an order, as keys in a sorted list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from presenced.fleet import Fleet
from presenced.presence import Client, State
from presenced.web.api.sorted_keys import SortedKeys

Key = str | tuple[float, str]
"""Where a client stands in an order: its client ID, or first when its state began."""

Selects = Callable[[Client], bool]

_NEVER = -1.0


class Order(StrEnum):
    """An order of clients; a minus goes from the last to the first."""

    CLIENT_ID = "client_id"
    CLIENT_ID_DESCENDING = "-client_id"
    SINCE = "since"
    SINCE_DESCENDING = "-since"

    @property
    def by_since(self) -> bool:
        """Whether it goes by when the present state began; equal ones go by client ID."""
        return self in (Order.SINCE, Order.SINCE_DESCENDING)

    @property
    def descending(self) -> bool:
        """Whether it goes from the last to the first."""
        return self.value.startswith("-")

    def key(self, client: Client) -> Key:
        """Where a client stands; one whose state has no beginning comes before all others."""
        if not self.by_since:
            return client.client_id
        return (_NEVER if client.since is None else client.since, client.client_id)


def client_id_of(key: Key) -> str:
    """The client ID in a key."""
    return key if isinstance(key, str) else key[1]


class Selection(NamedTuple):
    """What clients must have in common to be chosen; each part that is left out chooses all.

    `thing_type` and `thing_group` empty choose those that have none. `classes` are names of groups
    of `metrics.client_id_pattern`, each with the value that it must have.
    """

    states: frozenset[State] = frozenset()
    thing_type: str | None = None
    thing_group: str | None = None
    classes: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    @property
    def is_range(self) -> bool:
        """Whether it chooses all clients between two client IDs."""
        return self == Selection(prefix=self.prefix)


def selector(selection: Selection, fleet: Fleet, pattern: re.Pattern[str] | None) -> Selects:
    """A function that tells whether a client is chosen at the moment."""
    tests: list[Selects] = []
    if selection.prefix:
        tests.append(lambda client: client.client_id.startswith(selection.prefix))
    if selection.states:
        tests.append(lambda client: client.state in selection.states)
    if selection.thing_type is not None:
        tests.append(lambda client: fleet.describe(client).thing_type == selection.thing_type)
    if (group := selection.thing_group) is not None:
        tests.append(lambda client: fleet.is_in_group(client, group))
    if selection.classes:
        tests.append(lambda client: _is_of(client.client_id, selection.classes, pattern))
    if len(tests) == 1:
        return tests[0]
    return lambda client: all(test(client) for test in tests)


def _is_of(
    client_id: str, classes: tuple[tuple[str, str], ...], pattern: re.Pattern[str] | None
) -> bool:
    match = pattern.search(client_id) if pattern else None
    if match is None:
        return False
    groups = match.groupdict()
    return all((groups.get(name) or "") == value for name, value in classes)


_STEP = 100


class Request(NamedTuple):
    """A page: which clients, in which order, how many, and after which key."""

    selection: Selection
    order: Order
    most: int
    after: Key | None = None


class Page(NamedTuple):
    """Clients, and the key after which the next page begins; None where there is no more."""

    clients: list[Client]
    next: Key | None


class PageScan:
    """A walk along a view, until a page is full.

    What is not true any more is dropped on the way; from a view of its `own`, what is not chosen
    any more, too.
    """

    def __init__(
        self,
        clients: dict[str, Client],
        view: SortedIndex,
        request: Request,
        selects: Selects,
        *,
        own: bool,
    ) -> None:
        self.looked_at = 0
        self._clients = clients
        self._view = view
        self._selects = selects
        self._own = own
        self._most = request.most
        self._descending = request.order.descending
        self._prefix = "" if request.order.by_since else request.selection.prefix
        self._at, self._inclusive = _start(request)
        self._found: list[tuple[Key, Client]] = []

    @property
    def page(self) -> Page:
        """What has been found."""
        more = len(self._found) > self._most
        found = self._found[: self._most]
        return Page([client for _, client in found], found[-1][0] if more else None)

    def step(self) -> bool:
        """Look at some more; True once there is nothing more to look at."""
        keys = self._view.next(
            self._at, _STEP, descending=self._descending, inclusive=self._inclusive
        )
        self.looked_at += len(keys)
        for key in keys:
            client_id = client_id_of(key)
            if not client_id.startswith(self._prefix):
                return True
            client = self._clients.get(client_id)
            if client is None or self._view.key(client) != key:
                self._view.drop(key)
            elif self._selects(client):
                self._found.append((key, client))
                if len(self._found) > self._most:
                    return True
            elif self._own:
                self._view.drop(key)
        if keys:
            self._at, self._inclusive = keys[-1], False
        return len(keys) < _STEP


def _start(request: Request) -> tuple[Key | None, bool]:
    """Where a walk begins, and whether that itself is to be looked at."""
    after, prefix = request.after, request.selection.prefix
    if request.order.by_since or not prefix:
        return after, False
    if request.order.descending:
        end = _end(prefix)
        begins_here = after is None or (end is not None and client_id_of(after) > end)
        return (end if begins_here else after), False
    begins_here = after is None or client_id_of(after) < prefix
    return (prefix if begins_here else after), begins_here


def _end(prefix: str) -> str | None:
    """The first text after all that begin with a prefix; None where there is none."""
    kept = prefix.rstrip("\U0010ffff")
    return kept[:-1] + chr(ord(kept[-1]) + 1) if kept else None


_SOME = 10_000

ViewKey = tuple[Selection, bool]
"""What a view shows: which clients, and whether in the order of when their state began."""


class SortedIndex:
    """The keys of the clients that `selects` chooses, in the order of client IDs or of `by_since`.

    A key that is no longer true stays until somebody who comes by drops it. Each client that may
    have changed is told to `consider`. Who fills a view with `fill` tells it `late` whatever was
    changed meanwhile, for as long as `late` is not None.
    """

    def __init__(self, selects: Selects, *, by_since: bool) -> None:
        self.selects = selects
        self.late: set[str] | None = None
        self.used_at = 0.0
        self._complete = 0
        self._order = Order.SINCE if by_since else Order.CLIENT_ID
        self._keys: SortedKeys[Any] = SortedKeys()

    def finish(self) -> None:
        """Be complete."""
        self.late = None
        self._complete = len(self._keys)

    @property
    def is_stale(self) -> bool:
        """Whether most of the keys may be true no longer."""
        return len(self._keys) > 2 * self._complete + _SOME

    def key(self, client: Client) -> Key:
        """Where a client stands."""
        return self._order.key(client)

    def fill(self, clients: Iterable[Client]) -> None:
        """Add those clients that are chosen."""
        for client in clients:
            self.consider(client)

    def consider(self, client: Client) -> None:
        """Add a client where it is chosen now, and not here yet."""
        if self.selects(client):
            self._keys.add(self._order.key(client))

    def drop(self, key: Key) -> None:
        """Hold a key no longer."""
        self._keys.discard(key)

    def next(
        self, start: Key | None, most: int, *, descending: bool = False, inclusive: bool = False
    ) -> list[Key]:
        """The first keys from a key on, or of all, in the order or the other way round."""
        return self._keys.next(start, most, descending=descending, inclusive=inclusive)
