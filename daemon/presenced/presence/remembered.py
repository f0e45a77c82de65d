"""Disconnects that are awaited: those of connections that others took the place of.

The clients that were forgotten last, as far as ordering needs them.

The disconnects that were counted last, so that each counts once however often it is told.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from struct import Struct
from typing import Any

from presenced.presence.client import Client, ConnectionKey, Replaced
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines
from presenced.presence.ordering import Stamp, same_connection

_MAX_AWAITED = 64


class AwaitedDisconnects:
    """The replaced connections of all clients; each client holds its own (`Client.replaced`)."""

    def __init__(self, deadlines: Deadlines[Any], counts: PresenceCounts) -> None:
        self._deadlines = deadlines
        self._counts = counts

    def expect(
        self, client: Client, key: ConnectionKey, until: float, *, ahead: float | None = None
    ) -> None:
        """Await the disconnect of one of a client's connections until a monotonic time.

        `ahead` is how far ahead that is. Of too many the first is given up.
        """
        awaited = client.replaced
        if len(awaited) >= _MAX_AWAITED:
            self.miss(next(iter(awaited.values())))
        replaced = client.opened.replaced[key] = Replaced(client, key)
        self._deadlines.schedule(until, replaced, ahead=ahead)

    def arrived(self, event: Stamp, client: Client) -> None:
        """Take note of a disconnect, if one of a client's replaced connections awaits it."""
        for replaced in client.replaced.values():
            if same_connection(event, replaced):
                self._deadlines.cancel(replaced)
                self._counts.observe_session(event.timestamp - replaced.timestamp)
                _drop(replaced)
                return

    def miss(self, replaced: Replaced) -> None:
        """Count a disconnect as one that does not come any more."""
        self._deadlines.cancel(replaced)
        self._counts.missed["disconnected"] += 1
        _drop(replaced)

    def forget(self, client: Client) -> None:
        """Await nothing more of a client."""
        for replaced in client.replaced.values():
            self._deadlines.cancel(replaced)
        if client.loose_ends is not None:
            client.loose_ends.replaced.clear()
            client.tidy()


def _drop(replaced: Replaced) -> None:
    client = replaced.client
    client.opened.replaced.pop(replaced.key, None)
    client.tidy()


_MAX_FORGOTTEN = 20_000


class Departed:
    """Forgotten clients, so that a late or second copy of an old event brings none of them back.

    Of more than `most` the one forgotten longest ago is dropped, which `on_drop` is told.
    """

    def __init__(self, *, most: int = _MAX_FORGOTTEN, on_drop: Callable[[str], None]) -> None:
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


# AWS IoT Core delivers a copy within minutes, and one connection receives 100 messages a second.
_MAX_DISCONNECTS = 131_072

_signed_64 = Struct(">q").unpack


class CountedDisconnects:
    """Remembers the last `most` disconnects of the fleet by digests, and not by client.

    Digests are the same in every process, because the state file holds them: as `number`, which
    rises with each, and `digest`, a signed 64-bit integer. `on_change`, where there is one, is told
    the number and the digest of each that is remembered, and the number and None of each that no
    longer is.
    """

    def __init__(
        self,
        *,
        most: int = _MAX_DISCONNECTS,
        on_change: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self.on_change = on_change
        self._most = most
        self._first = 0
        self._order: deque[int] = deque()
        self._known: set[int] = set()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, client_id: str, event: Stamp) -> bool:
        """Remember a disconnect; False where it is among those remembered already."""
        told = f"{client_id}\0{event.version}/{event.session}/{event.timestamp}"
        # A lone surrogate is nothing that UTF-8 has, but JSON may carry one.
        digest: int
        (digest,) = _signed_64(
            blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        )
        if digest in self._known:
            return False
        if self.on_change is not None:
            self.on_change(self._first + len(self._order), digest)
        self._append(digest)
        if len(self._order) > self._most:
            self._known.discard(self._order.popleft())
            if self.on_change is not None:
                self.on_change(self._first, None)
            self._first += 1
        return True

    def restore(self, remembered: Iterable[tuple[int, int]]) -> None:
        """Remember the numbers and digests of an earlier process; nothing else may be known."""
        for number, digest in remembered:
            if not self._order:
                self._first = number
            self._append(digest)

    def _append(self, digest: int) -> None:
        self._order.append(digest)
        self._known.add(digest)
