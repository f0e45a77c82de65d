"""One page of clients, and the walk that finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from presenced.api.selection import Order, Selection, client_id_of

if TYPE_CHECKING:
    from presenced.api.selection import Key, Selects
    from presenced.api.view import View
    from presenced.presence import Client

__all__ = ["Page", "Request", "Walk"]

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


class Walk:
    """A walk along a view, until a page is full.

    What is not true any more is dropped on the way; from a view of its `own`, what is not chosen
    any more, too.
    """

    def __init__(
        self,
        clients: dict[str, Client],
        view: View,
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
