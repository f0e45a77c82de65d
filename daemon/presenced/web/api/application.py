"""The API as an aiohttp application, and its intake of what happens to clients."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from presenced.pipeline import Pipeline
from presenced.presence import Client, Transition
from presenced.settings import HistorySettings, MetricsSettings
from presenced.sources.gap_detector import GapDetector
from presenced.system.loop import Clocks, CooperativeScheduler
from presenced.system.supervision import Readiness
from presenced.web.api import answers
from presenced.web.api.answer_builder import ClientAnswers, history_answer, summary_answer
from presenced.web.api.client_index import ClientIndex
from presenced.web.api.explanation import ClientDetails
from presenced.web.api.history import History
from presenced.web.api.openapi import document
from presenced.web.api.parameters import Query, page_request, write_cursor
from presenced.web.api.problems import HEADERS, ProblemError, problems
from presenced.web.api.stream import Hub, serve_events

_CLIENTS = "/clients/"
_HISTORY = "/history"


class Sources(NamedTuple):
    """The parts of the daemon that the API shows."""

    pipeline: Pipeline
    gap_detector: GapDetector
    clocks: Clocks
    readiness: Callable[[], Readiness]


class Api:
    """The API of a fleet, read-only.

    Call `entered`, `went` and `forgotten` for what `Fleet` reports, `changed` for each client that
    may have changed while `follows` is true, and `restored` after clients were restored.
    `on_follow` is called when `follows` changes. Without `index` and `hub` there are those with the
    default limits and timings.
    """

    def __init__(
        self,
        sources: Sources,
        metrics: MetricsSettings,
        history: HistorySettings,
        *,
        index: ClientIndex | None = None,
        hub: Hub | None = None,
    ) -> None:
        self._sources = sources
        self._fleet = sources.pipeline.fleet
        self._clients = self._fleet.presence.clients
        self.on_follow: Callable[[], None] = lambda: None
        self._index = index or ClientIndex(self._fleet, CooperativeScheduler())
        self._index.on_follow = lambda: self.on_follow()
        self._hub = Hub() if hub is None else hub
        self.history = History(history.clients, history.per_client, self._clients.get)
        if history.clients:  # without a history, events need not be looked at
            sources.pipeline.witness = self.history.record_event
        self.use(metrics)

    def use(self, metrics: MetricsSettings) -> None:
        """Show classes and attributes according to the settings."""
        self._pattern: re.Pattern[str] | None = metrics.client_id_pattern
        self._answers = ClientAnswers(self._fleet, self._pattern, metrics.thing_attributes)
        self._openapi = document(tuple(self._pattern.groupindex) if self._pattern else ())
        self._index.use_pattern(self._pattern)

    def restored(self) -> None:
        """Show all clients that the fleet has now."""
        self._index.reset()

    @property
    def follows(self) -> bool:
        """Whether `changed` must be called."""
        return self._index.follows

    def entered(self, client: Client) -> None:
        """Add a new client."""
        self._index.added(client)

    def changed(self, client: Client) -> None:
        """Note that a client may have changed."""
        self._index.changed(client)

    def forgotten(self, client: Client) -> None:
        """Remove a forgotten client."""
        self._index.removed(client)
        self.history.forget(client)

    def went(self, client: Client, transition: Transition) -> None:
        """Record and publish a transition."""
        self.history.record_transition(client, transition)
        self._hub.publish(transition)

    def application(self) -> web.Application:
        """Return the application; the listener serves it below a path."""
        app = web.Application(middlewares=[problems])
        app.add_routes(
            [
                web.get("/clients", self._get_clients),
                web.get(_CLIENTS + "{rest:(?s:.+)}", self._get_client),
                web.get("/summary", self._get_summary),
                web.get("/events", self._get_events),
                web.get("/openapi.json", self._get_document),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        self._hub.close()
        self._index.close()

    async def _get_clients(self, request: web.Request) -> web.Response:
        wanted = page_request(request.query, self._pattern)
        page = await self._index.page(wanted)
        cursor = None if page.next is None else write_cursor(wanted.order, page.next)
        return _respond(answers.Clients(list(map(self._answers.client, page.clients)), cursor))

    async def _get_client(self, request: web.Request) -> web.Response:
        Query(request.query)
        # In aiohttp's decoded parameter a client ID that ends in %2Fhistory would look like a path.
        path = request.rel_url.raw_path.partition(_CLIENTS)[2]
        client = self._find(path.removesuffix(_HISTORY))
        if path.endswith(_HISTORY):
            entries = self.history.entries(client.client_id)
            return _respond(history_answer(client.client_id, entries, self.history.per_client))
        return _respond(self._answers.story(self._details(client)))

    def _find(self, quoted_id: str) -> Client:
        try:
            client_id = unquote_to_bytes(quoted_id).decode()
        except UnicodeDecodeError:
            allowed = "a client ID in UTF-8, percent-encoded"
            raise ProblemError.of_parameter("client_id", quoted_id, allowed) from None
        client = self._clients.get(client_id)
        if client is None:
            detail = "the client is not known; it becomes known with the first event that names it"
            raise ProblemError(404, detail, parameter="client_id", value=client_id)
        return client

    async def _get_summary(self, request: web.Request) -> web.Response:
        Query(request.query)
        pipeline, _, clocks, readiness = self._sources
        return _respond(summary_answer(pipeline, readiness(), clocks.wall()))

    async def _get_events(self, request: web.Request) -> web.StreamResponse:
        return await serve_events(request, self._hub)

    async def _get_document(self, request: web.Request) -> web.Response:
        Query(request.query)
        return _respond(self._openapi)

    def _details(self, client: Client) -> ClientDetails:
        pipeline, gap_detector, clocks, _ = self._sources
        now = clocks.wall()
        due = self._fleet.presence.deadline(client)
        unverified = self._fleet.presence.is_unverified(client)
        return ClientDetails(
            client=client,
            history=self.history.get(client.client_id),
            now=now,
            deadline=None if due is None else due - clocks.monotonic() + now,
            held=due is not None and due > pipeline.held_at,
            unverified=unverified,
            gap=gap_detector.last_gap if unverified else None,
        )


def _respond(answer: Any) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer), content_type="application/json", headers=HEADERS
    )
