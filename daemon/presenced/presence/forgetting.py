"""Forgetting clients that are offline for long, and what is kept of those that were forgotten."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from presenced.presence.client import Client
from presenced.presence.client_rules import ClientRule
from presenced.presence.deadlines import REBUILD_ABOVE, Deadlines
from presenced.presence.ordering import PresenceRules

MAX_FORGOTTEN = 20_000
"""How many forgotten clients of a fleet are remembered."""


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
        if self._dead > REBUILD_ABOVE and self._dead > len(self):
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


class OfflineQueues:
    """Offline clients, in one queue for each duration that clients may be offline."""

    def __init__(self, deadlines: Deadlines[Any], rules: PresenceRules) -> None:
        self._deadlines = deadlines
        # That of clients without a duration of their own, and the others by their duration.
        self._queue = OfflineClients(deadlines, rules.forget_offline_after)
        self._queues: dict[float, OfflineClients] = {}

    def __len__(self) -> int:
        return sum(map(len, self._all))

    @property
    def scheduled(self) -> int:
        """How many deadlines the clients have together: one for each queue at most."""
        return sum(queue.deadline is not None for queue in self._all)

    def add(self, client: Client, at: float) -> None:
        """Add a client as `OfflineClients.add` does."""
        queue = self._queue if client.rule is None else self._queue_of(client)
        queue.add(client, at)

    def discard(self, client: Client) -> None:
        """Remove a client, if it is there."""
        if client.offline_at is not None:
            queue = self._queue if client.rule is None else self._queue_of(client)
            queue.discard(client)

    def use_rules(self, rules: PresenceRules) -> None:
        """Replace the rules, those of clients aside."""
        self._queue.forget_after(rules.forget_offline_after)

    def use_rule(self, client: Client, rule: ClientRule | None) -> None:
        """Replace the rule of a client, which has been offline as long as before."""
        at = client.offline_at
        self.discard(client)
        client.rule = rule
        if at is not None:
            self.add(client, at)

    @property
    def _all(self) -> Iterator[OfflineClients]:
        yield self._queue
        yield from self._queues.values()

    def _queue_of(self, client: Client) -> OfflineClients:
        rule = client.rule
        if rule is None or rule.forget_offline_after is None:
            return self._queue
        after = rule.forget_offline_after
        queue = self._queues.get(after)
        if queue is None:
            queue = self._queues[after] = OfflineClients(self._deadlines, after)
        return queue


class ForgottenClients(OrderedDict[str, Client]):
    """The clients forgotten last, so that a late or second copy of an old event revives none."""

    def __init__(self, *, limit: int = MAX_FORGOTTEN) -> None:
        super().__init__()
        self._limit = limit

    def add(self, client: Client) -> str | None:
        """Keep a client's last event; return the client ID that made room for it."""
        self[client.client_id] = client
        return self.popitem(last=False)[0] if len(self) > self._limit else None
