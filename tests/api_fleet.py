"""A fleet on a virtual clock, and the API that tells of it."""

import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from fleet_sources import metric_sources
from presenced.aws.fleet_target import FleetTarget
from presenced.aws.reconciler import Reconciler
from presenced.events.message import Message
from presenced.fleet import Fleet, Partition
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.presence.lookups import LookupBudget
from presenced.presence.name_patterns import ClientFilter
from presenced.presence.record import Row
from presenced.service.delivery import Delivery
from presenced.settings import HistorySettings, MetricsSettings, Settings, load_settings
from presenced.sources.gaps import Gaps
from presenced.system.loop import Clocks, CooperativeScheduler
from presenced.system.supervision import Readiness
from presenced.web.api.application import Api, Sources
from presenced.web.api.client_index import ClientIndex
from presenced.web.api.parts import PartSources
from presenced.web.api.problems import ProblemError
from presenced.web.api.stream import Hub
from presenced.web.server import Listener

START = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC."""

Get = Callable[..., Awaitable[tuple[int, Any]]]


def has_room(hub: Hub) -> bool:
    """Whether one more may subscribe."""
    try:
        hub.unsubscribe(hub.subscribe(lambda _: True))
    except ProblemError:
        return False
    return True


def asking_settings(path: Path) -> Settings:
    path.write_text(
        "mqtt: {endpoint: localhost, transport: aiomqtt, tls: false}\n"
        "aws: {region: eu-west-1, iot_url: 'http://127.0.0.1:9', data_url: 'http://127.0.0.1:9'}\n"
        "reconcile: {enabled: true}\n"
    )
    return load_settings(path)


class ApiFleet:
    """Events go in by `hear`, at seconds after the start; `api` answers about what follows.

    `index` are options of the index of clients; `seconds` is the slice of its scheduler. If it is
    `asking`, clients wait for a lookup before they go offline. With `settings` it has a reconciler,
    which is not started.

    A fleet that is `beside` another one is a further partition of the same worker: the API and the
    clock are those of the other one, which has the settings for both. The worker may show its
    partitions while it is `holding`; `partition_of` says where a client belongs, if it is set.
    """

    def __init__(
        self,
        rules: PresenceRules | None = None,
        metrics: dict[str, Any] | None = None,
        index: dict[str, Any] | None = None,
        seconds: float = 0.002,
        *,
        asking: bool = False,
        settings: Settings | None = None,
        partition: Partition | None = None,
        beside: "ApiFleet | None" = None,
        thing_pattern: str | None = None,
        partition_of: Callable[[str], int] | None = None,
        **history: int,
    ) -> None:
        self._time = beside._time if beside else [START]
        self.holding = True
        metrics_settings = MetricsSettings.model_validate(metrics or {})
        pattern = None if thing_pattern is None else re.compile(thing_pattern)
        fleet = Fleet(rules or PresenceRules(), ClientFilter(own=["presenced"]), pattern)
        self.pipeline = Pipeline(fleet)
        self.hold_after = math.inf
        self.presence = fleet.presence
        if asking:
            self.presence.lookups.use("always", LookupBudget(50.0))
        self.partition = partition
        clocks = Clocks(lambda: self.now, lambda: self.now)
        self.gaps = Gaps(fleet.presence, clocks)
        self.readiness = Readiness(ready=True, text="ready")
        self.reconciler: Reconciler | None = None
        self.certificate_expiry: dict[str, float] = {}
        if settings is not None:
            delivery = Delivery(self.pipeline, lambda: math.inf, None, clocks)
            self.reconciler = Reconciler(settings, clocks)
            self.reconciler.take_snapshots(FleetTarget(fleet, delivery, lambda: True, clocks))
            self.reconciler.look_up(fleet, delivery)
        client_metrics = ClientMetrics(fleet, metrics_settings, partition)
        self.view = metric_sources(self.pipeline, client_metrics, lambda: self.now)
        self.hub = beside.hub if beside else Hub()
        scheduler = CooperativeScheduler(seconds)
        self.api = (
            beside.api
            if beside
            else Api(
                Sources(
                    clocks,
                    lambda: self.readiness,
                    lambda: self.reconciler,
                    lambda: self.holding,
                    partition_of,
                    lambda: self.certificate_expiry,
                ),
                metrics_settings,
                HistorySettings.model_validate(history),
                make_index=lambda fleet: ClientIndex(fleet, scheduler, **(index or {})),
                hub=self.hub,
            )
        )
        self.part = self.api.add(
            PartSources(self.pipeline, self.gaps, lambda: self.hold_after, partition)
        )
        self.index = self.part.index
        self.pipeline.observers += [client_metrics, self.part]

    @property
    def now(self) -> float:
        """The time, in epoch seconds."""
        return self._time[0]

    @now.setter
    def now(self, time: float) -> None:
        self._time[0] = time

    def hear(
        self,
        kind: str,
        client_id: str = "a",
        version: int | None = 1,
        *,
        at: float,
        happened: float | None = None,
        **fields: Any,
    ) -> None:
        """Let a client's event come `at` so many seconds; it `happened` just then or before."""
        payload = {
            "clientId": client_id,
            "timestamp": round((START + (at if happened is None else happened)) * 1000),
            **fields,
        }
        if version is not None:
            payload |= {"versionNumber": version, "sessionIdentifier": f"s{version}"}
        family = "subscriptions" if "subscribed" in kind else "presence"
        self.receive(f"{family}/{kind}/{client_id}", payload, at)

    def receive(self, topic: str, payload: dict[str, Any], at: float) -> None:
        """Let any event come."""
        self.wait(at)
        encoded = json.dumps(payload).encode()
        self.pipeline.process(
            [Message(f"$aws/events/{topic}", encoded, 1, self.now, self.now, "presenced")],
            hold_after=self.hold_after,
        )

    def wait(self, until: float) -> None:
        """Let time go by, to so many seconds after the start."""
        self.now = START + until
        self.pipeline.advance(self.now, 0.0, hold_after=self.hold_after)

    def asked(
        self,
        client_id: str,
        *,
        connected: bool,
        since: float,
        at: float,
        operation: str = "SearchIndex",
        **fields: Any,
    ) -> None:
        """Let AWS's record say what a client is, and `since` when; asked and answered at `at`."""
        self.wait(at)
        row = Row(
            client_id,
            connected,
            round((START + since) * 1000),
            self.now,
            self.presence.gap_epoch,
            operation,
            is_answer=operation != "SearchIndex",
            **fields,
        )
        self.pipeline.merge([row], [], {}, self.now)

    def thing(self, name: str, at: float, version: int = 1, **fields: Any) -> None:
        """Let a thing be created, or updated where the version is not 1."""
        operation = "created" if version == 1 else "updated"
        payload = {
            "thingName": name,
            "thingId": name,
            "versionNumber": version,
            "timestamp": round((START + at) * 1000),
            **fields,
        }
        self.receive(f"thing/{name}/{operation}", payload, at)

    def join(self, thing: str, group: str, at: float, operation: str = "added") -> None:
        """Let a thing be put into a group, or taken out."""
        payload = {"timestamp": round((START + at) * 1000), "operation": operation.upper()}
        topic = f"thingGroupMembership/thingGroup/{group}/thing/{thing}/{operation}"
        self.receive(topic, payload, at)

    def nest(self, child: str, parent: str, at: float) -> None:
        """Let a group be put below another."""
        topic = f"thingGroupHierarchy/thingGroup/{parent}/childThingGroup/{child}/added"
        self.receive(topic, {"timestamp": round((START + at) * 1000)}, at)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port of a listener with the API."""
        exposition = Exposition(self.view, process_metrics=False)
        api = self.api.application()
        listener = Listener("127.0.0.1", 0, exposition, lambda: self.readiness, api=api)
        await listener.open()
        try:
            yield listener.port
        finally:
            await listener.close()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Get]:
        """A function that asks the API: path, and method; it returns status and JSON."""
        async with self.listening() as port, aiohttp.ClientSession() as session:

            async def get(path: str, method: str = "GET") -> tuple[int, Any]:
                url = f"http://127.0.0.1:{port}/api/v1{path}"
                target = aiohttp.client.URL(url, encoded=True)
                async with session.request(method, target) as answer:
                    assert answer.headers["Cache-Control"] == "no-store"
                    body = await answer.read()
                    kind = "application/json" if answer.ok else "application/problem+json"
                    assert answer.content_type == kind
                    return answer.status, json.loads(body) if body else None

            yield get
