"""Many deadlines in one structure, so that one timer serves them all."""

import math
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What can have a deadline: `deadline` is in seconds of the caller's clock, None for none."""

    deadline: float | None


T = TypeVar("T", bound=Timed)

REBUILD_ABOVE = 64


class _Lane(Generic[T]):
    """Deadlines that are scheduled in the order in which they are due, and so need no heap.

    Two queues side by side take 16 bytes an entry; one queue of tuples takes 72.
    """

    __slots__ = ("items", "whens")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.whens: deque[float] = deque()

    def append(self, when: float, item: T) -> None:
        self.items.append(item)
        self.whens.append(when)

    def pop(self) -> T:
        self.whens.popleft()
        return self.items.popleft()

    def drop_dead(self) -> int:
        """Drop the cancelled entries at the head; return how many those were."""
        items, whens, dropped = self.items, self.whens, 0
        while items and items[0].deadline != whens[0]:
            self.pop()
            dropped += 1
        return dropped


class Deadlines(Generic[T]):
    """Deadlines with lazy deletion; each item has at most one, and holds it itself.

    Entries that lie equally far ahead when scheduled cost O(1) each to schedule and to fire, others
    O(log n). Cancelling costs O(1): the entry stays in place, dead, until it comes up, or until the
    dead outnumber the living and everything is rebuilt.

    `earliest` is no later than the earliest deadline, which may have been cancelled; infinity if
    there is none.
    """

    def __init__(self) -> None:
        self.earliest = math.inf
        self._lanes: dict[float, _Lane[T]] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._sequence = 0
        self._living = 0
        self._dead = 0

    def __len__(self) -> int:
        return self._living

    def schedule(self, when: float, item: T, *, ahead: float | None = None) -> None:
        """Schedule an item at `when`, in place of the deadline that it has.

        `ahead` is how far ahead of now that is. Of entries equally far ahead, and of equal
        deadlines without `ahead`, the one scheduled first fires first.
        """
        if item.deadline is not None:
            self.cancel(item)
        item.deadline = when
        self._living += 1
        if when < self.earliest:
            self.earliest = when
        if ahead is not None:
            lane = self._lanes.get(ahead)
            if lane is None:
                lane = self._lanes[ahead] = _Lane()
            # Out of order if two threads, or an earlier process, read the clock.
            if not lane.whens or lane.whens[-1] <= when:
                lane.items.append(item)
                lane.whens.append(when)
                return
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, item))

    def cancel(self, item: T) -> None:
        """Cancel the deadline of an item, if it has one."""
        if item.deadline is None:
            return
        item.deadline = None
        self._living -= 1
        self._dead += 1
        if self._dead > REBUILD_ABOVE and self._dead > self._living:
            self._rebuild()

    @property
    def next(self) -> float | None:
        """When the earliest deadline is due; None if there is none."""
        self._find_earliest()
        return None if self.earliest == math.inf else self.earliest

    def due(self, now: float) -> Iterator[tuple[float, T]]:
        """Remove and yield, in order, every `(when, item)` that is due at `now`.

        Items scheduled or cancelled during the iteration are taken into account.
        """
        while self.earliest <= now:
            lane = self._find_earliest()
            when = self.earliest
            if when > now:
                return
            item = heappop(self._heap)[2] if lane is None else lane.pop()
            item.deadline = None
            self._living -= 1
            yield when, item

    def _find_earliest(self) -> _Lane[T] | None:
        """Return the lane of the earliest deadline, None if that is in the heap or nowhere."""
        heap, found = self._heap, None
        while heap and heap[0][2].deadline != heap[0][0]:
            heappop(heap)
            self._dead -= 1
        earliest = heap[0][0] if heap else math.inf
        for lane in self._lanes.values():
            self._dead -= lane.drop_dead()
            if lane.whens and lane.whens[0] < earliest:
                earliest, found = lane.whens[0], lane
        self.earliest = earliest
        return found

    def _rebuild(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].deadline == entry[0]]
        heapify(self._heap)
        lanes, self._lanes = self._lanes, {}
        for ahead, before in lanes.items():
            lane: _Lane[T] = _Lane()
            for item, when in zip(before.items, before.whens, strict=True):
                if item.deadline == when:
                    lane.append(when, item)
            if lane.items:
                self._lanes[ahead] = lane
        self._dead = 0
