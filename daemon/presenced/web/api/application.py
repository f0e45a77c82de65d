"""The API as an aiohttp application, and the parts of the fleet that it shows."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from presenced.aws.reconciler import Reconciler
from presenced.fleet import Fleet
from presenced.presence import Client, ClientChange, State
from presenced.recent.activity import RecentActivity
from presenced.settings import HistorySettings, MetricsSettings
from presenced.system.loop import Clocks, CooperativeScheduler
from presenced.system.supervision import Readiness
from presenced.web.api import answers
from presenced.web.api.answer_builder import ClientAnswers, history_answer, summary_answer
from presenced.web.api.certificates import certificate_answers
from presenced.web.api.client_index import ClientIndex
from presenced.web.api.flapping import flapping_answer, standout_devices
from presenced.web.api.history import History
from presenced.web.api.offline_breakdown import OfflineBreakdown
from presenced.web.api.openapi import document
from presenced.web.api.overview import DaemonState, overview_answer
from presenced.web.api.parameters import check_query, page_request, recent_request, write_cursor
from presenced.web.api.parts import FleetPart, FleetParts, PartSources
from presenced.web.api.problems import HEADERS, ProblemError, problems
from presenced.web.api.recent_entries import recent_answer
from presenced.web.api.stream import Hub, serve_events
from presenced.web.api.worker import not_shown, partitions_answer, unknown_client
from presenced.web.negotiation import negotiate_type

_CLIENTS = "/clients/"
_HISTORY = "/history"


def _always() -> bool:
    return True


def _no_reconciler() -> None:
    return None


class Sources(NamedTuple):
    """The parts of the daemon that the API shows; `reconciler` returns what asks AWS, if any.

    `may_show` returns whether the clients may be shown now: the partitions of a worker of Kafka may
    not once its lease is over. `partition_of` returns the partition that the events of a client are
    in, by client ID; it is None if there are no partitions. `certificate_expiry` returns when the
    certificates of the daemon expire, in epoch seconds by name.
    """

    clocks: Clocks
    readiness: Callable[[], Readiness]
    reconciler: Callable[[], Reconciler | None] = _no_reconciler
    may_show: Callable[[], bool] = _always
    partition_of: Callable[[str], int] | None = None
    certificate_expiry: Callable[[], Mapping[str, float]] = dict


class Api:
    """The API of a fleet, read-only, which shows the parts that were added.

    `make_index` and `hub` replace the default ones. `activity` is what happened in the last hours.
    """

    def __init__(
        self,
        sources: Sources,
        metrics: MetricsSettings,
        history: HistorySettings,
        *,
        make_index: Callable[[Fleet], ClientIndex] | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.activity = RecentActivity()
        self._sources = sources
        self._scheduler = scheduler = CooperativeScheduler()
        self._make_index = make_index or (lambda fleet: ClientIndex(fleet, scheduler))
        self._hub = Hub() if hub is None else hub
        self._history = history
        self._parts = FleetParts(history.clients)
        self._daemon = DaemonState()
        self._offline = OfflineBreakdown(self._parts, self.activity, sources.clocks, scheduler)
        self.use(metrics)

    def use(self, metrics: MetricsSettings) -> None:
        """Show classes and attributes according to the settings."""
        self._pattern: re.Pattern[str] | None = metrics.client_id_pattern
        self._answers = ClientAnswers(self._pattern, metrics.thing_attributes)
        self._openapi = document(tuple(self._pattern.groupindex) if self._pattern else ())
        for part in self._parts:
            part.index.use_pattern(self._pattern)

    def add(self, sources: PartSources) -> FleetPart:
        """Show a fleet, or the part of it in a partition, from now on.

        All its restored clients must be there before the first request. Returns the observer of its
        pipeline; transitions are published from the first batch on that it observes.
        """
        index = self._make_index(sources.pipeline.fleet)
        index.use_pattern(self._pattern)
        history = History(self._history.clients, self._history.per_client)
        part = FleetPart(sources, index, history, self._publish)
        self._parts.add(part)
        return part

    def remove(self, partition: int) -> None:
        """Show nothing of a partition any more, by its number, if it was added."""
        self._parts.remove(partition)

    def check(self) -> None:
        """Note what depends on time: the trend, and since when events are received.

        Called four times a second.
        """
        now, clients = self._sources.clocks.wall(), Counter[State]()
        self._daemon.update(self._sources.readiness(), now)
        fleets = self._fleets()
        if self._daemon.is_current:  # else the numbers are those of before
            for fleet in fleets:
                clients.update(fleet.presence.counts.clients)
        ancestors = fleets[0].inventory.with_ancestors if fleets else set
        self.activity.check(now, clients, ancestors)

    def application(self) -> web.Application:
        """Return the application; the listener serves it below a path."""
        app = web.Application(middlewares=[problems])
        app.add_routes(
            [
                web.get("/clients", self._get_clients),
                web.get(_CLIENTS + "{rest:(?s:.+)}", self._get_client),
                web.get("/summary", self._get_summary),
                web.get("/overview", self._get_overview),
                web.get("/recent", self._get_recent),
                web.get("/flapping", self._get_flapping),
                web.get("/events", self._get_events),
                web.get("/openapi.json", self._get_document),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        self._hub.close()
        for part in self._parts:
            part.index.close()

    async def _get_clients(self, request: web.Request) -> web.Response:
        wanted = page_request(request.query, self._pattern, self._sources.clocks.wall())
        self._check_shown()
        page = await self._parts.page(wanted)
        # The page may have taken seconds.
        self._check_shown()
        return _respond(
            request,
            answers.Clients(
                clients=[self._answers.client(part.fleet, client) for part, client in page.clients],
                next_cursor=None if page.next is None else write_cursor(wanted.order, page.next),
                partitions=partitions_answer(self._parts, shown=True),
            ),
        )

    async def _get_client(self, request: web.Request) -> web.Response:
        check_query(request.query)
        self._check_shown()
        # In aiohttp's decoded parameter a client ID that ends in %2Fhistory would look like a path.
        path = request.rel_url.raw_path.partition(_CLIENTS)[2]
        part, client = self._find(path.removesuffix(_HISTORY))
        if path.endswith(_HISTORY):
            entries = part.history.entries(client.client_id)
            return _respond(
                request, history_answer(client.client_id, entries, part.history.per_client)
            )
        details = part.details(client, self._sources.clocks)
        return _respond(request, self._answers.story(part.fleet, details, part.partition))

    def _find(self, quoted_id: str) -> tuple[FleetPart, Client]:
        try:
            client_id = unquote_to_bytes(quoted_id).decode()
        except UnicodeDecodeError:
            allowed = "a client ID in UTF-8, percent-encoded"
            raise ProblemError.of_parameter("client_id", quoted_id, allowed) from None
        found = self._parts.find(client_id)
        if found is None:
            partitions = partitions_answer(self._parts, shown=True)
            raise unknown_client(client_id, partitions, self._sources.partition_of)
        return found

    async def _get_summary(self, request: web.Request) -> web.Response:
        check_query(request.query)
        return _respond(request, self._summary())

    def _summary(self) -> answers.Summary:
        sources = self._sources
        return summary_answer(
            self._fleets(),
            partitions_answer(self._parts, shown=sources.may_show()),
            sources.reconciler(),
            sources.readiness(),
            sources.clocks.wall(),
        )

    def _fleets(self) -> list[Fleet]:
        """Return the fleets that may be shown now."""
        return [part.fleet for part in self._parts] if self._sources.may_show() else []

    async def _get_overview(self, request: web.Request) -> web.Response:
        check_query(request.query)
        self._check_shown()
        breakdown = await self._offline.get()
        self._check_shown()
        now = self._sources.clocks.wall()
        self._daemon.update(self._sources.readiness(), now)
        answer = overview_answer(
            self._summary(),
            self._daemon,
            self.activity.trend,
            self._offline.by_reason(),
            breakdown,
            standout_devices(self._parts, now),
            certificate_answers(self._sources.certificate_expiry(), now),
            now,
        )
        return _respond(request, answer)

    async def _get_recent(self, request: web.Request) -> web.Response:
        wanted = recent_request(request.query)
        self._check_shown()
        async with self._scheduler.turn() as turn:
            answer = await recent_answer(self.activity, self._fleets(), wanted, turn)
        # Other workers may have got partitions meanwhile.
        self._check_shown()
        return _respond(request, answer)

    async def _get_flapping(self, request: web.Request) -> web.Response:
        check_query(request.query)
        self._check_shown()
        return _respond(request, flapping_answer(self._parts, self._sources.clocks.wall()))

    async def _get_events(self, request: web.Request) -> web.StreamResponse:
        self._check_shown()
        return await serve_events(request, self._hub)

    async def _get_document(self, request: web.Request) -> web.Response:
        check_query(request.query)
        return _respond(request, self._openapi)

    def _check_shown(self) -> None:
        if not self._sources.may_show():
            raise not_shown()

    def _publish(self, fleet: Fleet, changes: Sequence[ClientChange]) -> None:
        if not self._sources.may_show():
            self._hub.skip(len(changes))
            return
        self.activity.observe(fleet, changes)
        for change in changes:
            if change.transition is not None:
                self._hub.publish(change.transition)


def _respond(request: web.Request, answer: Any) -> web.Response:
    content_type = negotiate_type(request, "application/json")
    body = msgspec.json.encode(answer)
    return web.Response(body=body, content_type=content_type, headers=HEADERS)
