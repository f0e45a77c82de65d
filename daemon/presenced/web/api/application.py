"""The API as an aiohttp application, and its observer of the pipeline."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from presenced.aws.reconciler import Reconciler
from presenced.pipeline import Batch, Pipeline
from presenced.presence import Client
from presenced.settings import HistorySettings, MetricsSettings
from presenced.sources.gaps import Gaps
from presenced.system.loop import Clocks, CooperativeScheduler
from presenced.system.supervision import Readiness
from presenced.web.api import answers
from presenced.web.api.answer_builder import ClientAnswers, history_answer, summary_answer
from presenced.web.api.client_index import ClientIndex
from presenced.web.api.doubt import doubt_of
from presenced.web.api.explanation import ClientDetails
from presenced.web.api.history import History
from presenced.web.api.openapi import document
from presenced.web.api.parameters import check_query, page_request, write_cursor
from presenced.web.api.problems import HEADERS, ProblemError, problems
from presenced.web.api.stream import Hub, serve_events
from presenced.web.negotiation import negotiate_type

_CLIENTS = "/clients/"
_HISTORY = "/history"


class Sources(NamedTuple):
    """The parts of the daemon that the API shows; `reconciler` is None if AWS is not asked."""

    pipeline: Pipeline
    gaps: Gaps
    clocks: Clocks
    readiness: Callable[[], Readiness]
    hold_after: Callable[[], float]
    reconciler: Reconciler | None = None


class Api:
    """The API of a fleet, read-only.

    It is an observer of the pipeline; call `restored` after clients were restored. `index` and
    `hub` replace the default ones.
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
        self._index = index or ClientIndex(self._fleet, CooperativeScheduler())
        self._hub = Hub() if hub is None else hub
        self.history = History(history.clients, history.per_client)
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

    def observe(self, batch: Batch) -> None:
        """Update the index and the history, and publish transitions."""
        changes = batch.changes.clients
        for change in changes:
            if change.after is not None:
                if change.before is None:
                    self._index.added(change.client)
                self._index.changed(change.client)
            elif change.before is not None:
                self._index.removed(change.client)
            if change.transition is not None:
                self._hub.publish(change.transition)
        self.history.observe(changes)

    def application(self) -> web.Application:
        """Return the application; the listener serves it below a path."""
        app = web.Application(middlewares=[problems])
        app.add_routes(
            [
                web.get("/clients", self._get_clients),
                web.get(_CLIENTS + "{rest:(?s:.+)}", self._get_client),
                web.get("/summary", self._get_summary),
                web.get("/events", partial(serve_events, hub=self._hub)),
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
        return _respond(
            request, answers.Clients(list(map(self._answers.client, page.clients)), cursor)
        )

    async def _get_client(self, request: web.Request) -> web.Response:
        check_query(request.query)
        # In aiohttp's decoded parameter a client ID that ends in %2Fhistory would look like a path.
        path = request.rel_url.raw_path.partition(_CLIENTS)[2]
        client = self._find(path.removesuffix(_HISTORY))
        if path.endswith(_HISTORY):
            entries = self.history.entries(client.client_id)
            return _respond(
                request, history_answer(client.client_id, entries, self.history.per_client)
            )
        return _respond(request, self._answers.story(self._details(client)))

    def _find(self, quoted_id: str) -> Client:
        try:
            client_id = unquote_to_bytes(quoted_id).decode()
        except UnicodeDecodeError:
            allowed = "a client ID in UTF-8, percent-encoded"
            raise ProblemError.of_parameter("client_id", quoted_id, allowed) from None
        client = self._fleet.presence.clients.get(client_id)
        if client is None:
            detail = "the client is not known; it becomes known with the first event that names it"
            raise ProblemError(404, detail, parameter="client_id", value=client_id)
        return client

    async def _get_summary(self, request: web.Request) -> web.Response:
        check_query(request.query)
        sources = self._sources
        summary = summary_answer(
            sources.pipeline, sources.reconciler, sources.readiness(), sources.clocks.wall()
        )
        return _respond(request, summary)

    async def _get_document(self, request: web.Request) -> web.Response:
        check_query(request.query)
        return _respond(request, self._openapi)

    def _details(self, client: Client) -> ClientDetails:
        clocks, now = self._sources.clocks, self._sources.clocks.wall()
        presence = self._fleet.presence
        due = presence.deadline(client)
        history = self.history.get(client.client_id)
        unverified = presence.is_unverified(client)
        return ClientDetails(
            client=client,
            history=history,
            now=now,
            deadline=None if due is None else due - clocks.monotonic() + now,
            held=due is not None and due > self._sources.hold_after(),
            awaits_lookup=presence.lookups.is_awaited(client.client_id),
            doubt=doubt_of(client, history, self._sources.gaps.last) if unverified else None,
        )


def _respond(request: web.Request, answer: Any) -> web.Response:
    content_type = negotiate_type(request, "application/json")
    body = msgspec.json.encode(answer)
    return web.Response(body=body, content_type=content_type, headers=HEADERS)
