"""Pages of clients, sorted and filtered, that cost what is on them.

Client IDs are sorted when somebody asks for a page first, in slices, and kept so from then on. Any
other choice or order of clients is made when it is asked for, as a view that is kept up to date for
as long as somebody asks for it. What changes a client costs a mark in a set, and that only while
there is a view.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from presenced.fleet import Fleet
from presenced.presence import Client
from presenced.system.loop import CooperativeScheduler, TimeSlice
from presenced.web.api.page_scan import (
    Page,
    PageScan,
    Request,
    Selection,
    Selects,
    SortedIndex,
    ViewKey,
    client_id_of,
    selector,
)

_STEP = 100
# As many clients are looked at one after the other before a view of those that are wanted is made.
_EASY = 5000
_MOST_VIEWS = 8
_UNUSED_AFTER = 300.0
_SETTLE_EVERY = 0.25


class BusyError(Exception):
    """As many views are being made as may be at the same time."""


class ClientIndex:
    """The clients of a fleet, as pages of them. To be used on one event loop.

    It is to be told of each client that `entered` or `left`, and of those that may have `changed`
    while it `follows`. `restock` takes on those of whom it was not told. `pattern` is that of
    the classes; see `use_pattern`.
    """

    def __init__(
        self,
        fleet: Fleet,
        pace: CooperativeScheduler,
        pattern: re.Pattern[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._clients = fleet.presence.clients
        self._pace = pace
        self._pattern = pattern
        self._clock = clock
        self._all: SortedIndex | None = None
        self._stocked = False
        self._views: dict[ViewKey, SortedIndex] = {}
        self._builds: dict[ViewKey, asyncio.Task[None]] = {}
        self._building = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._stocking = asyncio.Lock()
        self._marks: set[str] | None = None
        self._upkeep: asyncio.Task[None] | None = None

    @property
    def views(self) -> int:
        """How many views there are at the moment."""
        return len(self._views)

    @property
    def follows(self) -> bool:
        """Whether there is a view that has to be kept up to date."""
        return self._marks is not None

    def entered(self, client: Client) -> None:
        """Take note of a new client."""
        if self._all is not None:
            self._all.consider(client)

    def changed(self, client: Client) -> None:
        """Take note that something about a client may be different."""
        if self._marks is not None:
            self._marks.add(client.client_id)

    def left(self, client: Client) -> None:
        """Take note that a client is forgotten."""
        if self._all is not None:
            self._all.drop(client.client_id)

    def restock(self) -> None:
        """Look at all clients that there are anew."""
        self._all, self._stocked = None, False
        self._drop_views()

    def use_pattern(self, pattern: re.Pattern[str] | None) -> None:
        """Let other classes count from now on."""
        self._pattern = pattern
        self._drop_views()

    def close(self) -> None:
        """Do nothing more."""
        for task in (*self._builds.values(), self._upkeep):
            if task is not None:
                task.cancel()
        self._drop_views()

    async def page(self, request: Request) -> Page:
        """The clients of a page as they are now.

        Pages that follow one another, each after the key that the one before it told, show every
        client once that is chosen all the time and does not move in the order meanwhile. Raises
        BusyError when too many others wait for views, too.
        """
        key = (request.selection, request.order.by_since)
        everybody = await self._everybody()
        if key not in self._views and not request.order.by_since:
            most = None if request.selection.is_range else _EASY
            page = await self._walk(everybody, request, most)
            if page is not None:
                return page
        view = await self._view(key)
        await self._settle()
        page = await self._walk(view, request, None)
        return page or Page([], None)

    async def _everybody(self) -> SortedIndex:
        """All clients, in the order of their IDs."""
        async with self._stocking:
            while self._all is None or not self._stocked:
                view = self._all = SortedIndex(lambda _: True, by_since=False)
                await self._stock(view)
                self._stocked = self._all is view  # else they were restocked meanwhile
            return self._all

    async def _stock(self, view: SortedIndex) -> None:
        client_ids = list(self._clients)
        async with self._pace.turn() as turn:
            for start in range(0, len(client_ids), _STEP):
                some = map(self._clients.get, client_ids[start : start + _STEP])
                view.fill(client for client in some if client is not None)
                await turn.yield_if_due()

    async def _walk(self, view: SortedIndex, request: Request, most: int | None) -> Page | None:
        """The page, as a view shows it; None where it is not full after looking at `most`."""
        own = view is not self._all
        # A view goes by its own: the pattern may have changed since, and then it is dropped.
        selects = view.selects if own else self._selector(request.selection)
        walk = PageScan(self._clients, view, request, selects, own=own)
        async with self._pace.turn() as turn:
            while not walk.step():
                if most is not None and walk.looked_at >= most:
                    return None
                await turn.yield_if_due()
        return walk.page

    def _selector(self, selection: Selection) -> Selects:
        return selector(selection, self._fleet, self._pattern)

    async def _view(self, key: ViewKey) -> SortedIndex:
        while True:
            view = self._views.get(key) or self._begin(key)
            view.used_at = self._clock()
            if view.late is None:
                return view
            # Whoever asks may go away; the view is for others, too.
            build = self._builds[key]
            await asyncio.wait([build])
            build.result()

    def _begin(self, key: ViewKey) -> SortedIndex:
        if len(self._builds) >= _MOST_VIEWS:
            raise BusyError
        view = self._views[key] = SortedIndex(self._selector(key[0]), by_since=key[1])
        view.late = set()
        self._builds[key] = asyncio.create_task(self._build(key, view))
        if self._upkeep is None:
            self._follow(set())
            self._upkeep = asyncio.create_task(self._keep_up())
        return view

    async def _build(self, key: ViewKey, view: SortedIndex) -> None:
        try:
            everybody = await self._everybody()
            async with self._building, self._pace.turn() as turn:
                await self._fill(view, everybody, key[0].prefix, turn)
                while view.late:
                    self._consider(view, view.late)
                    await turn.yield_if_due()
                view.finish()
                self._make_room()
        finally:
            if self._builds.get(key) is asyncio.current_task():
                del self._builds[key]
            if view.late is not None and self._views.get(key) is view:
                del self._views[key]

    def _make_room(self) -> None:
        ready = [key for key, view in self._views.items() if view.late is None]
        if len(ready) > _MOST_VIEWS:
            del self._views[min(ready, key=lambda key: self._views[key].used_at)]

    async def _fill(
        self, view: SortedIndex, everybody: SortedIndex, prefix: str, turn: TimeSlice
    ) -> None:
        keys = everybody.next(prefix or None, _STEP, inclusive=True)
        while keys:
            found = (self._clients.get(client_id_of(key)) for key in keys)
            view.fill(client for client in found if client is not None)
            if not client_id_of(keys[-1]).startswith(prefix):
                return
            await turn.yield_if_due()
            keys = everybody.next(keys[-1], _STEP)

    def _consider(self, view: SortedIndex, client_ids: set[str]) -> None:
        for _ in range(min(_STEP, len(client_ids))):
            client = self._clients.get(client_ids.pop())
            if client is not None:
                view.consider(client)

    async def _settle(self) -> None:
        """Let every view know of what was changed up to now."""
        async with self._settling:
            marks = self._marks
            if not marks:
                return
            self._marks = set()
            async with self._pace.turn() as turn:
                while marks:
                    self._tell(marks)
                    await turn.yield_if_due()

    def _tell(self, marks: set[str]) -> None:
        for _ in range(min(_STEP, len(marks))):
            client_id = marks.pop()
            client = self._clients.get(client_id)
            for view in self._views.values():
                if view.late is not None:
                    view.late.add(client_id)
                elif client is not None:
                    view.consider(client)

    async def _keep_up(self) -> None:
        try:
            while self._views:
                await asyncio.sleep(_SETTLE_EVERY)
                await self._settle()
                oldest = self._clock() - _UNUSED_AFTER
                for key, view in list(self._views.items()):
                    if view.late is None and (view.used_at < oldest or view.is_stale):
                        del self._views[key]
        finally:
            # Without upkeep no view may stay.
            self._drop_views()
            self._follow(None)
            self._upkeep = None

    def _follow(self, marks: set[str] | None) -> None:
        self._marks = marks

    def _drop_views(self) -> None:
        """Show nothing any more that was made up to now."""
        self._views.clear()
