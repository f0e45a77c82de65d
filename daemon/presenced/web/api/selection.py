"""The request for a page of clients: filters, order, and the position where it begins."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import takewhile
from typing import Any, NamedTuple

from presenced.fleet import Fleet
from presenced.presence import Client, State
from presenced.presence.counts import reason_key

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
    that have none. `reasons` are those of clients, or as `reason_key` names them. `classes` are
    pairs of a named group of `metrics.client_id_pattern` and its value. `in_doubt` selects clients
    by whether their state is in doubt. `contains` is a casefolded text in the client ID, in any
    case. `offline_before` selects clients that have been offline since that time at least, in
    seconds since the epoch.
    """

    states: frozenset[State] = frozenset()
    thing: str | None = None
    thing_type: str | None = None
    thing_group: str | None = None
    classes: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    reasons: frozenset[str] = frozenset()
    in_doubt: bool | None = None
    contains: str = ""
    offline_before: float | None = None

    @property
    def indexed(self) -> "Selection":
        """The filters that an index is built for.

        The others differ from request to request: a text with each keystroke, a time with the
        clock. They are applied to the clients of the index when a page is read.
        """
        if self.offline_before is None:
            return self._replace(contains="")
        states = frozenset({State.OFFLINE})
        return self._replace(states=states, contains="", offline_before=None)

    @property
    def is_range(self) -> bool:
        """Whether it selects all clients between two client IDs."""
        return self == Selection(prefix=self.prefix)

    @property
    def is_impossible(self) -> bool:
        """Whether no client can pass: those that are offline for some time have other states."""
        is_other = bool(self.states) and State.OFFLINE not in self.states
        return self.offline_before is not None and is_other

    @property
    def prefix_end(self) -> str | None:
        """The first text after all texts that begin with the prefix; None if there is none."""
        kept = self.prefix.rstrip("\U0010ffff")
        return kept[:-1] + chr(ord(kept[-1]) + 1) if kept else None

    def predicate(self, fleet: Fleet, pattern: re.Pattern[str] | None) -> Predicate:
        """Return a function that returns whether a client is selected now."""
        tests = [*self._client_tests(fleet, pattern), *self._thing_tests(fleet)]
        if len(tests) == 1:
            return tests[0]
        return lambda client: all(test(client) for test in tests)

    def _client_tests(self, fleet: Fleet, pattern: re.Pattern[str] | None) -> Iterator[Predicate]:
        if self.prefix:
            yield lambda client: client.client_id.startswith(self.prefix)
        if self.states:
            yield lambda client: client.state in self.states
        if self.reasons:
            yield self._has_reason
        if self.in_doubt is not None:
            is_unverified = fleet.presence.is_unverified
            yield lambda client: is_unverified(client) is self.in_doubt
        if self.offline_before is not None:
            yield self.is_long_offline
        if self.contains:
            yield lambda client: self.contains in client.client_id.casefold()
        if self.classes:
            yield lambda client: self._has_classes(client.client_id, pattern)

    def _has_reason(self, client: Client) -> bool:
        reasons = self.reasons
        return reason_key(client.reason) in reasons or client.reason in reasons

    def _thing_tests(self, fleet: Fleet) -> Iterator[Predicate]:
        if self.thing is not None:
            yield lambda client: fleet.thing_of(client) == self.thing
        if self.thing_type is not None:
            yield lambda client: fleet.describe(client).thing_type == self.thing_type
        if (group := self.thing_group) is not None:
            yield lambda client: fleet.is_in_group(client, group)

    def is_long_offline(self, client: Client) -> bool:
        """Return whether a client passes `offline_before`."""
        before, since = self.offline_before, client.since
        if before is None:
            return True
        return client.state is State.OFFLINE and since is not None and since <= before

    def containing(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Return those of the keys of clients that pass `contains`."""
        if not self.contains or not keys:
            return keys
        client_ids = keys if isinstance(keys[0], str) else [client_id for _, client_id in keys]
        # In one search, because a rare text is in none of them.
        if self.contains not in "\n".join(client_ids).casefold():
            return []
        pairs = zip(keys, client_ids, strict=True)
        return [key for key, client_id in pairs if self.contains in client_id.casefold()]

    def _has_classes(self, client_id: str, pattern: re.Pattern[str] | None) -> bool:
        match = pattern.search(client_id) if pattern else None
        if match is None:
            return False
        groups = match.groupdict("")
        return all(groups.get(name, "") == value for name, value in self.classes)


class PageRequest(NamedTuple):
    """A page of at most `limit` clients that come after a key in an order; None: the first page.

    The work of the page is shared by so many `parts` of the fleet.
    """

    selection: Selection
    order: Order
    limit: int
    after: Key | None = None
    parts: int = 1

    @property
    def start(self) -> tuple[Key | None, bool]:
        """The key at which the scan for the page begins, and whether that key is included."""
        after = self.after
        if self.order.by_since:
            return self._start_by_since(), False
        if not (prefix := self.selection.prefix):
            return after, False
        if self.order.descending:
            end = self.selection.prefix_end
            if after is None or (end is not None and client_id_of(after) > end):
                return end, False
        elif after is None or client_id_of(after) < prefix:
            return prefix, True
        return after, False

    def _start_by_since(self) -> Key | None:
        after, before = self.after, self.selection.offline_before
        if before is None or not self.order.descending:
            return after
        end = (math.nextafter(before, math.inf), "")
        return end if after is None or isinstance(after, str) or after > end else after

    def in_range(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Return the keys up to the first after which none is selected."""
        if self.order.by_since:
            before = self.selection.offline_before
            if before is None or self.order.descending or not keys or keys[-1][0] <= before:
                return keys
            return [*takewhile(lambda key: key[0] <= before, keys)]
        prefix = self.selection.prefix
        if not prefix or not keys or keys[-1].startswith(prefix):
            return keys
        return [*takewhile(lambda key: key.startswith(prefix), keys)]


class Page(NamedTuple):
    """Clients, and the key after which the next page begins; None on the last page.

    A page is `cut` if the scan for it ended before it was full: too few clients pass the filters.
    """

    clients: list[Client]
    next: Key | None
    cut: bool = False
