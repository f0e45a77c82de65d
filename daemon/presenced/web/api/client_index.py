"""Pages of clients, sorted and filtered, at a cost that depends on the page and not on the fleet.

An index of all client IDs is built at the first request and kept up to date from then on. Any other
selection or order gets its own index when it is requested, which is kept up to date while it is in
use. A change of a client costs one entry in a set, and only while there is such an index. Filters
that have no index (`Selection.indexed`) are applied to the clients of one, up to a limit for each
page.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from presenced.fleet import Fleet
from presenced.presence import Client
from presenced.system.loop import CooperativeScheduler, TimeSlice
from presenced.web.api.problems import ProblemError
from presenced.web.api.selection import (
    Key,
    Page,
    PageRequest,
    Predicate,
    Selection,
)
from presenced.web.api.sorted_index import SortedIndex

_MAX_INDEXES = 8
_UNUSED_AFTER = 300.0
_RETRY_AFTER = 1
_TEXT_COST = 0.1
"""What it costs to search a client ID for a text, compared with looking at the client."""


class _IndexKey(NamedTuple):
    """The selection of an index, and whether it is sorted by when the state of a client began.

    A gap leaves all clients in doubt at once: an index of clients in doubt, or of the others, is of
    the `gap_epoch` in which it was begun.
    """

    selection: Selection
    by_since: bool
    gap_epoch: int | None


class ClientIndex:
    """All clients of a fleet, as pages. It belongs to one event loop.

    Call `added` for each new client, `removed` for each that is forgotten, and `changed` for each
    that may have changed; all from the first page on.

    Work is done in steps of `step` clients, between which other tasks may run. A page in the order
    of client IDs is read from the index of all of them if it is complete before `max_scanned`
    clients were left out. From its own index, a page is cut when `max_walked` clients were left
    out. Changes are applied to an index before each of its pages, and to all of them every
    `settle_interval` seconds. The client IDs are copied `copied` at a time: all of a million would
    hold up the event loop.
    """

    def __init__(
        self,
        fleet: Fleet,
        scheduler: CooperativeScheduler,
        *,
        clock: Callable[[], float] = time.monotonic,
        step: int = 100,
        max_scanned: int = 5000,
        max_walked: int = 2500,
        settle_interval: float = 0.25,
        copied: int = 50_000,
    ) -> None:
        self._fleet = fleet
        self._clients = fleet.presence.clients
        self._scheduler = scheduler
        self._pattern: re.Pattern[str] | None = None
        self._clock = clock
        self._step = step
        self._max_scanned = max_scanned
        self._max_walked = max_walked
        self._settle_interval = settle_interval
        self._copied = copied
        self._all: SortedIndex | None = None
        self._indexes: dict[_IndexKey, SortedIndex] = {}
        self._dropped: list[SortedIndex] = []
        self._builds: dict[SortedIndex, asyncio.Task[None]] = {}
        self._filling_all = asyncio.Lock()
        self._filled = 0
        self._unfilled: Iterator[str] | None = None
        self._building = asyncio.Lock()
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
            self._filled, self._unfilled = max(0, self._filled - 1), None
        self.changed(client)

    def use_pattern(self, pattern: re.Pattern[str] | None) -> None:
        """Replace the pattern of the classes."""
        self._pattern = pattern
        for key in list(self._indexes):
            self._drop(key)

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
        selection, by_since = request.selection, request.order.by_since
        if selection.is_impossible:
            return Page([], None)
        indexed = selection.indexed
        all_clients = await self._index_of_all()
        limit = self._max_walked / request.parts
        if not by_since and self._key(indexed, by_since=False) not in self._indexes:
            selects = indexed.predicate(self._fleet, self._pattern)
            most = limit if indexed.is_range else self._max_scanned
            async with self._scheduler.turn() as turn:
                page = await self._scan(turn, all_clients, selects, request, most)
            if indexed.is_range or not page.cut:
                return page
        index = await self._index(indexed, by_since=by_since)
        index.readers += 1
        try:
            async with self._scheduler.turn() as turn:
                await self._settle(turn, index)
                # Not with the current predicate: the pattern may have changed since it was built.
                return await self._scan(turn, index, index.selects, request, limit)
        finally:
            index.readers -= 1

    async def _scan(
        self,
        turn: TimeSlice,
        index: SortedIndex,
        indexed: Predicate,
        request: PageRequest,
        most: float,
    ) -> Page:
        """Read a page from an index; `indexed` are its own filters.

        The page is cut when `most` clients were left out.
        """
        selection, order = request.selection, request.order

        def selects(client: Client) -> bool:
            return indexed(client) and selection.is_long_offline(client)

        position, inclusive = request.start
        found: list[tuple[Key, Client]] = []
        left_out = 0.0
        while (wanted := request.limit + 1 - len(found)) > 0:
            keys = index.keys.next(
                position, self._step, descending=order.descending, inclusive=inclusive
            )
            in_range = request.in_range(keys)
            named = selection.containing(in_range)
            chosen = index.select(named, selects, wanted)
            found += chosen
            if len(in_range) < self._step:
                break
            position, inclusive = keys[-1], False
            left_out += len(named) - len(chosen) + (len(keys) - len(named)) * _TEXT_COST
            if left_out >= most and len(found) <= request.limit:
                return Page([client for _, client in found], position, cut=True)
            await turn.yield_if_due()
        clients = [client for _, client in found[: request.limit]]
        return Page(clients, found[request.limit - 1][0] if len(found) > request.limit else None)

    def _key(self, indexed: Selection, *, by_since: bool) -> _IndexKey:
        epoch = None if indexed.in_doubt is None else self._fleet.presence.gap_epoch
        return _IndexKey(indexed, by_since, epoch)

    async def _index_of_all(self) -> SortedIndex:
        async with self._filling_all:
            while (index := self._all) is None or not index.is_complete:
                self._check_open()
                index = self._all = SortedIndex(self._clients, lambda _: True)
                await self._fill_all(index)
                index.is_complete = True
            return index

    async def _fill_all(self, index: SortedIndex) -> None:
        """Fill the index of all clients, in the order in which they became known.

        Clients that are removed meanwhile move those behind them forward: `removed` steps back, so
        that none is left out. Those that are repeated are in the index already.
        """
        self._filled, self._unfilled = 0, None
        async with self._scheduler.turn(background=True) as turn:
            while client_ids := self._copy():
                self._filled += len(client_ids)
                while client_ids:
                    index.fill(client_ids[-self._step :])
                    del client_ids[-self._step :]
                    await turn.yield_if_due()

    def _copy(self) -> list[str]:
        while True:
            if self._unfilled is None:
                self._unfilled = islice(self._clients, self._filled, None)
            try:
                return list(islice(self._unfilled, self._copied))
            except RuntimeError:  # a client was added
                self._unfilled = None

    async def _index(self, indexed: Selection, *, by_since: bool) -> SortedIndex:
        while True:
            key = self._key(indexed, by_since=by_since)
            index = self._indexes.get(key) or self._begin(key)
            index.used_at = self._clock()
            if index.is_complete:
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

    def _begin(self, key: _IndexKey) -> SortedIndex:
        self._check_open()
        if len(self._builds) >= _MAX_INDEXES:
            detail = "too many lists are being prepared at the moment; try again"
            raise ProblemError(503, detail, retry_after=_RETRY_AFTER)
        selects = key.selection.predicate(self._fleet, self._pattern)
        index = SortedIndex(self._clients, selects, by_since=key.by_since)
        self._indexes[key] = index
        self._builds[index] = asyncio.create_task(self._build(key, index))
        if self._upkeep is None:
            self._changed = set()
            self._upkeep = asyncio.create_task(self._keep_up())
        return index

    async def _build(self, key: _IndexKey, index: SortedIndex) -> None:
        try:
            all_clients = await self._index_of_all()
            async with self._building, self._scheduler.turn(background=True) as turn:
                prefix = key.selection.prefix
                client_ids = all_clients.keys.next(prefix or None, self._step, inclusive=True)
                while client_ids:
                    index.fill(client_ids)
                    if not client_ids[-1].startswith(prefix):
                        break
                    await turn.yield_if_due()
                    client_ids = all_clients.keys.next(client_ids[-1], self._step)
                await self._settle(turn, index)
            index.is_complete = True
            complete = [key for key, each in self._indexes.items() if each.is_complete]
            if len(complete) > _MAX_INDEXES:
                self._drop(min(complete, key=lambda key: self._indexes[key].used_at))
        finally:
            del self._builds[index]
            if not index.is_complete and self._indexes.get(key) is index:
                del self._indexes[key]

    async def _settle(self, turn: TimeSlice, *indexes: SortedIndex) -> None:
        """Apply all changes up to now to these indexes; the others take note of them.

        A page must not wait until each index is up to date.
        """
        while self._changed:
            changed = _pop(self._changed, self._step)
            for index in self._indexes.values():
                index.changed.update(changed)
            await turn.yield_if_due()
        for index in indexes:
            while index.changed:
                # Not afterwards: other clients may have changed by then, and so on without end.
                await turn.yield_if_due()
                index.consider(_pop(index.changed, self._step))

    async def _keep_up(self) -> None:
        try:
            while self._indexes or self._dropped:
                await asyncio.sleep(self._settle_interval)
                async with self._scheduler.turn(background=True) as turn:
                    complete = [each for each in self._indexes.values() if each.is_complete]
                    await self._settle(turn, *complete)
                    await self._free(turn)
                oldest = self._clock() - _UNUSED_AFTER
                for key, index in list(self._indexes.items()):
                    is_outdated = key != self._key(key.selection, by_since=key.by_since)
                    if index.is_complete and (index.used_at < oldest or is_outdated):
                        self._drop(key)
        finally:
            # Without upkeep an index would become outdated.
            self._indexes.clear()
            self._dropped.clear()
            self._changed = None
            self._upkeep = None

    def _drop(self, key: _IndexKey) -> None:
        self._dropped.append(self._indexes.pop(key))

    async def _free(self, turn: TimeSlice) -> None:
        """Free the memory of dropped indexes that no page is being read from.

        All of 100,000 keys at once would hold up the event loop for 30 ms.
        """
        unread = [each for each in self._dropped if not each.readers and each not in self._builds]
        self._dropped = [each for each in self._dropped if each not in unread]
        for index in unread:
            while index.shrink():
                await turn.yield_if_due()


def _pop(client_ids: set[str], limit: int) -> Sequence[str]:
    """Remove at most `limit` elements and return them."""
    return [client_ids.pop() for _ in range(min(limit, len(client_ids)))]
