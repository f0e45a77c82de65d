"""Workers of a group on a real broker: hand-overs, crashes, zombies."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

from kafka_server import Kafka
from kafka_worker import KafkaWorker
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.partition import OwnedPartition, Unwritten
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.kafka.transactions import TransactionCounts, TransactionWriter, Work
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.loop import Clocks
from waiting import wait_for

PARTITIONS = 6
DELAY = 1
"""The offline delay, in seconds."""


class Group:
    """Topics of their own, and workers on them."""

    def __init__(self, kafka: Kafka, directory: Path) -> None:
        self.kafka = kafka
        self.topic = f"events-{uuid4().hex[:8]}"
        self.workers: list[KafkaWorker] = []
        self.versions: dict[str, int] = {}
        self._directory = directory
        self._producer = Producer(
            {"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"}
        )
        for name, partitions in ((self.topic, PARTITIONS), (f"{self.topic}-global", 1)):
            kafka.create_topic(name, partitions, message_timestamp_type="LogAppendTime")
            kafka.create_topic(f"{name}-state", partitions, cleanup_policy="compact")

    def start(self, **options: Any) -> KafkaWorker:
        kafka = {
            "bootstrap_servers": [self.kafka.bootstrap],
            "security": {"protocol": "PLAINTEXT"},
            "topic": self.topic,
            "state_topic": f"{self.topic}-state",
            "global_topic": f"{self.topic}-global",
            "global_state_topic": f"{self.topic}-global-state",
            "group": self.topic,
            "lease": "3s",
            **options.pop("kafka", {}),
        }
        name = f"worker-{len(self.workers)}"
        worker = KafkaWorker(
            self._directory,
            name,
            kafka=kafka,
            presence={"offline_delay": f"{DELAY}s"},
            **options,
        )
        self.workers.append(worker)
        return worker

    def connect(self, *client_ids: str, connected: bool = True) -> None:
        records = []
        for client_id in client_ids:
            version = self.versions.get(client_id, 0) + connected
            self.versions[client_id] = version
            kind = "connected" if connected else "disconnected"
            event = {
                "clientId": client_id,
                "timestamp": round(time.time() * 1000),
                "eventType": kind,
                "sessionIdentifier": f"s{version}",
                "versionNumber": version,
                "topic": f"$aws/events/presence/{kind}/{client_id}",
            }
            records.append((client_id, json.dumps(event)))
        for client_id, event in records:
            self._producer.produce(self.topic, event, client_id)
        assert self._producer.flush(30) == 0


@pytest.fixture
def group(kafka: Kafka, tmp_path: Path) -> Iterator[Group]:
    made = Group(kafka, tmp_path)
    yield made
    for worker in made.workers:
        worker.kill()


def clients(*answers: dict[str, Any]) -> dict[str, list[Any]]:
    """All clients that workers show; each one once."""
    found: dict[str, list[Any]] = {}
    for answer in answers:
        for shown in answer["shown"].values():
            assert not found.keys() & shown.keys(), "shown by two workers"
            found.update(shown)
    return found


def until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    return wait_for(condition, seconds, what)


def all_shown(*workers: KafkaWorker) -> Callable[[], bool]:
    return lambda: sum(len(worker.ask()["shown"]) for worker in workers) == PARTITIONS


IDS = [f"device-{number}" for number in range(300)]


def everything_shown(*workers: KafkaWorker, versions: dict[str, int]) -> Callable[[], bool]:
    """Whether workers show all clients at these versions."""

    def is_shown() -> bool:
        answers = [worker.ask() for worker in workers]
        if sum(len(answer["shown"]) for answer in answers) < PARTITIONS:
            return False
        return {name: version for name, (_, version, _) in clients(*answers).items()} == versions

    return is_shown


def test_a_worker_applies_events_and_a_later_one_goes_on(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.connect(*IDS)
    until(lambda: len(clients(worker.ask())) == len(IDS), "all clients shown")
    before = worker.ask()
    assert before["problems"] == []
    for number, shown in before["shown"].items():
        assert {partition_of(each.encode(), PARTITIONS) for each in shown} <= {int(number)}
    worker.end()
    other = group.start()
    until(all_shown(other), "all partitions shown by the later worker")
    after = other.ask()
    assert after["shown"] == before["shown"]
    assert after["applied"] == before["applied"]
    assert after["gaps"] == 0


def test_partitions_that_do_not_move_are_shown_all_the_time(group: Group) -> None:
    first = group.start()
    until(all_shown(first), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(first, versions=group.versions), "all clients shown")
    before = first.ask()["shown"]
    second = group.start()
    seen = [first.ask()["shown"]]
    while not second.ask()["shown"] or sum(map(len, (seen[-1], second.ask()["shown"]))) < 6:
        seen.append(first.ask()["shown"])
    stayed = seen[-1].keys()
    assert 0 < len(stayed) < PARTITIONS
    for shown in seen:
        for number in stayed:
            assert shown[number] == before[number]
    moved = second.ask()["shown"]
    assert moved == {number: before[number] for number in before.keys() - stayed}
    assert second.ask()["gaps"] == 0


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_counted_twice(group: Group) -> None:
    random = Random(1)
    workers = [group.start(), group.start()]
    until(all_shown(*workers), "all partitions shown")
    for _ in range(3):
        victim = random.choice(workers)
        for _ in range(4):
            group.connect(*random.sample(IDS, 150))
        victim.kill()
        workers.remove(victim)
        group.connect(*random.sample(IDS, 150))
        workers.append(group.start())
        until(everything_shown(*workers, versions=group.versions), "all shown again", 40)
    answers = [worker.ask() for worker in workers]
    assert sum(sum(answer["applied"].values()) for answer in answers) == 3 * 5 * 150
    assert {state for state, _, _ in clients(*answers).values()} == {"online"}


def test_a_stopped_worker_shows_and_writes_nothing_when_it_wakes(group: Group) -> None:
    zombie = group.start()
    until(all_shown(zombie), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(zombie, versions=group.versions), "all clients shown")
    zombie.send(signal.SIGSTOP)
    other = group.start()
    group.connect(*IDS)
    until(everything_shown(other, versions=group.versions), "shown by the other worker", 40)
    before = other.ask()
    zombie.send(signal.SIGCONT)
    asked = [zombie.ask()]
    while zombie.ask()["problems"] or not asked[-1]["shown"]:
        asked.append(zombie.ask())
        taken_over = asked[-1]["shown"].items()
        assert all(before["shown"][number] == shown for number, shown in taken_over)
    assert asked[0]["shown"] == {}
    until(everything_shown(zombie, other, versions=group.versions), "all clients shown")
    applied = [sum(worker.ask()["applied"].values()) for worker in (zombie, other)]
    assert sum(applied) == 2 * len(IDS)


def test_a_client_that_comes_back_during_a_standstill_does_not_go_offline(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(worker, versions=group.versions), "all clients shown")
    worker.send(signal.SIGSTOP)
    left_at = time.time()
    group.connect(*IDS, connected=False)
    gone_at = time.time()
    group.connect(*IDS[::2])
    until(lambda: time.time() > gone_at + DELAY, "all deadlines are over in the standstill")
    worker.send(signal.SIGCONT)

    def settled() -> bool:
        shown = clients(worker.ask())
        states = [shown[each][0] for each in IDS if each in shown]
        assert "offline" not in states[::2]
        return states.count("offline") == len(IDS) // 2

    until(settled, "those that stayed away offline")
    shown = clients(worker.ask())
    # A broker dates events by the millisecond.
    assert all(left_at - 0.001 <= shown[each][2] <= gone_at for each in IDS[1::2])
    assert all(shown[each][2] < left_at for each in IDS[::2]), "they have not been offline"


def test_a_producer_that_is_fenced_is_replaced_and_its_rows_are_written(group: Group) -> None:
    worker = group.start(kafka={"instance_id": "one"})
    until(all_shown(worker), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(worker, versions=group.versions), "all clients shown")
    intruder = Producer(
        {"bootstrap.servers": group.kafka.bootstrap, "transactional.id": f"{group.topic}-one"}
    )
    intruder.init_transactions(30)
    group.connect(*IDS)
    until(lambda: worker.ask()["failures"].get("replaced"), "fenced by the intruder")
    until(lambda: not worker.ask()["warnings"], "committed again")
    assert len(worker.ask()["shown"]) == PARTITIONS, "it still owns them"
    until(everything_shown(worker, versions=group.versions), "all clients shown")
    before = worker.ask()
    worker.end()
    other = group.start(kafka={"instance_id": "one"})
    until(all_shown(other), "all partitions shown by the later worker")
    assert other.ask()["shown"] == before["shown"]
    assert other.ask()["applied"] == before["applied"]


def test_events_that_were_deleted_before_they_were_read_are_a_gap(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(worker, versions=group.versions), "all clients shown")
    worker.end()
    group.connect(*IDS)
    places = [TopicPartition(group.topic, number, OFFSET_END) for number in range(PARTITIONS)]
    for done in group.kafka.admin.delete_records(places).values():
        done.result(30)
    group.connect(*IDS)
    other = group.start()
    until(everything_shown(other, versions=group.versions), "all clients shown")
    assert other.ask()["gaps"] == PARTITIONS
    until(lambda: other.ask()["problems"] == [], "ready")
    assert set(other.ask()["lag"].values()) == {0}


def test_positions_that_the_group_has_forgotten_are_in_the_state(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(worker, versions=group.versions), "all clients shown")
    worker.end()
    group.kafka.admin.delete_consumer_groups([group.topic])[group.topic].result(30)
    other = group.start()
    until(everything_shown(other, versions=group.versions), "all clients shown")
    assert other.ask()["gaps"] == 0


def test_a_missing_topic_is_a_problem_until_it_exists(group: Group) -> None:
    worker = group.start(kafka={"state_topic": "other"})
    until(lambda: "the topic other does not exist" in str(worker.ask()["problems"]), "told")
    assert worker.ask()["shown"] == {}


def test_a_topic_that_is_deleted_is_a_problem_until_it_is_created_again(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.kafka.admin.delete_topics([group.topic])[group.topic].result(30)
    until(lambda: "`presenced kafka create-topics`" in str(worker.ask()["problems"]), "told")
    group.kafka.create_topic(group.topic, PARTITIONS, message_timestamp_type="LogAppendTime")
    until(lambda: worker.ask()["problems"] == [], "ready again")
    until(all_shown(worker), "all partitions shown again")


def test_brokers_that_are_away_are_told_once(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.kafka.stop()
    try:
        until(lambda: "partitions are hidden" in worker.log, "hidden")
        until(lambda: "global topics" in str(worker.ask()["problems"]), "global topics", 40)
        problems = worker.ask()["problems"]
    finally:
        group.kafka.start()
    assert "\n".join(problems).count("refused the TCP connection") == 1
    assert "end offsets, global topics: the broker at" in problems[0]
    until(all_shown(worker), "all partitions shown again", 40)
    until(lambda: "partitions are shown again" in worker.log, "logged")


@pytest.mark.parametrize("state_too", [False, True])
def test_a_topic_with_more_partitions_is_shown_no_more(group: Group, state_too: bool) -> None:
    workers = [group.start(), group.start()]
    until(all_shown(*workers), "all partitions shown")
    group.connect(*IDS)
    until(everything_shown(*workers, versions=group.versions), "all clients shown")
    if state_too:
        group.kafka.add_partitions(f"{group.topic}-state", PARTITIONS + 2)
    group.kafka.add_partitions(group.topic, PARTITIONS + 2)

    def has_left(worker: KafkaWorker) -> bool:
        answer = worker.ask()
        assert all(int(number) < PARTITIONS for number in answer["shown"])
        told = f"has {PARTITIONS + 2} partitions instead of {PARTITIONS}" in str(answer["problems"])
        return told and not answer["shown"]

    for worker in workers:
        until(lambda worker=worker: has_left(worker), "told", 40)
    assert workers[0].ask()["partitions"] == PARTITIONS
    assert "Name new topics" in str(workers[0].ask()["problems"])


def test_a_global_topic_with_more_partitions_is_refused(group: Group) -> None:
    worker = group.start()
    until(all_shown(worker), "all partitions shown")
    group.kafka.add_partitions(f"{group.topic}-global", 2)
    until(lambda: "has 2 partitions instead of 1" in str(worker.ask()["problems"]), "told", 40)
    assert worker.ask()["shown"] == {}


def test_the_lease_is_no_longer_than_the_session_of_the_group(group: Group) -> None:
    worker = group.start(kafka={"lease": "30s"})
    until(all_shown(worker), "all partitions shown")
    (warning,) = worker.ask()["warnings"]
    assert "kafka.lease is 30s" in warning
    assert "after 6s without a heartbeat" in warning
    assert worker.ask()["lease"] == 5.5
    group.kafka.configure_group(group.topic, "consumer.session.timeout.ms", "9000")
    until(lambda: worker.ask()["lease"] == 8.5, "the lease follows the group", 30)
    group.kafka.configure_group(group.topic, "consumer.session.timeout.ms", "40000")
    until(lambda: worker.ask()["warnings"] == [], "no warning", 30)
    assert worker.ask()["lease"] == 30


@pytest.mark.parametrize(
    "broker",
    [
        {"settings": {"group.coordinator.rebalance.protocols": "classic"}},
        {"jars": "kafka-3.9"},
        {"jars": "kafka-3.6"},
    ],
    ids=["told not to use it", "3.9", "3.6"],
)
def test_brokers_without_the_new_protocol_get_the_classic_one(
    kafka_of: Any, tmp_path: Path, broker: dict[str, Any]
) -> None:
    group = Group(kafka_of(**broker), tmp_path)
    try:
        first = group.start()
        until(all_shown(first), "all partitions shown", 40)
        group.connect(*IDS)
        until(everything_shown(first, versions=group.versions), "all clients shown")
        second = group.start()
        until(lambda: second.ask()["shown"], "shown by the second worker", 40)
        group.connect(*IDS)
        until(everything_shown(first, second, versions=group.versions), "shown by both")
        first.kill()
        group.connect(*IDS)
        until(everything_shown(second, versions=group.versions), "shown by the survivor", 40)
        assert sum(second.ask()["applied"].values()) == 3 * len(IDS)
    finally:
        for worker in group.workers:
            worker.kill()


def test_a_worker_that_the_group_has_expelled_has_no_lease(kafka: Kafka) -> None:
    topic = f"events-{uuid4().hex[:8]}"
    for name in (topic, f"{topic}-state"):
        kafka.create_topic(name)
    server = {"bootstrap.servers": kafka.bootstrap}
    member = Consumer(server | {"group.id": topic, "group.protocol": "consumer"})
    member.subscribe([topic])
    until(lambda: member.consume(1, 0.1) or member.assignment(), "a partition")
    membership = member.consumer_group_metadata()
    lease, counts = Lease(60), TransactionCounts()
    partition = OwnedPartition(0, Clocks(time.monotonic, time.time))

    class Rows:
        """A row for each transaction."""

        has_backlog = False

        def take(self) -> Work:
            return Work([(partition, Unwritten({b'["row"]': b"1"}, 0))], {}, None)

        def written(self, work: Work) -> None: ...

        def failed(self, work: Work) -> None: ...

    writer = TransactionWriter(
        server | {"transactional.id": topic},
        WorkerTopics(topic, f"{topic}-state", "", ""),
        lambda: membership,
        Rows(),
        lease,
        counts,
    )
    writer.start()
    until(lambda: lease.is_valid, "a commit")
    member.close()
    until(lambda: not lease.is_valid, "the end of the lease")
    assert counts.failures["fenced"]
    writer.stop()
    assert writer.join(30)
