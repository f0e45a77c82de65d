"""The disconnects that were counted last, so that each counts once however often it is told."""

from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from struct import Struct

from presenced.presence.ordering import Stamp

__all__ = ["CountedDisconnects"]

# AWS IoT Core delivers a copy within minutes, and one connection receives 100 messages a second.
_MOST = 131_072

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
        most: int = _MOST,
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
        return self.remember(digest)

    def set_aside(self) -> Iterable[int]:
        """Forget all digests, and return them: those of an earlier process are to come first."""
        aside, self._order = self._order, deque()
        self._known = set()
        return aside

    def restore(self, remembered: Iterable[tuple[int, int]]) -> None:
        """Remember the numbers and digests of an earlier process; nothing else may be known."""
        for number, digest in remembered:
            if not self._order:
                self._first = number
            self._append(digest)

    def remember(self, digest: int) -> bool:
        """Remember a digest; False where it is remembered already."""
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

    def _append(self, digest: int) -> None:
        self._order.append(digest)
        self._known.add(digest)
