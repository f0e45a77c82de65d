"""Many deadlines in one structure, so that one timer serves them all."""

import math
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from presenced.presence.client import Client


class Timed(Protocol):
    """What can have a deadline: `deadline` is in seconds of the caller's clock, None for none."""

    deadline: float | None


T = TypeVar("T", bound=Timed)

_REBUILD_ABOVE = 64


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
        if self._dead > _REBUILD_ABOVE and self._dead > self._living:
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


class OfflineClients:
    """Offline clients in the order in which they went offline, at `Client.offline_at`.

    Together they are one item of `deadlines`, due when the first of them has been offline for
    `forget_after` seconds (None: never), so that another duration needs no look at a million
    clients. Deletion is lazy, as in `Deadlines`.
    """

    def __init__(self, deadlines: Deadlines[Any], forget_after: float | None) -> None:
        self.deadline: float | None = None
        self._deadlines = deadlines
        self._forget_after = forget_after
        # Two queues side by side hold clients that go offline one after the other in 16 bytes
        # each. Clients of a state file come in another order.
        self._clients: deque[Client] = deque()
        self._times: deque[float] = deque()
        self._out_of_order: list[tuple[float, int, Client]] = []
        self._numbers = count()
        self._dead = 0

    def __len__(self) -> int:
        return len(self._clients) + len(self._out_of_order) - self._dead

    def add(self, client: Client, at: float) -> None:
        """Add a client that is offline since `at`, in seconds of any one clock."""
        client.offline_at = at
        if not self._times or self._times[-1] <= at:
            self._clients.append(client)
            self._times.append(at)
        else:
            heappush(self._out_of_order, (at, next(self._numbers), client))
        after = self._forget_after
        if after is not None and (self.deadline is None or at + after < self.deadline):
            self._deadlines.schedule(at + after, self)

    def discard(self, client: Client) -> None:
        """Remove a client, if it is there."""
        if client.offline_at is None:
            return
        client.offline_at = None
        self._dead += 1
        if not len(self):
            self._deadlines.cancel(self)
        if self._dead > _REBUILD_ABOVE and self._dead > len(self):
            self._rebuild()

    def forget_after(self, seconds: float | None) -> None:
        """Set how long clients may be offline, in seconds; None for forever."""
        self._forget_after = seconds
        self._schedule()

    def take_expired(self, now: float) -> Client | None:
        """Remove the client that has been offline longest, if that is too long at `now`.

        Schedules the deadline of the next client. Call it when a deadline was due.
        """
        after, at = self._forget_after, self.earliest
        expired = after is not None and at is not None and at + after <= now
        client = self.pop() if expired else None
        self._schedule()
        return client

    @property
    def earliest(self) -> float | None:
        """When the client that has been offline longest went offline; None if there is none."""
        self._drop_dead()
        times, heap = self._times, self._out_of_order
        if not times:
            return heap[0][0] if heap else None
        return min(heap[0][0], times[0]) if heap else times[0]

    def pop(self) -> Client:
        """Remove the client that has been offline longest. Raises IndexError if there is none."""
        earliest = self.earliest
        if self._out_of_order and self._out_of_order[0][0] == earliest:
            client = heappop(self._out_of_order)[2]
        else:
            self._times.popleft()
            client = self._clients.popleft()
        client.offline_at = None
        return client

    def _schedule(self) -> None:
        after, at = self._forget_after, self.earliest
        if after is None or at is None:
            self._deadlines.cancel(self)
        else:
            self._deadlines.schedule(at + after, self)

    def _drop_dead(self) -> None:
        while self._times and self._clients[0].offline_at != self._times[0]:
            self._times.popleft()
            self._clients.popleft()
            self._dead -= 1
        heap = self._out_of_order
        while heap and heap[0][2].offline_at != heap[0][0]:
            heappop(heap)
            self._dead -= 1

    def _rebuild(self) -> None:
        pairs = zip(self._clients, self._times, strict=True)
        living = [pair for pair in pairs if pair[0].offline_at == pair[1]]
        self._clients = deque(client for client, _ in living)
        self._times = deque(at for _, at in living)
        heap = [entry for entry in self._out_of_order if entry[2].offline_at == entry[0]]
        heapify(heap)
        self._out_of_order = heap
        self._dead = 0
