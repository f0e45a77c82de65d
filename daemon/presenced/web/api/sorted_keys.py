"""Keys in order, of which there may be millions."""

from __future__ import annotations

import gc
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Any)

_FIRST, _FULL = 48, 64
_MOST_YOUNG = 200


class SortedKeys(Generic[K]):
    """Different keys, sorted; to add, to discard and to find one costs O(log n).

    They lie in blocks, which are tuples: of tuples of text and numbers the garbage collector soon
    knows that they are no part of a cycle. It would look at every key in a list again and again,
    which holds up the event loop for tens of milliseconds a million (sortedcontainers has lists).
    New blocks take the place of old ones, which the collector does not count as growth: it is
    called before there are so many that its look at them would take long.
    """

    def __init__(self, keys: Iterable[K] = ()) -> None:
        ordered = sorted(keys)
        self._length = len(ordered)
        self._blocks = [
            tuple(ordered[start : start + _FIRST]) for start in range(0, len(ordered), _FIRST)
        ]
        self._lasts = [block[-1] for block in self._blocks]
        self._young = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: K) -> bool:
        index = bisect_left(self._lasts, key)
        if index == len(self._lasts):
            return False
        block = self._blocks[index]
        return bool(block[bisect_left(block, key)] == key)

    def add(self, key: K) -> bool:
        """Hold a key; False where it is held already."""
        if not self._blocks:
            self._blocks, self._lasts, self._length = [(key,)], [key], 1
            return True
        index = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
        block = self._blocks[index]
        place = bisect_left(block, key)
        if place < len(block) and block[place] == key:
            return False
        self._length += 1
        self._replace(index, (*block[:place], key, *block[place:]))
        return True

    def discard(self, key: K) -> bool:
        """Hold a key no longer; False where it is not held."""
        index = bisect_left(self._lasts, key)
        if index == len(self._lasts):
            return False
        block = self._blocks[index]
        place = bisect_left(block, key)
        if block[place] != key:
            return False
        self._length -= 1
        self._replace(index, block[:place] + block[place + 1 :])
        return True

    def next(
        self, start: K | None, most: int, *, descending: bool = False, inclusive: bool = False
    ) -> list[K]:
        """The first `most` keys after one, or of all, in the order or the other way round.

        With `inclusive` the one to start from is the first, where it is held.
        """
        return list(islice(self._from(start, descending=descending, inclusive=inclusive), most))

    def _from(self, start: K | None, *, descending: bool, inclusive: bool) -> Iterator[K]:
        before = bisect_left if inclusive is not descending else bisect_right
        if start is None:
            index, place = (len(self._blocks), 0) if descending else (0, 0)
        else:
            index = before(self._lasts, start)
            place = before(self._blocks[index], start) if index < len(self._blocks) else 0
        if descending:
            if index < len(self._blocks):
                yield from reversed(self._blocks[index][:place])
            for block in reversed(self._blocks[:index]):
                yield from reversed(block)
        else:
            if index < len(self._blocks):
                yield from self._blocks[index][place:]
            for each in range(index + 1, len(self._blocks)):
                yield from self._blocks[each]

    def _replace(self, index: int, block: tuple[K, ...]) -> None:
        if not block:
            del self._blocks[index], self._lasts[index]
        elif len(block) > _FULL:
            half = len(block) // 2
            self._blocks[index : index + 1] = [block[:half], block[half:]]
            self._lasts[index : index + 1] = [block[half - 1], block[-1]]
        else:
            self._blocks[index] = block
            self._lasts[index] = block[-1]
            if index < len(self._blocks) - 1:  # at the end it is mostly the same block
                self._young += 1
                if self._young >= _MOST_YOUNG:
                    self._young = 0
                    gc.collect(0)
