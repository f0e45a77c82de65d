"""Workers that ask AWS: snapshots through the topic of events, lookups by the owner of a client."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition

from emulator_aws import Fleet as Account
from emulator_aws import in_thread
from kafka_fleet import View, Worker
from kafka_server import Kafka
from presenced.sources.kafka.partitioner import partition_of
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue
from waiting import wait_for
from worker_group import WorkerGroup

PARTITIONS = 6
HEADERS = {"presenced": b"1"}


class Group(WorkerGroup):
    """Workers that ask an emulated account."""

    def __init__(self, kafka: Kafka, directory: Path, server: AwsServer, account: Account) -> None:
        super().__init__(
            kafka,
            directory,
            PARTITIONS,
            presence={"offline_delay": "1s", "timestamp_accuracy": "1s"},
            aws={"region": "eu-west-1", "iot_url": server.http_url, "data_url": server.http_url},
            reconcile={"enabled": True},
        )
        self.server = server
        self.account = account

    @property
    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.running]

    @property
    def shown(self) -> Counter[tuple[str, int, bool]]:
        """How often the workers show each client in a partition, connected or not."""
        views = [worker.view() or View() for worker in self.running]
        return Counter(
            (client_id, partition, connected)
            for view in views
            for client_id, (partition, connected) in view.connected.items()
        )

    def have_shares(self) -> bool:
        """Whether the workers have all partitions, each some of them, and each partition once."""
        owned = [(worker.view() or View()).partitions for worker in self.running]
        every = sorted(number for each in owned for number in each) == list(range(PARTITIONS))
        return every and all(owned) and all(worker.ready for worker in self.running)

    def owner_of(self, partition: int) -> Worker:
        """The worker that shows a partition."""
        (owner,) = (
            worker for worker in self.running if partition in (worker.view() or View()).partitions
        )
        return owner

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all workers and all other labels."""
        return sum(
            value
            for worker in self.running
            for (sample, has), value in worker.scrape().items()
            if sample == name and has >= frozenset(labels.items())
        )

    def searches(self) -> int:
        """How many pages the account has answered."""
        return sum(1 for each in self.server.requests if each.operation == "SearchIndex")

    def flap(self, *client_ids: str) -> None:
        """Let clients connect, disconnect, and connect again by an event that is lost."""
        self.account.now = time.time()
        for client_id in client_ids:
            self.account.connect(client_id)
        self.publisher.report(*client_ids, connected=True)
        self.publisher.report(*client_ids, connected=False)

    def write(self, record: dict[str, Any], **place: Any) -> None:
        """Write a record as a worker does."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        headers: Any = place.pop("headers", HEADERS)
        failed: list[object] = []
        producer.produce(
            self.section["topic"],
            json.dumps(record),
            headers=headers,
            on_delivery=lambda error, _: failed.append(error),
            **place,
        )
        assert producer.flush(30) == 0
        assert failed == [None]

    def settle_in_the_past(self) -> Worker:
        """Prepare the first worker, after a snapshot that settled an hour ago."""
        worker = self.prepare()
        began = time.time() - 3600
        record = {
            "record": "end",
            "snapshot": round(began * 1000),
            "ended": began + 1,
            "things": 0,
            "settled": True,
        }
        for partition in range(PARTITIONS):
            self.write(record, partition=partition)
        return worker


@pytest.fixture
def group(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    account = Account()
    account.now = time.time() - 600
    tls = issue(tmp_path).aws
    with in_thread(AwsServer(account.account, tls, seed=1)) as server:
        credentials = server.issue("presenced-role")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
        monkeypatch.setenv("AWS_SESSION_TOKEN", credentials.session_token)
        made = Group(kafka, tmp_path, server, account)
        try:
            yield made
        finally:
            made.stop()


def partition_of_name(name: str) -> int:
    return partition_of(name.encode(), PARTITIONS)


def clients_of_every_partition(prefix: str, each: int = 1) -> list[str]:
    """So many client IDs of each partition."""
    left = Counter(dict.fromkeys(range(PARTITIONS), each))
    names = []
    for name in (f"{prefix}-{number}" for number in count()):
        if not left.total():
            return names
        if left[partition_of_name(name)]:
            left[partition_of_name(name)] -= 1
            names.append(name)
    raise AssertionError


def pumps(account: Account, count: int) -> set[tuple[str, int, bool]]:
    """Things of which every third one is offline, and how they must be shown."""
    account.account.registry.create_group("hall", account.now, attributes={})
    expected = set()
    for number in range(count):
        name = f"pump-{number}"
        account.create(name, thing_type="pump")
        account.account.registry.regroup(name, account.now, into="hall")
        account.connect(name)
        if number % 3 == 0:
            account.disconnect(name)
        expected.add((name, partition_of_name(name), number % 3 != 0))
    return expected


def test_a_cold_start_of_two_workers_learns_the_fleet_by_one_snapshot(group: Group) -> None:
    expected = pumps(group.account, 60)
    group.start()
    group.start()
    wait_for(group.have_shares, 60, "both workers have a share")
    wait_for(lambda: group.shown == Counter(expected), 60, "every client in its partition, once")
    assert group.total("iot_clients_adopted_total") == 60
    assert group.total("iot_clients_adopted_total", state="online") == 40
    wait_for(lambda: not group.total("iot_clients_unverified"), 60, "settled by the second one")
    for worker in group.running:
        assert worker.value("iot_thing_types") == 1
        assert worker.value("iot_thing_groups") == 1
    assert group.total("iot_thing_type_clients", thing_type="pump", state="online") == 40
    assert group.total("iot_thing_group_clients", thing_group="hall", state="online") == 40
    assert group.searches() == 2, "one provisional and one settling snapshot of one page"

    taker = group.owner_of(0)
    assert taker.value("presenced_aws_snapshot_things") == 60
    taken_at = taker.value("presenced_aws_last_snapshot_timestamp_seconds")
    taker.signal(signal.SIGTERM)
    assert taker.wait(30) == 0
    wait_for(group.have_shares, 60, "the other worker has all")
    (other,) = group.running
    assert other.value("presenced_aws_last_snapshot_timestamp_seconds") == pytest.approx(taken_at)
    assert group.shown == Counter(expected)
    assert group.searches() == 2, "the next snapshot is not due"


def test_the_next_owner_completes_a_snapshot_that_was_cut_off(group: Group) -> None:
    expected = pumps(group.account, 450)
    group.start(reconcile={"enabled": True, "searches_per_second": 1})
    group.start(reconcile={"enabled": True, "searches_per_second": 1})
    wait_for(lambda: group.searches() >= 2, 60, "the first pages")
    wait_for(lambda: any(0 in (w.view() or View()).partitions for w in group.running), 60, "taken")
    taker = group.owner_of(0)
    taker.signal(signal.SIGKILL)
    taker.wait(30)
    assert not any("snapshot of AWS's record taken" in str(line) for line in taker.log)
    wait_for(group.have_shares, 90, "the other worker has all")
    wait_for(lambda: group.shown == Counter(expected), 90, "every client, once")
    (other,) = group.running
    wait_for(lambda: other.value("presenced_aws_snapshot_things") == 450, 60, "completed")


def test_each_owner_asks_before_its_clients_go_offline(group: Group) -> None:
    group.settle_in_the_past().start()
    group.start()
    wait_for(group.have_shares, 60, "both workers have a share")
    prevented = "iot_client_offline_prevented_total"
    flapped: list[str] = []

    def decided() -> bool:
        offline = group.total("iot_client_transitions_total", to="offline")
        return group.total(prevented) + offline == len(flapped)

    # A slow machine may have no answer within the two seconds that a client waits.
    for attempt in range(10):
        names = clients_of_every_partition(f"client-{attempt}")
        group.flap(*names)
        flapped += names
        wait_for(decided, 60, "every client looked up or given up")
        if all(group.total(prevented, partition=str(n)) for n in range(PARTITIONS)):
            break
    assert all(group.total(prevented, partition=str(n)) for n in range(PARTITIONS))
    asked = [
        worker.value("presenced_aws_requests_total", operation="GetConnection", result="ok")
        for worker in group.workers
    ]
    assert all(asked), "each worker asks about its own clients"
    wait_for(lambda: sum(c for _, _, c in group.shown) == len(flapped), 60, "all are online")
    assert group.searches() == 0, "the last snapshot is less than six hours old"


def test_a_gap_in_any_partition_leads_to_a_snapshot(group: Group) -> None:
    group.settle_in_the_past().start()
    group.start()
    wait_for(group.have_shares, 60, "both workers have a share")
    taker = group.owner_of(0)
    (other,) = (worker for worker in group.workers if worker is not taker)
    owned = (other.view() or View()).partitions
    names = [n for n in clients_of_every_partition("pump", 4) if partition_of_name(n) in owned]
    group.account.now = time.time()
    for name in names:
        group.account.create(name)
        group.account.connect(name)
    group.publisher.report(*names, connected=True)
    wait_for(lambda: len((other.view() or View()).connected) == len(names), 30, "clients shown")
    assert group.searches() == 0
    other.pause()
    # What a fetch waits for is received, though the worker hangs.
    group.publisher.report(*names, connected=True)
    group.account.now = time.time()
    for name in names[::2]:
        group.account.disconnect(name)
    group.publisher.report(*names[::2], connected=False)
    topic = group.section["topic"]
    places = [TopicPartition(topic, number, OFFSET_END) for number in sorted(owned)]
    for done in group.kafka.admin.delete_records(places).values():
        done.result(30)
    other.resume()
    wait_for(lambda: group.searches() == 2, 60, "a provisional and a settling snapshot")
    assert taker.value("presenced_aws_requests_total", operation="SearchIndex", result="ok") == 2
    expected = Counter((n, partition_of_name(n), n not in names[::2]) for n in names)
    wait_for(lambda: group.shown == expected, 60, "what was lost is corrected")
    wait_for(lambda: not group.total("iot_clients_unverified"), 30, "settled")
    assert group.total("iot_client_corrections_total", to="offline") == len(names[::2])


def test_records_that_no_worker_has_written_are_counted_and_do_no_harm(group: Group) -> None:
    group.settle_in_the_past().start()
    wait_for(group.have_shares, 60, "it has all")
    row = {"record": "row", "snapshot": 1, "asked": 1, "name": "a", "connected": True}
    right = partition_of_name("a")
    group.write(row | {"asked": "x"}, partition=right)
    group.write(row, partition=(right + 1) % PARTITIONS)
    group.write({"record": "other"}, partition=right)
    topic = "$aws/events/presence/connected/b"
    event = {"eventType": "connected", "clientId": "b", "versionNumber": 1, "topic": topic}
    group.write(event | {"timestamp": round(time.time() * 1000)}, key="b")  # a rule's, by its topic
    group.write(row, partition=right, headers={})  # without topic and header
    wait_for(lambda: "b" in (group.workers[0].view() or View()).connected, 30, "the event counts")
    rejected = "iot_events_rejected_total"
    wait_for(lambda: group.total(rejected) == 4, 30, "the others are counted")
    assert "a" not in (group.workers[0].view() or View()).connected
    group.write(row, key="a", partition=right)
    wait_for(lambda: "a" in (group.workers[0].view() or View()).connected, 30, "a row of a worker")
