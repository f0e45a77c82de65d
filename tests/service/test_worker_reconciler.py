"""What a worker asks AWS for its partitions, against the emulated operations over HTTP."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from emulator_aws import Fleet as Account
from presenced.aws.client import AwsClient
from presenced.aws.reconciler import Reconciler
from presenced.aws.snapshot import SnapshotTargetError
from presenced.events.message import Message
from presenced.fleet import Partition
from presenced.presence import State
from presenced.service.shard import Shard
from presenced.service.worker_reconciler import WorkerReconciler
from presenced.settings import load_settings
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.kafka.snapshot_records import (
    GapReport,
    Record,
    SnapshotBegin,
    SnapshotEnd,
    encode,
)
from presenced.system.loop import Clocks
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue
from registries import thing
from waiting import until

PARTITIONS = 4
LOOKUPS = 8


class Topic:
    """The membership of a group, and what is written into its topic, unless `fails` is raised."""

    def __init__(self) -> None:
        self.may_show = True
        self.fails: Exception | None = None
        self.written: list[tuple[Record, int]] = []

    def events_writer(self) -> "Topic":
        return self

    async def write_rows(self, rows: Iterable[tuple[str, bytes]]) -> None:
        raise AssertionError(rows)

    async def write(self, record: Record, partition: int) -> None:
        self.written.append((record, partition))
        if self.fails is not None:
            raise self.fails

    async def write_everywhere(self, record: Record) -> None:
        raise AssertionError(record)


class Worker:
    """The partitions of a worker, without Kafka."""

    def __init__(self, account: Account, server: AwsServer, path: Path) -> None:
        self.account = account
        self.server = server
        settings = {
            "source": "kafka",
            "kafka": {"bootstrap_servers": ["localhost:9093"]},
            "aws": {"region": "eu-west-1", "iot_url": server.http_url, "data_url": server.http_url},
            "reconcile": {"enabled": True, "lookups_per_second": LOOKUPS},
            "presence": {"offline_delay": "100ms", "timestamp_accuracy": "1s"},
        }
        path.write_text(json.dumps(settings))
        self.settings = load_settings(path)
        self.ahead = 0.0
        self.clocks = Clocks(lambda: time.monotonic() + self.ahead, time.time)
        self.topic = Topic()
        self.reconciler = Reconciler(self.settings, self.clocks)
        self.worker = WorkerReconciler(self.reconciler, self.topic, self.clocks)
        self.reconciler.start()

    def open(self, number: int) -> Shard:
        shard = Shard(self.settings, self.clocks, Partition(number, PARTITIONS))
        shard.deliver(lambda: math.inf, None)
        self.worker.open(shard)
        return shard

    def show(self, number: int) -> Shard:
        shard = self.open(number)
        self.worker.begin(shard)
        return shard

    def receive(self, shard: Shard, kind: str, *client_ids: str) -> None:
        for client_id in client_ids:
            payload = {
                "clientId": client_id,
                "timestamp": round(time.time() * 1000),
                "eventType": kind,
                "sessionIdentifier": "s1",
                "versionNumber": 1,
            }
            topic = f"$aws/events/presence/{kind}/{client_id}"
            body = json.dumps(payload).encode()
            shard.delivery.inbox.put(Message(topic, body, 1, time.time(), self.clocks.monotonic()))

    def flap(self, shard: Shard, *client_ids: str) -> None:
        """Let clients connect and disconnect at once."""
        self.receive(shard, "connected", *client_ids)
        self.receive(shard, "disconnected", *client_ids)


def states(shard: Shard) -> list[State]:
    return [client.state for client in shard.fleet.presence.clients.values()]


Scenario = Callable[[Worker], Awaitable[None]]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    return issue(tmp_path_factory.mktemp("certificates")).aws


@pytest.fixture
def play(tls: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(scenario: Scenario) -> None:
        async def main() -> None:
            account = Account()
            account.now = time.time() - 600
            async with AwsServer(account.account, tls, seed=1) as server:
                credentials = server.issue("presenced-role")
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key_id)
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
                monkeypatch.setenv("AWS_SESSION_TOKEN", credentials.session_token)
                worker = Worker(account, server, tmp_path / "presenced.yaml")
                try:
                    await scenario(worker)
                finally:
                    await worker.reconciler.stop()

        asyncio.run(main())

    return run


@pytest.mark.parametrize("owned", [1, 2, 4])
def test_a_worker_makes_its_share_of_the_lookups(play: Callable[..., None], owned: int) -> None:
    async def scenario(worker: Worker) -> None:
        worker.topic.may_show = False  # no snapshots
        shards = [worker.show(number) for number in range(owned)]
        lookups = shards[0].fleet.presence.lookups
        for number in range(40):
            lookups.want(f"c{number}")
        # Half of the budget is left to clients that go offline.
        assert len(lookups.take(worker.clocks.monotonic())) == LOOKUPS * owned / PARTITIONS / 2
        if owned > 1:
            worker.worker.end(shards[-1])
            worker.ahead += 10
            taken = lookups.take(worker.clocks.monotonic())
            assert len(taken) == LOOKUPS * (owned - 1) / PARTITIONS / 2

    play(scenario)


def test_clients_of_a_partition_that_catches_up_are_looked_up_when_it_has(
    play: Callable[..., None],
) -> None:
    async def scenario(worker: Worker) -> None:
        shard = worker.open(1)
        worker.flap(shard, "a")
        await until(lambda: State.OFFLINE in states(shard))
        worker.account.now = time.time()
        worker.account.connect("a")  # an event that is lost
        assert not worker.server.requests
        worker.worker.begin(shard)
        await until(lambda: states(shard) == [State.ONLINE])
        assert shard.fleet.presence.counts.corrections[State.ONLINE, "GetConnection"] == 1

    play(scenario)


def test_lookups_end_when_a_partition_goes(play: Callable[..., None]) -> None:
    async def scenario(worker: Worker) -> None:
        worker.account.connect("a")
        worker.account.connect("b")
        gone, kept = worker.show(1), worker.show(2)
        worker.server.faults.delay = 0.5
        worker.flap(gone, "a")
        worker.flap(kept, "b")
        await until(lambda: not gone.fleet.presence.lookups)
        await until(lambda: states(gone) == states(kept) == [State.PENDING])
        await until(lambda: gone.fleet.presence.lookups.is_awaited("a"))
        worker.worker.end(gone)
        worker.worker.end(gone)
        assert not gone.fleet.presence.lookups.are_made
        await until(lambda: states(kept) == [State.ONLINE])
        assert not gone.fleet.presence.counts.offline_prevented

    play(scenario)


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (SnapshotTargetError("the brokers are away"), "a gap could not be reported"),
        (RuntimeError("a fault"), "a gap could not be reported because of an error in presenced"),
    ],
)
def test_a_gap_is_reported_to_the_owner_of_partition_0_until_it_is_settled(
    play: Callable[..., None], error: Exception, event: str
) -> None:
    async def scenario(worker: Worker) -> None:
        shard = worker.show(3)
        worker.worker.check()
        assert worker.topic.written == []
        worker.topic.fails = error
        shard.fleet.presence.note_gap(at := time.time())
        report = (GapReport(partition=3, at=at), 0)
        worker.worker.check()
        with capture_logs() as logged:
            await until(lambda: worker.topic.written == [report] and logged)
        assert logged[0]["event"].startswith(event)
        worker.topic.fails = None
        worker.worker.check()
        worker.ahead += 60
        worker.worker.check()
        await until(lambda: worker.topic.written == [report, report])
        end_snapshot(worker, shard, began=at + 2)
        worker.ahead += 60
        worker.worker.check()
        await asyncio.sleep(0)
        assert len(worker.topic.written) == 2

    play(scenario)


def end_snapshot(worker: Worker, shard: Shard, *, began: float) -> None:
    """Apply the records of a snapshot without rows."""
    number = round(began * 1000)
    end = SnapshotEnd(snapshot=number, ended=began + 1, things=0, settled=True)
    now = worker.clocks.monotonic()
    messages = [
        Message("", encode(record), 1, began + 1, now, is_snapshot=True)
        for record in (SnapshotBegin(snapshot=number), end)
    ]
    shard.pipeline.process(messages)


def test_a_thing_that_two_snapshots_lack_is_deleted_by_the_owner_of_its_partition(
    play: Callable[..., None],
) -> None:
    async def scenario(worker: Worker) -> None:
        names = [f"pump-{number}" for number in range(8)]
        name, kept = (each for each in names if partition_of(each.encode(), PARTITIONS) == 1)
        worker.account.create(kept)
        shard = worker.show(1)
        for each in (name, kept):
            shard.fleet.apply_registry(thing(each), time.time() - 100)
        for began in (time.time() - 50, time.time() - 40):
            end_snapshot(worker, shard, began=began)
            worker.worker.check()
            await until(lambda: shard.snapshots is not None and shard.snapshots.complete)
        await until(lambda: name not in shard.fleet.inventory.things.live)
        assert kept in shard.fleet.inventory.things.live, "AWS knows it"

    play(scenario)


def test_missing_things_are_deleted_later_after_an_error(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(worker: Worker) -> None:
        name = next(
            each
            for each in (f"pump-{number}" for number in range(8))
            if partition_of(each.encode(), PARTITIONS) == 1
        )
        shard = worker.show(1)
        assert shard.snapshots is not None
        shard.fleet.apply_registry(thing(name), time.time() - 100)
        end_snapshot(worker, shard, began=time.time() - 50)
        worker.worker.check()
        await asyncio.sleep(0.1)
        end_snapshot(worker, shard, began=time.time() - 40)
        client = worker.reconciler.client

        def fail() -> AwsClient:
            raise RuntimeError("a fault")

        monkeypatch.setattr(worker.reconciler, "client", fail)
        with capture_logs() as logged:
            worker.worker.check()
            await until(lambda: logged)
            monkeypatch.setattr(worker.reconciler, "client", client)
            worker.worker.check()
            await asyncio.sleep(0.1)
            assert name in shard.fleet.inventory.things.live, "not at once"
        assert "could not be deleted" in logged[0]["event"]
        assert len(logged) == 1
        worker.ahead += 60
        worker.worker.check()
        await until(lambda: name not in shard.fleet.inventory.things.live)

    play(scenario)
