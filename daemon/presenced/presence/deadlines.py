"""Many deadlines in one structure, so that one timer serves them all."""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

__all__ = ["Deadlines", "Timed"]


class Timed(Protocol):
    """What can have a deadline: `deadline` is in seconds of the caller's clock, None for none."""

    deadline: float | None


T = TypeVar("T", bound=Timed)

_REBUILD_ABOVE = 64


class Deadlines(Generic[T]):
    """Deadlines with lazy deletion; each item has one at most, and holds it itself.

    Scheduling and firing cost O(log n). Cancelling costs O(1): the entry stays where it is, dead,
    until it comes up, or until the dead outnumber the living and all is built anew.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        # Those that are scheduled in the order in which they are due need no heap. Two queues side
        # by side take 16 bytes for each, where a tuple in one takes 72.
        self._queue: deque[T] = deque()
        self._queue_whens: deque[float] = deque()
        self._sequence = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) + len(self._queue) - self._dead

    def schedule(self, when: float, item: T, *, in_turn: bool = False) -> None:
        """Let an item be due at `when`; of equal deadlines the first scheduled comes first.

        A deadline that it has already is cancelled. `in_turn` is for deadlines that are due after
        all others that were so scheduled, as those are that lie one and the same time ahead.
        """
        self.cancel(item)
        item.deadline = when
        if in_turn and (not self._queue or self._queue_whens[-1] <= when):
            self._queue.append(item)
            self._queue_whens.append(when)
            return
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, item))

    def cancel(self, item: T) -> None:
        """Let an item have no deadline."""
        if item.deadline is None:
            return
        item.deadline = None
        self._dead += 1
        if self._dead > _REBUILD_ABOVE and self._dead > len(self):
            self._rebuild()

    @property
    def next(self) -> float | None:
        """When the earliest deadline is due; None where there is none."""
        self._drop_dead()
        heap, whens = self._heap, self._queue_whens
        if not whens:
            return heap[0][0] if heap else None
        return min(heap[0][0], whens[0]) if heap else whens[0]

    def due(self, now: float) -> Iterator[tuple[float, T]]:
        """Take out, in order, every `(when, item)` that is due at `now`.

        Items scheduled or cancelled while the iteration goes on are taken into account.
        """
        while (when := self.next) is not None and when <= now:
            if self._heap and self._heap[0][0] == when:
                item = heappop(self._heap)[2]
            else:
                item = self._take_from_queue()
            item.deadline = None
            yield when, item

    def _drop_dead(self) -> None:
        while self._heap and self._heap[0][2].deadline != self._heap[0][0]:
            heappop(self._heap)
            self._dead -= 1
        while self._queue and self._queue[0].deadline != self._queue_whens[0]:
            self._take_from_queue()
            self._dead -= 1

    def _take_from_queue(self) -> T:
        self._queue_whens.popleft()
        return self._queue.popleft()

    def _rebuild(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].deadline == entry[0]]
        heapify(self._heap)
        items, self._queue = self._queue, deque()
        whens, self._queue_whens = self._queue_whens, deque()
        for item, when in zip(items, whens, strict=True):
            if item.deadline == when:
                self._queue.append(item)
                self._queue_whens.append(when)
        self._dead = 0
