"""A sorted set of up to millions of keys."""

import gc
from bisect import bisect_left, bisect_right
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Any)

_MAX_YOUNG_BLOCKS = 200


class SortedKeys(Generic[K]):
    """Distinct keys in order; adding, discarding and finding one costs O(log n).

    Keys are kept in blocks of at most `block_size`, which are tuples: the garbage collector soon
    stops tracking tuples of text and numbers. It would traverse every key in a list again and again
    (as with sortedcontainers), which blocks the event loop for tens of milliseconds per million.
    The collector does not count a new block that replaces an old one as growth, so that young
    blocks would pile up: it is called before traversing them would take long.
    """

    def __init__(self, *, block_size: int = 64) -> None:
        self._block_size = block_size
        self._length = 0
        self._blocks: list[tuple[K, ...]] = []
        self._lasts: list[K] = []
        self._young = 0

    def __len__(self) -> int:
        return self._length

    def add(self, key: K) -> None:
        """Add a key if it is missing."""
        if not self._blocks:
            self._blocks, self._lasts, self._length = [(key,)], [key], 1
            return
        index = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
        block = self._blocks[index]
        place = bisect_left(block, key)
        if place == len(block) or block[place] != key:
            self._length += 1
            self._replace(index, (*block[:place], key, *block[place:]))

    def discard(self, key: K) -> None:
        """Remove a key if it is present."""
        index = bisect_left(self._lasts, key)
        if index == len(self._lasts):
            return
        block = self._blocks[index]
        place = bisect_left(block, key)
        if block[place] == key:
            self._length -= 1
            self._replace(index, block[:place] + block[place + 1 :])

    def shrink(self) -> bool:
        """Remove some of the last keys; False if none is left."""
        if self._blocks:
            self._length -= len(self._blocks.pop())
            self._lasts.pop()
        return bool(self._blocks)

    def next(
        self, start: K | None, limit: int, *, descending: bool = False, inclusive: bool = False
    ) -> list[K]:
        """Return the first `limit` keys after `start`, or of all keys if that is None.

        `start` itself is among them if it is present and `inclusive` is true.
        """
        last = len(self._blocks) - 1
        index, place = last if descending else 0, None
        if start is not None:
            bisect = bisect_left if inclusive is not descending else bisect_right
            index = bisect(self._lasts, start)
            if index <= last:
                place = bisect(self._blocks[index], start)
            elif descending:
                index = last
        keys: list[K] = []
        for number in range(index, -1, -1) if descending else range(index, last + 1):
            block = self._blocks[number]
            keys += block[:place][::-1] if descending else block[place:]
            if len(keys) >= limit:
                break
            place = None
        return keys[:limit]

    def _replace(self, index: int, block: tuple[K, ...]) -> None:
        if not block:
            del self._blocks[index], self._lasts[index]
        elif len(block) > self._block_size:
            half = len(block) // 2
            self._blocks[index : index + 1] = [block[:half], block[half:]]
            self._lasts[index : index + 1] = [block[half - 1], block[-1]]
        else:
            self._blocks[index] = block
            self._lasts[index] = block[-1]
            if index < len(self._blocks) - 1:  # the last block is mostly replaced while young
                self._young += 1
                if self._young >= _MAX_YOUNG_BLOCKS:
                    self._young = 0
                    gc.collect(0)
