"""Snapshots and lookups against the emulated operations of AWS, over HTTP."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from emulator_aws import Fleet as EmulatedFleet
from presenced.aws.fleet_target import FleetTarget
from presenced.aws.reconciler import Reconciler
from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.pipeline import Batch, Pipeline
from presenced.presence import OrderingRules, PresenceRules, State
from presenced.presence.name_patterns import ClientFilter
from presenced.presence.record import Row
from presenced.service.delivery import Delivery
from presenced.settings import load_settings
from presenced.system.loop import Clocks
from presenced.system.supervision import Readiness
from presenced.web.api.answer_builder import summary_answer
from presenced.web.api.answers import Aws
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue
from registries import thing

T = 1.0
DEADLINE = 20.0


class Stage:
    """An account and its server, and the part of the daemon that asks it."""

    def __init__(
        self, account: EmulatedFleet, server: AwsServer, path: Path, **keys: object
    ) -> None:
        self.account = account
        self.server = server
        settings = {
            "mqtt": {"endpoint": "localhost", "transport": "aiomqtt", "tls": False},
            "aws": {
                "region": "eu-west-1",
                "iot_url": server.http_url,
                "data_url": server.http_url,
            },
            "reconcile": {"enabled": True, "searches_per_second": 1000, **keys},
        }
        path.write_text(json.dumps(settings))
        self.settings = load_settings(path)
        rules = PresenceRules(
            offline_delay=0.3, ordering=OrderingRules(timestamp_accuracy=round(T * 1000))
        )
        self.ahead = 0.0
        clocks = Clocks(lambda: time.monotonic() + self.ahead, time.time)
        self.fleet = Fleet(rules, ClientFilter(["presenced"]))
        self.pipeline = Pipeline(self.fleet)
        self.delivery = Delivery(self.pipeline, lambda: math.inf, None, clocks)
        self.is_up = True
        self.reconciler = Reconciler(self.settings, clocks)
        target = FleetTarget(self.fleet, self.delivery, lambda: self.is_up, clocks)
        self.reconciler.take_snapshots(target)
        lookups = self.reconciler.look_up(self.fleet, self.delivery)
        self.pipeline.observers += [target, lookups]

    def receive(self, kind: str, client_id: str, version: int = 1) -> None:
        payload = {
            "clientId": client_id,
            "timestamp": round(time.time() * 1000),
            "eventType": kind,
            "sessionIdentifier": f"s{version}",
            "versionNumber": version,
        }
        if kind == "disconnected":
            payload["disconnectReason"] = "CONNECTION_LOST"
        message = Message(
            f"$aws/events/presence/{kind}/{client_id}",
            json.dumps(payload).encode(),
            1,
            time.time(),
            time.monotonic(),
        )
        self.delivery.inbox.put(message)

    def state(self, client_id: str) -> State | None:
        client = self.fleet.presence.clients.get(client_id)
        return client and client.state

    def shown(self) -> Aws:
        """What the API tells of the requests to AWS."""
        ready = Readiness(ready=True, text="ready")
        answer = summary_answer([self.fleet], None, self.reconciler, ready, time.time())
        assert answer.aws is not None
        return answer.aws

    def is_verified(self, client_id: str) -> bool:
        return not self.fleet.presence.is_unverified(self.fleet.presence.clients[client_id])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    return issue(tmp_path_factory.mktemp("certificates")).aws


@pytest.fixture
def play(tls: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a scenario with a stage; `before` fills the account."""

    def run(
        before: Callable[[EmulatedFleet], None],
        scenario: Callable[[Stage], Awaitable[None]],
        **keys: object,
    ) -> None:
        async def main() -> None:
            account = EmulatedFleet()
            account.now = time.time() - 600
            before(account)
            account.now = time.time()
            async with AwsServer(account.account, tls, seed=1) as server:
                credentials = server.issue("presenced-role")
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key_id)
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
                monkeypatch.setenv("AWS_SESSION_TOKEN", credentials.session_token)
                stage = Stage(account, server, tmp_path / "presenced.yaml", **keys)
                stage.reconciler.start()
                try:
                    await scenario(stage)
                finally:
                    await stage.reconciler.stop()

        asyncio.run(main())

    return run


def some_things(account: EmulatedFleet) -> None:
    registry = account.account.registry
    registry.create_group("site", account.now, attributes={})
    registry.create_group("hall", account.now, parent="site", attributes={})
    for number in range(250):
        account.create(f"pump-{number}", thing_type="pump", billing_group="money")
        registry.regroup(f"pump-{number}", account.now, into="hall")
        account.account.update([f"pump-{number}"], account.now)
    for number in range(200):
        account.connect(f"pump-{number}")
    account.now += 60
    for number in range(100, 200):
        account.disconnect(f"pump-{number}")
    account.create("presenced")
    account.connect("presenced")


def test_a_snapshot_tells_who_is_online_at_the_first_start(play: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        counts = stage.fleet.presence.counts
        await until(lambda: stage.reconciler.snapshots.completed_at)
        assert counts.clients[State.ONLINE] == 100
        assert counts.clients[State.OFFLINE] == 100
        assert counts.clients[State.UNKNOWN] == 50
        assert stage.state("presenced") is None, "the daemon's own client"
        assert sum(counts.transitions.values()) == 0
        assert sum(counts.offline_duration.buckets) == 0
        assert counts.adopted[State.ONLINE] == 100
        offline = stage.fleet.presence.clients["pump-100"]
        assert offline.reason == "CONNECTION_LOST"
        assert offline.since == pytest.approx(time.time() - 540, abs=30)
        assert counts.unverified_connected == 100, "the first one is provisional"
        await until(lambda: counts.unverified_connected == 0)
        assert stage.reconciler.snapshots.things == 251
        types = dict(stage.fleet.thing_counts.types.samples(["pump"]))
        assert types["pump", "online"] == 100
        groups = dict(stage.fleet.thing_counts.groups.samples(["site", "hall", "money"]))
        assert groups["site", "online"] == groups["hall", "online"] == 100
        assert groups["money", "online"] == 0, "a billing group"

    play(some_things, scenario)


class BatchSizes:
    """How many clients each batch has changed."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def observe(self, batch: Batch) -> None:
        self.sizes.append(len({change.client.client_id for change in batch.changes.clients}))


def test_a_page_is_merged_in_small_batches(play: Callable[..., None]) -> None:
    """A hundred rows at once would hold the event loop for more than 20 ms."""

    async def scenario(stage: Stage) -> None:
        batches = BatchSizes()
        stage.pipeline.observers.append(batches)
        await until(lambda: stage.reconciler.snapshots.completed_at)
        assert sum(batches.sizes) >= 250
        assert max(batches.sizes) <= 10

    play(some_things, scenario)


def test_a_connect_that_was_lost_is_found(play: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        stage.receive("connected", "pump")
        stage.receive("disconnected", "pump")
        await until(lambda: stage.state("pump") is State.OFFLINE)
        await until(lambda: stage.reconciler.snapshots.completed_at)
        stage.account.connect("pump")  # and its event is lost
        await until(lambda: stage.state("pump") is State.ONLINE)
        corrections = stage.fleet.presence.counts.corrections
        assert sum(corrections.values()) == 1

    play(lambda account: account.create("pump"), scenario, verify_offline="never")


def test_a_client_that_aws_calls_connected_does_not_go_offline(play: Callable[..., None]) -> None:
    def before(account: EmulatedFleet) -> None:
        account.create("thing")
        account.connect("thing")
        account.connect("backend")

    async def scenario(stage: Stage) -> None:
        counts = stage.fleet.presence.counts
        # Only a thing that the registry is known to have is looked up as one.
        await until(lambda: stage.reconciler.snapshots.completed_at)
        for name in ("thing", "backend"):
            stage.receive("connected", name)
            stage.receive("disconnected", name)
        await until(lambda: counts.offline_prevented == 2)
        assert counts.clients[State.ONLINE] == 2
        assert counts.transitions[State.OFFLINE] == 0
        operations = {request.operation for request in stage.server.requests}
        assert {"GetConnection", "GetThingConnectivityData"} <= operations

    play(before, scenario)


def test_a_client_that_aws_does_not_know_goes_offline(play: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        stage.receive("connected", "stranger")
        stage.receive("disconnected", "stranger")
        await until(lambda: stage.state("stranger") is State.OFFLINE)
        assert not stage.is_verified("stranger")
        assert stage.reconciler.problems == []

    play(lambda _: None, scenario)


@pytest.mark.parametrize("operation", ["SearchIndex", "GetConnection"])
def test_a_refusal_is_a_problem_and_presence_goes_on(
    play: Callable[..., None], operation: str
) -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.faults.denied.add(operation)
        await until(lambda: stage.fleet.presence.lookups or True)
        stage.receive("connected", "client")
        stage.receive("disconnected", "client")
        await until(lambda: stage.state("client") is State.OFFLINE)
        await until(lambda: stage.reconciler.problems)
        (problem,) = stage.reconciler.problems
        assert f"iot:{operation}" in problem
        assert stage.reconciler.counts.requests[operation, "denied"] > 0
        shown = stage.shown()
        assert shown.problems == [problem]
        assert (operation, "denied") in {(e.operation, e.result) for e in shown.failed_requests}

    play(lambda account: account.create("thing"), scenario)


def test_a_snapshot_goes_on_where_it_was_when_the_settings_change(
    play: Callable[..., None],
) -> None:
    """The request that is under way is not lost, and no page is asked for twice."""

    async def scenario(stage: Stage) -> None:
        stage.server.faults.delay = 0.3

        def tokens() -> list[str | None]:
            requests = (each for each in stage.server.requests if each.operation == "SearchIndex")
            return [request.parameters.get("nextToken") for request in requests]

        await until(tokens)
        await asyncio.sleep(0.1)  # the next page is under way
        changed = stage.settings.reconcile.model_copy(update={"searches_per_second": 500.0})
        stage.reconciler.use(stage.settings.model_copy(update={"reconcile": changed}))
        await until(lambda: stage.reconciler.snapshots.completed_at)
        asked = tokens()[:3]
        assert asked[0] is None
        assert len(set(asked)) == 3, "251 things are three pages"
        assert stage.reconciler.snapshots.things == 251
        assert stage.reconciler.problems == []
        assert stage.reconciler.counts.requests["SearchIndex", "failed"] == 0

    play(some_things, scenario)


def test_a_thing_that_two_snapshots_lack_and_aws_does_not_know_is_deleted(
    play: Callable[..., None],
) -> None:
    """Its deletion was lost. A thing that the index does not have yet stays."""

    def before(account: EmulatedFleet) -> None:
        account.account.registry.create_thing("new", account.now, attributes={})

    async def scenario(stage: Stage) -> None:
        stage.fleet.apply_registry(thing("gone", at=1), 0.0)
        stage.fleet.apply_registry(thing("new", at=1), 0.0)
        await until(lambda: "gone" not in stage.fleet.inventory.things.live)
        assert stage.state("gone") is None
        assert stage.state("new") is State.UNKNOWN

    play(before, scenario)


def test_a_page_token_that_aws_no_longer_knows_begins_the_snapshot_anew(
    play: Callable[..., None],
) -> None:
    async def scenario(stage: Stage) -> None:
        def searches() -> list[object]:
            return [
                request.parameters.get("nextToken")
                for request in stage.server.requests
                if request.operation == "SearchIndex"
            ]

        await until(searches)
        stage.server.faults.failing["SearchIndex"] = "InvalidRequestException"
        await until(lambda: stage.reconciler.problems)
        made = len(searches())
        del stage.server.faults.failing["SearchIndex"]
        stage.ahead += 60
        await until(lambda: stage.reconciler.snapshots.completed_at)
        assert searches()[made] is None, "not the refused token"
        assert stage.reconciler.problems == []

    def before(account: EmulatedFleet) -> None:
        for number in range(500):
            account.create(f"pump-{number}")

    play(before, scenario, searches_per_second=10)


def test_an_error_in_presenced_does_not_end_the_snapshots(play: Callable[..., None]) -> None:
    async def scenario(stage: Stage) -> None:
        merge, failures = stage.delivery.merge, []

        def fail(*_: object) -> None:
            failures.append(1)
            raise RuntimeError

        stage.delivery.merge = fail  # type: ignore[method-assign]
        await until(lambda: failures)
        stage.delivery.merge = merge  # type: ignore[method-assign]
        stage.ahead += 60
        await until(lambda: stage.reconciler.snapshots.completed_at)

    play(lambda account: account.create("pump"), scenario)


def test_a_row_that_cannot_be_applied_keeps_no_other_out(play: Callable[..., None]) -> None:
    class Failing(ClientFilter):
        def why_ignored(self, client_id: str) -> str | None:
            if client_id == "a":
                raise RuntimeError
            return None

    async def scenario(stage: Stage) -> None:
        stage.fleet.client_filter = Failing()
        stage.pipeline.merge(
            [
                Row(name, True, round(time.time() * 1000), time.time(), 0, "SearchIndex")
                for name in ("a", "b")
            ],
            [],
            {},
            time.monotonic(),
        )
        assert stage.state("b") is State.ONLINE
        assert stage.pipeline.counts.faults == 1
        stage.fleet.client_filter = ClientFilter()

    play(lambda _: None, scenario)


def test_lookups_beyond_the_limit_of_getconnection_come_later(play: Callable[..., None]) -> None:
    names = [f"client-{number}" for number in range(40)]

    def before(account: EmulatedFleet) -> None:
        for name in names:
            account.connect(name)

    async def scenario(stage: Stage) -> None:
        for name in names:
            stage.fleet.presence.lookups.want(name)
        stage.receive("connected", "other")  # what is wanted is seen with the next batch
        await until(lambda: all(stage.state(name) is State.ONLINE for name in names))

    play(before, scenario, lookups_per_second=200)


def test_a_snapshot_that_confirms_everything_changes_nothing(play: Callable[..., None]) -> None:
    class Changed:
        def __init__(self) -> None:
            self.clients: list[str] = []
            self.things: set[str] = set()

        def observe(self, batch: Batch) -> None:
            self.clients += [change.client.client_id for change in batch.changes.clients]
            self.things |= batch.changes.things

    async def scenario(stage: Stage) -> None:
        await until(lambda: stage.reconciler.snapshots.completed_at)
        first = stage.reconciler.snapshots.completed_at
        await until(lambda: stage.reconciler.snapshots.completed_at != first)
        changed = Changed()
        stage.pipeline.observers.append(changed)
        second = stage.reconciler.snapshots.completed_at
        stage.ahead += 7 * 3600
        await until(lambda: stage.reconciler.snapshots.completed_at != second)
        assert changed.clients == []
        assert changed.things == set()

    play(some_things, scenario)
