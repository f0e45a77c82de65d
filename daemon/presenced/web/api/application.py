"""The API as an application of the listener, and whom the daemon tells what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from presenced import __version__
from presenced.pipeline import Batch, Pipeline
from presenced.presence import Client
from presenced.settings import HistorySettings, MetricsSettings
from presenced.sources.gap_detector import GapDetector
from presenced.system.loop import Clocks, CooperativeScheduler
from presenced.system.supervision import Readiness
from presenced.web.api.client_index import BusyError, ClientIndex
from presenced.web.api.documents import Documents, history_document, summary_document
from presenced.web.api.history import History
from presenced.web.api.openapi import document
from presenced.web.api.requests import (
    HEADERS,
    Parameters,
    ProblemError,
    page_request,
    problems,
    write_cursor,
)
from presenced.web.api.story import Deadline, Story, timestamp
from presenced.web.api.stream import Hub, serve_events

_CLIENTS = "/clients/"
_HISTORY = "/history"
_RETRY_AFTER = 1


class Sources(NamedTuple):
    """What the API tells of."""

    pipeline: Pipeline
    gap_detector: GapDetector
    clocks: Clocks
    readiness: Callable[[], Readiness]
    hold_after: Callable[[], float]


class Api:
    """Answers questions about a fleet, below a path of the listener.

    It is an observer of the pipeline; `restored` follows when clients are restored without it.
    """

    def __init__(
        self, sources: Sources, metrics: MetricsSettings, history: HistorySettings
    ) -> None:
        self._sources = sources
        self._fleet = sources.pipeline.fleet
        self._clients = self._fleet.presence.clients
        self._roster = ClientIndex(self._fleet, CooperativeScheduler())
        self._history = History(history.clients, history.per_client)
        self._hub = Hub()
        self.use(metrics)

    def use(self, metrics: MetricsSettings) -> None:
        """Show classes and attributes as the settings say."""
        self._pattern: re.Pattern[str] | None = metrics.client_id_pattern
        self._documents = Documents(self._fleet, self._pattern, metrics.thing_attributes)
        self._openapi = document(tuple(self._pattern.groupindex) if self._pattern else ())
        self._roster.use_pattern(self._pattern)

    def restored(self) -> None:
        """Take on all clients that there are."""
        self._roster.restock()

    def observe(self, batch: Batch) -> None:
        """Update the index and the history, and send transitions to the streams."""
        changes = batch.changes.clients
        for change in changes:
            if change.after is not None:
                if change.before is None:
                    self._roster.entered(change.client)
                self._roster.changed(change.client)
            elif change.before is not None:
                self._roster.left(change.client)
            if change.transition is not None:
                self._hub.tell(change.transition)
        self._history.observe(changes)

    def application(self) -> web.Application:
        """The application, to be put below a path."""
        app = web.Application(middlewares=[problems])
        app.add_routes(
            [
                web.get("/clients", self._list),
                web.get(_CLIENTS + "{rest:(?s:.+)}", self._one),
                web.get("/summary", self._summary),
                web.get("/events", self._events),
                web.get("/openapi.json", self._describe),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        self._hub.close()
        self._roster.close()

    async def _list(self, request: web.Request) -> web.Response:
        wanted = page_request(request.query, self._pattern)
        try:
            page = await self._roster.page(wanted)
        except BusyError:
            detail = "too many lists are being made at the moment; ask again"
            raise ProblemError(503, detail, retry_after=_RETRY_AFTER) from None
        following = None if page.next is None else write_cursor(wanted.order, page.next)
        clients = [self._documents.client(client) for client in page.clients]
        return _answer({"clients": clients, "next_cursor": following})

    async def _one(self, request: web.Request) -> web.Response:
        Parameters(request.query, ())
        named = request.rel_url.raw_path.partition(_CLIENTS)[2]
        of_history = named.endswith(_HISTORY)
        client_id = _client_id(named.removesuffix(_HISTORY))
        client = self._clients.get(client_id)
        if client is None:
            detail = "no such client is known; one is once an event names it"
            raise ProblemError(404, detail, parameter="client_id", value=client_id)
        if of_history:
            history = self._history
            entries = history.entries(client_id)
            return _answer(history_document(client_id, entries, history.per_client))
        return _answer(self._documents.story(self._story(client)))

    async def _summary(self, request: web.Request) -> web.Response:
        Parameters(request.query, ())
        told = summary_document(self._sources.pipeline, self._sources.readiness())
        now = timestamp(self._sources.clocks.wall())
        return _answer({"version": __version__, "time": now, **told})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await serve_events(request, self._hub)

    async def _describe(self, request: web.Request) -> web.Response:
        Parameters(request.query, ())
        return _answer(self._openapi)

    def _story(self, client: Client) -> Story:
        clocks = self._sources.clocks
        now = clocks.wall()
        deadline = None
        due = self._fleet.presence.deadline(client)
        if due is not None:
            deadline = Deadline(
                due - clocks.monotonic() + now, held=due > self._sources.hold_after()
            )
        unverified = self._fleet.presence.is_unverified(client)
        return Story(
            client=client,
            record=self._history.get(client.client_id),
            now=now,
            deadline=deadline,
            unverified=unverified,
            gap=self._sources.gap_detector.last_gap if unverified else None,
        )


def _client_id(quoted: str) -> str:
    try:
        return unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        allowed = "a client ID in UTF-8, percent-encoded"
        raise ProblemError.of_parameter("client_id", quoted, allowed) from None


def _answer(told: Any) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(told), content_type="application/json", headers=HEADERS
    )
