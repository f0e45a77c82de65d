"""Offline clients in the order in which they went offline."""

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from presenced.presence.client import Client
from presenced.presence.deadlines import Deadlines

__all__ = ["OfflineClients"]

_REBUILD_ABOVE = 64


class OfflineClients:
    """Who has been offline for longest; each client holds itself since when, as `offline_at`.

    It is one item of `deadlines`, due when the first of them has been offline for `forget_after`
    seconds, None being for ever: so another length of time needs no look at each of a million.
    Deletion is lazy, as that of `Deadlines`.
    """

    def __init__(self, deadlines: Deadlines[Any], forget_after: float | None) -> None:
        self.deadline: float | None = None
        self._deadlines = deadlines
        self._forget_after = forget_after
        # Clients go offline one after the other, which two queues side by side hold in 16 bytes
        # for each; those of a state file come in another order.
        self._clients: deque[Client] = deque()
        self._times: deque[float] = deque()
        self._out_of_turn: list[tuple[float, int, Client]] = []
        self._numbers = count()
        self._dead = 0

    def __len__(self) -> int:
        return len(self._clients) + len(self._out_of_turn) - self._dead

    def add(self, client: Client, at: float) -> None:
        """Take a client in that is in none yet, offline since `at`, in seconds of any one clock."""
        client.offline_at = at
        if not self._times or self._times[-1] <= at:
            self._clients.append(client)
            self._times.append(at)
        else:
            heappush(self._out_of_turn, (at, next(self._numbers), client))
        after = self._forget_after
        if after is not None and (self.deadline is None or at + after < self.deadline):
            self._deadlines.schedule(at + after, self)

    def discard(self, client: Client) -> None:
        """Let a client go, if it is there."""
        if client.offline_at is None:
            return
        client.offline_at = None
        self._dead += 1
        if not len(self):
            self._deadlines.cancel(self)
        if self._dead > _REBUILD_ABOVE and self._dead > len(self):
            self._rebuild()

    def forget_after(self, seconds: float | None) -> None:
        """Let clients be offline for so long from now on, None being for ever."""
        self._forget_after = seconds
        self._expect()

    def take_expired(self, now: float) -> Client | None:
        """Take out the one that has been offline for longest, if that is too long at `now`.

        To be called when it was due. It is due again for the next one.
        """
        after, at = self._forget_after, self.earliest
        expired = after is not None and at is not None and at + after <= now
        client = self.pop() if expired else None
        self._expect()
        return client

    def _expect(self) -> None:
        after, at = self._forget_after, self.earliest
        if after is None or at is None:
            self._deadlines.cancel(self)
        else:
            self._deadlines.schedule(at + after, self)

    @property
    def earliest(self) -> float | None:
        """Since when the one is offline that has been so for longest; None where none is."""
        self._drop_dead()
        times, heap = self._times, self._out_of_turn
        if not times:
            return heap[0][0] if heap else None
        return min(heap[0][0], times[0]) if heap else times[0]

    def pop(self) -> Client:
        """Take out the one that has been offline for longest; IndexError where none is."""
        earliest = self.earliest
        if self._out_of_turn and self._out_of_turn[0][0] == earliest:
            client = heappop(self._out_of_turn)[2]
        else:
            self._times.popleft()
            client = self._clients.popleft()
        client.offline_at = None
        return client

    def _drop_dead(self) -> None:
        while self._times and self._clients[0].offline_at != self._times[0]:
            self._times.popleft()
            self._clients.popleft()
            self._dead -= 1
        while self._out_of_turn and self._out_of_turn[0][2].offline_at != self._out_of_turn[0][0]:
            heappop(self._out_of_turn)
            self._dead -= 1

    def _rebuild(self) -> None:
        pairs = zip(self._clients, self._times, strict=True)
        living = [pair for pair in pairs if pair[0].offline_at == pair[1]]
        self._clients = deque(client for client, _ in living)
        self._times = deque(at for _, at in living)
        heap = [entry for entry in self._out_of_turn if entry[2].offline_at == entry[0]]
        heapify(heap)
        self._out_of_turn = heap
        self._dead = 0
