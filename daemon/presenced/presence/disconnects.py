"""Disconnects: those still awaited of replaced connections, and those counted already."""

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from struct import Struct
from typing import Any

from presenced.presence.client import Client, EventStamp, ReplacedConnection
from presenced.presence.counts import PresenceCounts
from presenced.presence.deadlines import Deadlines
from presenced.presence.ordering import Stamp, same_connection

_MAX_AWAITED = 64
# AWS IoT Core delivers a copy within minutes, and one connection receives 100 messages a second.
MAX_DISCONNECTS = 131_072
"""How many counted disconnects of a fleet are remembered."""

_signed_64 = Struct(">q").unpack


class AwaitedDisconnects:
    """The disconnects awaited of replaced connections; each client holds its own (`replaced`)."""

    def __init__(self, deadlines: Deadlines[Any], counts: PresenceCounts) -> None:
        self._deadlines = deadlines
        self._counts = counts

    def expect(
        self, client: Client, connect: EventStamp, until: float, *, ahead: float | None = None
    ) -> None:
        """Await the disconnect of one of a client's connections until a monotonic time.

        `ahead` is how far ahead that is. If a client has too many, the first counts as missed.
        """
        if client.replaced is not None and len(client.replaced) >= _MAX_AWAITED:
            self.miss(next(iter(client.replaced.values())))
        connection = ReplacedConnection(client, connect)
        client.replaced = {**(client.replaced or {}), connect: connection}
        self._deadlines.schedule(until, connection, ahead=ahead)

    def settle(self, disconnect: Stamp, client: Client) -> float | None:
        """Stop awaiting a disconnect that arrived, if it ends a replaced connection.

        Returns how many seconds that had lasted; None if it ends none.
        """
        for connection in (client.replaced or {}).values():
            if same_connection(disconnect, connection.connect):
                self._remove(connection)
                seconds = (disconnect.timestamp - connection.connect.timestamp) / 1000
                self._counts.session_duration.observe(seconds)
                return seconds
        return None

    def miss(self, connection: ReplacedConnection) -> None:
        """Count a disconnect as missed."""
        self._remove(connection)
        self._counts.missed["disconnected"] += 1

    def drop(self, client: Client) -> None:
        """Await nothing more of a client."""
        for connection in (client.replaced or {}).values():
            self._deadlines.cancel(connection)
        client.replaced = None

    def _remove(self, connection: ReplacedConnection) -> None:
        self._deadlines.cancel(connection)
        client = connection.client
        others = [each for each in (client.replaced or {}).values() if each is not connection]
        client.replaced = {each.connect: each for each in others} or None


class CountedDisconnects:
    """The last `limit` disconnects of the fleet, so that each counts once however often it comes.

    They are kept as digests that are the same in every process, because the state file holds them:
    a signed 64-bit integer under a number that rises with each. `first` is the number of the
    oldest, `end` the one that the next gets.
    """

    def __init__(self, *, limit: int = MAX_DISCONNECTS) -> None:
        self.first = 0
        self._limit = limit
        self._order: deque[int] = deque()
        self._known: set[int] = set()

    @property
    def end(self) -> int:
        """The number of the next disconnect."""
        return self.first + len(self._order)

    def knows(self, client_id: str, event: Stamp) -> bool:
        """Return whether a disconnect is remembered."""
        return _digest(client_id, event) in self._known

    def add(self, client_id: str, event: Stamp) -> bool:
        """Remember a disconnect; return False if it is remembered already."""
        digest = _digest(client_id, event)
        if digest in self._known:
            return False
        self._append(digest)
        if len(self._order) > self._limit:
            self._known.discard(self._order.popleft())
            self.first += 1
        return True

    def since(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield the numbers and digests from `number` on, the newest first."""
        return zip(
            range(self.end - 1, number - 1, -1),
            islice(reversed(self._order), max(0, self.end - number)),
            strict=False,
        )

    def restore(self, remembered: Iterable[tuple[int, int]]) -> None:
        """Take over the numbers and digests of an earlier process, in order, before any other."""
        for number, digest in remembered:
            if not self._order:
                self.first = number
            self._append(digest)

    def _append(self, digest: int) -> None:
        self._order.append(digest)
        self._known.add(digest)


def _digest(client_id: str, event: Stamp) -> int:
    text = f"{client_id}\0{event.version}/{event.session}/{event.timestamp}"
    # JSON may carry a lone surrogate, which plain UTF-8 cannot encode.
    digest: int
    (digest,) = _signed_64(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return digest
