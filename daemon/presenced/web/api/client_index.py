"""Pages of clients, sorted and filtered, at a cost that depends on the page and not on the fleet.

An index of all client IDs is built at the first request and kept up to date from then on. Any other
selection or order gets its own index when it is requested, which is kept up to date while it is in
use. A change of a client costs one entry in a set, and only while there is such an index.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile
from typing import Any

from presenced.fleet import Fleet
from presenced.presence import Client
from presenced.system.loop import CooperativeScheduler
from presenced.web.api.problems import ProblemError
from presenced.web.api.selection import (
    Key,
    Order,
    Page,
    PageRequest,
    Predicate,
    Selection,
    client_id_of,
)
from presenced.web.api.sorted_keys import SortedKeys

_MAX_INDEXES = 8
_UNUSED_AFTER = 300.0
_STALE_SLACK = 10_000
_RETRY_AFTER = 1

IndexKey = tuple[Selection, bool]
"""The selection of an index, and whether it is sorted by when the state of a client began."""


class SortedIndex:
    """The keys of the clients that a predicate selects, by client ID or by when their state began.

    Keys become outdated: they are only added, by `consider`, until a scan meets and discards them.
    `pending` is None once the index is complete; until then it collects the IDs of clients that
    change while the index is filled.
    """

    def __init__(
        self, clients: dict[str, Client], selects: Predicate, *, by_since: bool = False
    ) -> None:
        self.keys: SortedKeys[Any] = SortedKeys()
        self.pending: set[str] | None = set()
        self.used_at = 0.0
        self.selects = selects
        self._clients = clients
        self._key = (Order.SINCE if by_since else Order.CLIENT_ID).key
        self._initial_length = 0

    def finish(self) -> None:
        """Mark the index as complete."""
        self.pending = None
        self._initial_length = len(self.keys)

    @property
    def is_stale(self) -> bool:
        """Whether more than half of the keys may be outdated."""
        return len(self.keys) > 2 * self._initial_length + _STALE_SLACK

    def consider(self, client_ids: Iterable[str]) -> None:
        """Add the keys of those clients that are selected."""
        for client_id in client_ids:
            client = self._clients.get(client_id)
            if client is not None and self.selects(client):
                self.keys.add(self._key(client))

    def select(
        self, keys: Iterable[Key], selects: Predicate, limit: int
    ) -> list[tuple[Key, Client]]:
        """Return the first selected clients with their keys; discard outdated keys before them."""
        selected: list[tuple[Key, Client]] = []
        for key in keys:
            if len(selected) == limit:
                break
            client = self._clients.get(client_id_of(key))
            if client is None or self._key(client) != key:
                self.keys.discard(key)
            elif selects(client):
                selected.append((key, client))
            elif selects is self.selects:
                self.keys.discard(key)
        return selected


class ClientIndex:
    """All clients of a fleet, as pages. It belongs to one event loop.

    Call `added` for each new client, `removed` for each that is forgotten, and `changed` for each
    that may have changed; all from the first page on.

    Work is done in steps of `step` clients, between which other tasks may run. A page in the order
    of client IDs is read from the index of all of them if it is complete after `max_scanned`
    clients. Changes are applied to the other indexes before each page and every `settle_interval`
    seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        scheduler: CooperativeScheduler,
        *,
        clock: Callable[[], float] = time.monotonic,
        step: int = 100,
        max_scanned: int = 5000,
        settle_interval: float = 0.25,
    ) -> None:
        self._fleet = fleet
        self._clients = fleet.presence.clients
        self._scheduler = scheduler
        self._pattern: re.Pattern[str] | None = None
        self._clock = clock
        self._step = step
        self._max_scanned = max_scanned
        self._settle_interval = settle_interval
        self._all: SortedIndex | None = None
        self._indexes: dict[IndexKey, SortedIndex] = {}
        self._builds: dict[SortedIndex, asyncio.Task[None]] = {}
        self._filling_all = asyncio.Lock()
        self._building = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._changed: set[str] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._closed = False

    def added(self, client: Client) -> None:
        """Add a new client."""
        if self._all is not None:
            self._all.keys.add(client.client_id)
        self.changed(client)

    def changed(self, client: Client) -> None:
        """Update a client in the indexes later."""
        if self._changed is not None:
            self._changed.add(client.client_id)

    def removed(self, client: Client) -> None:
        """Remove a forgotten client."""
        if self._all is not None:
            self._all.keys.discard(client.client_id)

    def use_pattern(self, pattern: re.Pattern[str] | None) -> None:
        """Replace the pattern of the classes."""
        self._pattern = pattern
        self._indexes.clear()

    def close(self) -> None:
        """Cancel all background work, discard all indexes and refuse to make new ones."""
        self._closed = True
        for task in (*self._builds.values(), self._upkeep):
            if task is not None:
                task.cancel()
        self._all = None
        self._indexes.clear()

    async def page(self, request: PageRequest) -> Page:
        """Return a page of clients as they are now.

        A sequence of pages, each requested with the `next` of the previous one, contains exactly
        once every client that stays selected and keeps its position in the order. Raises
        ProblemError if too many indexes are being built, or if it was closed.
        """
        selection = request.selection
        key = (selection, request.order.by_since)
        all_clients = await self._index_of_all()
        if key not in self._indexes and not request.order.by_since:
            limit = None if selection.is_range else self._max_scanned
            selects = selection.predicate(self._fleet, self._pattern)
            page = await self._scan(all_clients, selects, request, limit)
            if page is not None:
                return page
        index = await self._index(key)
        await self._settle()
        # Not with the current predicate: the pattern may have changed since the index was built.
        return await self._scan(index, index.selects, request) or Page([], None)

    async def _scan(
        self,
        index: SortedIndex,
        selects: Predicate,
        request: PageRequest,
        max_scanned: int | None = None,
    ) -> Page | None:
        """Return the page; None if it is not complete after `max_scanned` keys."""
        prefix = "" if request.order.by_since else request.selection.prefix
        position, inclusive = request.start
        found: list[tuple[Key, Client]] = []
        scanned = 0
        async with self._scheduler.turn() as turn:
            while len(found) <= request.limit:
                keys = index.keys.next(
                    position,
                    self._step,
                    descending=request.order.descending,
                    inclusive=inclusive,
                )
                scanned += len(keys)
                in_range = [*takewhile(lambda key: client_id_of(key).startswith(prefix), keys)]
                found += index.select(in_range, selects, request.limit + 1 - len(found))
                if len(in_range) < self._step:
                    break
                if max_scanned is not None and scanned >= max_scanned:
                    return None
                position, inclusive = keys[-1], False
                await turn.yield_if_due()
        clients = [client for _, client in found[: request.limit]]
        return Page(clients, found[request.limit - 1][0] if len(found) > request.limit else None)

    async def _index_of_all(self) -> SortedIndex:
        async with self._filling_all:
            while (index := self._all) is None or index.pending is not None:
                self._check_open()
                index = self._all = SortedIndex(self._clients, lambda _: True)
                client_ids = iter(list(self._clients))
                async with self._scheduler.turn() as turn:
                    while chunk := list(islice(client_ids, self._step)):
                        index.consider(chunk)
                        await turn.yield_if_due()
                index.finish()
            return index

    async def _index(self, key: IndexKey) -> SortedIndex:
        while True:
            index = self._indexes.get(key) or self._begin(key)
            index.used_at = self._clock()
            if index.pending is None:
                return index
            # The build continues if this request is cancelled: others may wait for it, too.
            build = self._builds[index]
            await asyncio.wait([build])
            if not build.cancelled():
                build.result()

    def _check_open(self) -> None:
        if self._closed:
            detail = (
                "the list cannot be completed: this process is stopping, or a partition has moved"
                " to another worker; try again"
            )
            raise ProblemError(503, detail, retry_after=_RETRY_AFTER)

    def _begin(self, key: IndexKey) -> SortedIndex:
        self._check_open()
        if len(self._builds) >= _MAX_INDEXES:
            detail = "too many lists are being prepared at the moment; try again"
            raise ProblemError(503, detail, retry_after=_RETRY_AFTER)
        selection, by_since = key
        selects = selection.predicate(self._fleet, self._pattern)
        index = SortedIndex(self._clients, selects, by_since=by_since)
        self._indexes[key] = index
        self._builds[index] = asyncio.create_task(self._build(key, index))
        if self._upkeep is None:
            self._changed = set()
            self._upkeep = asyncio.create_task(self._keep_up())
        return index

    async def _build(self, key: IndexKey, index: SortedIndex) -> None:
        try:
            all_clients = await self._index_of_all()
            async with self._building, self._scheduler.turn() as turn:
                prefix = key[0].prefix
                client_ids = all_clients.keys.next(prefix or None, self._step, inclusive=True)
                while client_ids:
                    index.consider(client_ids)
                    if not client_ids[-1].startswith(prefix):
                        break
                    await turn.yield_if_due()
                    client_ids = all_clients.keys.next(client_ids[-1], self._step)
                while index.pending:
                    index.consider(_pop(index.pending, self._step))
                    await turn.yield_if_due()
                index.finish()
            complete = [key for key, each in self._indexes.items() if each.pending is None]
            if len(complete) > _MAX_INDEXES:
                del self._indexes[min(complete, key=lambda key: self._indexes[key].used_at)]
        finally:
            del self._builds[index]
            if index.pending is not None and self._indexes.get(key) is index:
                del self._indexes[key]

    async def _settle(self) -> None:
        """Apply all changes up to now to all indexes."""
        async with self._settling:
            changed = self._changed
            if not changed:
                return
            self._changed = set()
            try:
                async with self._scheduler.turn() as turn:
                    while changed:
                        self._apply(_pop(changed, self._step))
                        await turn.yield_if_due()
            finally:
                # A request whose client disconnects leaves the rest to the next one.
                if self._changed is not None:
                    self._changed |= changed

    def _apply(self, client_ids: Sequence[str]) -> None:
        for index in self._indexes.values():
            if index.pending is None:
                index.consider(client_ids)
            else:
                index.pending.update(client_ids)

    async def _keep_up(self) -> None:
        try:
            while self._indexes:
                await asyncio.sleep(self._settle_interval)
                await self._settle()
                oldest = self._clock() - _UNUSED_AFTER
                for key, index in list(self._indexes.items()):
                    if index.pending is None and (index.used_at < oldest or index.is_stale):
                        del self._indexes[key]
        finally:
            # Without upkeep an index would become outdated.
            self._indexes.clear()
            self._changed = None
            self._upkeep = None


def _pop(client_ids: set[str], limit: int) -> Sequence[str]:
    """Remove at most `limit` elements and return them."""
    return [client_ids.pop() for _ in range(min(limit, len(client_ids)))]
