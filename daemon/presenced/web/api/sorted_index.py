"""The sorted keys of selected clients, kept up to date as clients change."""

from collections.abc import Iterable
from typing import Any

from presenced.presence import Client
from presenced.web.api.selection import Key, Order, Predicate, client_id_of
from presenced.web.api.sorted_keys import SortedKeys

_MAPS = 256


class SortedIndex:
    """The keys of the clients that a predicate selects, by client ID or by when their state began.

    `fill` it, then call `consider` for each client that has changed meanwhile, whose IDs `changed`
    collects; then it `is_complete`. `readers` counts the pages that are being read from it.
    """

    def __init__(
        self, clients: dict[str, Client], selects: Predicate, *, by_since: bool = False
    ) -> None:
        self.keys: SortedKeys[Any] = SortedKeys()
        self.changed: set[str] = set()
        self.is_complete = False
        self.readers = 0
        self.used_at = 0.0
        self.selects = selects
        self._clients = clients
        self._key = (Order.SINCE if by_since else Order.CLIENT_ID).key
        # The time in the key of each client, by client ID. In several maps: one of a million
        # entries blocks the event loop for tens of milliseconds when it grows.
        self._times: list[dict[str, float]] = [{} for _ in range(_MAPS if by_since else 0)]

    def fill(self, client_ids: Iterable[str]) -> None:
        """Add the keys of selected clients that have none yet."""
        clients, selects, key = self._clients, self.selects, self._key
        place = self._place_by_since if self._times else self._place
        for client_id in client_ids:
            client = clients.get(client_id)
            if client is not None and selects(client):
                place(client_id, key(client))

    def consider(self, client_ids: Iterable[str]) -> None:
        """Add, move or remove the keys of clients, as they are now."""
        place = self._place_by_since if self._times else self._place
        for client_id in client_ids:
            client = self._clients.get(client_id)
            selected = client is not None and self.selects(client)
            place(client_id, self._key(client) if client is not None and selected else None)

    def select(
        self, keys: Iterable[Key], selects: Predicate, limit: int
    ) -> list[tuple[Key, Client]]:
        """Return the first selected clients with their keys, at most `limit`."""
        selected: list[tuple[Key, Client]] = []
        for key in keys:
            if len(selected) == limit:
                break
            client = self._clients.get(client_id_of(key))
            # It may have changed since changes were applied.
            if client is not None and self._key(client) == key and selects(client):
                selected.append((key, client))
        return selected

    def shrink(self) -> bool:
        """Free some of the memory, in an index that is not used any more; False if none is left."""
        if self._times:
            self._times.pop()
        return self.keys.shrink() or bool(self._times)

    def _place(self, client_id: str, key: Any) -> None:
        if key is None:
            self.keys.discard(client_id)
        else:
            self.keys.add(key)

    def _place_by_since(self, client_id: str, key: Any) -> None:
        times = self._times[hash(client_id) % _MAPS]
        before = times.get(client_id)
        after = None if key is None else key[0]
        if before == after:
            return
        if before is not None:
            self.keys.discard((before, client_id))
        if after is None:
            del times[client_id]
        else:
            self.keys.add(key)
            times[client_id] = after
