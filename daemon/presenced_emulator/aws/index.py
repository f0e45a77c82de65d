"""The fleet index: documents of things, searchable some time after they have changed.

Pure: the randomness and the time are arguments, in seconds since the epoch.
"""

import heapq
import random
import re
from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum
from itertools import count
from typing import NamedTuple

from presenced_emulator.connections import ConnectionRecord


class IndexStatus(StrEnum):
    """Values of `indexStatus`: without an index no queries, while rebuilding old documents."""

    ACTIVE = "ACTIVE"
    BUILDING = "BUILDING"
    REBUILDING = "REBUILDING"


class ThingDocument(NamedTuple):
    """What the index knows of a thing; `connection` is None if it has never connected.

    `groups` are thing groups and the billing group, mixed.
    """

    name: str
    thing_id: str
    thing_type: str
    groups: tuple[str, ...]
    attributes: Mapping[str, str]
    connection: ConnectionRecord | None


class FleetIndex:
    """Documents by thing. Each change is visible after a random time within `lag`, in order.

    `lag` is the shortest and the longest time in seconds; it applies to later changes.
    """

    def __init__(self, rng: random.Random, lag: tuple[float, float] = (0.0, 0.0)) -> None:
        self.lag = lag
        self.status = IndexStatus.ACTIVE
        self._rng = rng
        self._order = count()
        self._pending: list[tuple[float, int, str, ThingDocument | None]] = []
        self._visible_from: dict[str, float] = {}
        self._documents: dict[str, ThingDocument] = {}
        self._sorted: list[tuple[str, str]] | None = []

    def put(self, name: str, document: ThingDocument | None, now: float) -> None:
        """Record a change of a thing; None is its deletion."""
        # No change of a document overtakes an earlier one.
        at = max(now + self._rng.uniform(*self.lag), self._visible_from.get(name, now))
        self._visible_from[name] = at
        heapq.heappush(self._pending, (at, next(self._order), name, document))

    def search(
        self, names: re.Pattern[str] | None, after: str, limit: int, now: float
    ) -> tuple[list[ThingDocument], bool]:
        """Return visible documents, and whether there are more after them.

        `names` matches the names of the things, None those of all. The order is that of thing IDs,
        which has nothing to do with names; `after` is the last one of the page before. While the
        index is rebuilt, changes stay invisible.
        """
        if self.status is IndexStatus.ACTIVE:
            self._apply(now)
        keys = self._keys()
        if names is not None:
            keys = [key for key in keys if names.fullmatch(key[1])]
        begin = bisect_right(keys, (after, "\U0010ffff"))
        found = keys[begin : begin + limit]
        return [self._documents[name] for _, name in found], begin + limit < len(keys)

    def _apply(self, now: float) -> None:
        while self._pending and self._pending[0][0] <= now:
            at, _, name, document = heapq.heappop(self._pending)
            if self._visible_from.get(name) == at:
                del self._visible_from[name]
            before = self._documents.pop(name, None)
            if document is not None:
                self._documents[name] = document
            if (before and before.thing_id) != (document and document.thing_id):
                self._sorted = None

    def _keys(self) -> list[tuple[str, str]]:
        if self._sorted is None:
            self._sorted = sorted((each.thing_id, name) for name, each in self._documents.items())
        return self._sorted
