"""Many deadlines in one structure, so that one timer serves them all."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

__all__ = ["Deadline", "Deadlines"]

T = TypeVar("T")

_REBUILD_ABOVE = 64


class Deadline(Generic[T]):
    """The handle of one scheduled item; `when` is in seconds of the caller's clock."""

    __slots__ = ("item", "when")

    def __init__(self, when: float, item: T) -> None:
        self.when = when
        self.item: T | None = item


class Deadlines(Generic[T]):
    """A heap of deadlines with lazy deletion.

    Scheduling and firing cost O(log n). Cancelling costs O(1): the entry stays in the heap, dead,
    until it comes up, or until the dead outnumber the living and the heap is rebuilt.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline[T]]] = []
        self._sequence = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def schedule(self, when: float, item: T) -> Deadline[T]:
        """Add an item that is due at `when`; of equal deadlines the first scheduled comes first."""
        self._sequence += 1
        deadline = Deadline(when, item)
        heappush(self._heap, (when, self._sequence, deadline))
        return deadline

    def cancel(self, deadline: Deadline[T] | None) -> None:
        """Take a deadline out; none, or one that has fired or been cancelled, is none to take."""
        if deadline is None or deadline.item is None:
            return
        deadline.item = None
        self._dead += 1
        if self._dead > _REBUILD_ABOVE and self._dead > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].item is not None]
            heapify(self._heap)
            self._dead = 0

    @property
    def next(self) -> float | None:
        """When the earliest deadline is due; None where there is none."""
        self._drop_dead()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[float, T]]:
        """Take out, in order, every `(when, item)` that is due at `now`.

        Items scheduled or cancelled while the iteration goes on are taken into account.
        """
        while True:
            self._drop_dead()
            if not self._heap or self._heap[0][0] > now:
                return
            when, _, deadline = heappop(self._heap)
            item, deadline.item = deadline.item, None
            if item is not None:
                yield when, item

    def _drop_dead(self) -> None:
        while self._heap and self._heap[0][2].item is None:
            heappop(self._heap)
            self._dead -= 1
