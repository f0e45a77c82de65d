"""Clients in an order, as keys in a sorted list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presenced.api.selection import Order, Selection
from presenced.api.sorted_keys import SortedKeys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from presenced.api.selection import Key, Selects
    from presenced.presence import Client

__all__ = ["View", "ViewKey"]

_SOME = 10_000

ViewKey = tuple[Selection, bool]
"""What a view shows: which clients, and whether in the order of when their state began."""


class View:
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
    def is_worn(self) -> bool:
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
