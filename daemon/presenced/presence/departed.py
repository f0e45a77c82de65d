"""The clients that were forgotten last, as far as ordering needs them."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from presenced.presence.client import Client

__all__ = ["Departed"]

_MOST = 20_000


class Departed:
    """Forgotten clients, so that a late or second copy of an old event brings none of them back.

    Of more than `most` the one forgotten longest ago is dropped, which `on_drop` is told.
    """

    def __init__(self, *, most: int = _MOST, on_drop: Callable[[str], None]) -> None:
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._most = most
        self._on_drop = on_drop

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._clients

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def get(self, client_id: str) -> Client | None:
        """What is kept of a client."""
        return self._clients.get(client_id)

    def add(self, client: Client) -> None:
        """Keep what ordering needs of a client."""
        self._clients[client.client_id] = client
        if len(self._clients) > self._most:
            dropped, _ = self._clients.popitem(last=False)
            self._on_drop(dropped)

    def remove(self, client_id: str) -> None:
        """Keep a client, which has come back, no longer."""
        del self._clients[client_id]
