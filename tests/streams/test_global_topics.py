"""Types and groups of the whole fleet, over workers that each have a part of the things."""

import json
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition

from daemons import Samples
from kafka_fleet import Worker
from kafka_server import Kafka
from presenced_emulator.events import EventMessage
from presenced_emulator.registry import Registry
from waiting import wait_for
from worker_group import WorkerGroup

PARTITIONS, THINGS = 6, 40
HALLS = {"hall-1": "north", "hall-2": "north", "hall-3": "south"}
OF_THINGS = ("thing", "thingTypeAssociation", "thingGroupMembership")
"""The events that an IoT rule keys by the name of the thing; all others are global."""


class Plant(WorkerGroup):
    """A registry whose events are published as IoT rules do it, and the workers that follow it."""

    def __init__(self, kafka: Kafka, directory: Path) -> None:
        super().__init__(kafka, directory, PARTITIONS)
        self.registry = Registry(Random(15))
        self.online: set[str] = set()
        self.jobs = 0
        self._producer = Producer(
            {"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random", "linger.ms": 0}
        )

    def publish(self, messages: Iterable[EventMessage]) -> None:
        for message in messages:
            family = message.topic.split("/")[2]
            of_thing = family in OF_THINGS
            self._produce(
                self.section["topic" if of_thing else "global_topic"],
                message.fields | {"topic": message.topic},
                next(iter(message.things)) if of_thing else None,
            )
        assert self._producer.flush(30) == 0

    def connect(self, name: str) -> None:
        self.online.add(name)
        event = {
            "eventType": "connected",
            "clientId": name,
            "sessionIdentifier": "s1",
            "versionNumber": 1,
            "timestamp": round(time.time() * 1000),
            "topic": f"$aws/events/presence/connected/{name}",
        }
        self._produce(self.section["topic"], event, name)

    def run_job(self) -> None:
        """Cancel a job."""
        self.jobs += 1
        name = f"job-{self.jobs}"
        event = {
            "eventType": "JOB",
            "eventId": name,
            "timestamp": round(time.time()),
            "operation": "canceled",
            "jobId": name,
            "status": "CANCELED",
            "topic": f"$aws/events/job/{name}/canceled",
        }
        self._produce(self.section["global_topic"], event, None)
        assert self._producer.flush(30) == 0

    def _produce(self, topic: str, event: dict[str, object], key: str | None) -> None:
        self._producer.produce(topic, json.dumps(event), key)
        self._producer.poll(0)

    @property
    def truth(self) -> dict[tuple[str, str, str], float]:
        """How many clients each type and group truly has, by state; without zeros."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for name, thing in self.registry.things.items():
            state = "online" if name in self.online else "unknown"
            counts["thing_type", thing.thing_type, state] += 1
            for group in self.registry.groups_of(name):
                counts["thing_group", group, state] += 1
        return dict(counts)

    @property
    def shown(self) -> dict[tuple[str, str, str], float]:
        """What the workers show of that together, each partition once."""
        largest: dict[tuple[str, tuple[str, str, str]], float] = defaultdict(float)
        for name, labels, value in self._samples():
            for kind in ("thing_type", "thing_group"):
                if name == f"iot_{kind}_clients":
                    key = (kind, labels[kind], labels["state"])
                    at = (labels["partition"], key)
                    largest[at] = max(largest[at], value)
        sums: Counter[tuple[str, str, str]] = Counter()
        for (_, key), value in largest.items():
            sums[key] += int(value)
        return dict(+sums)

    def numbers(self, metric: str) -> list[float]:
        """The value of a metric without partition at each worker that shows any partition."""
        return [value for name, _, value in self._samples() if name == metric]

    @property
    def jobs_counted(self) -> float:
        counted = [
            value
            for name, labels, value in self._samples()
            if name == "iot_job_events_total" and labels["operation"] == "canceled"
        ]
        return sum(counted)

    def _samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for worker in self.workers:
            if worker.running:
                samples: Samples = worker.scrape()
                for (name, labels), value in samples.items():
                    yield name, dict(labels), value

    def wait_until_true(self) -> None:
        """Wait until all workers show what is true of types, groups and jobs."""
        groups, types = len(self.registry.groups), len(self.registry.types)

        def differences() -> list[object]:
            alive = sum(worker.running for worker in self.workers)
            wrong: list[object] = [
                (key, self.shown.get(key), self.truth.get(key))
                for key in self.shown.keys() | self.truth.keys()
                if self.shown.get(key) != self.truth.get(key)
            ]
            if (shown := self.numbers("iot_thing_groups")) != [groups] * alive:
                wrong.append(("groups", shown, groups))
            if (shown := self.numbers("iot_thing_types")) != [types] * alive:
                wrong.append(("types", shown, types))
            if self.jobs_counted != self.jobs:
                wrong.append(("jobs", self.jobs_counted, self.jobs))
            return wrong

        deadline = time.monotonic() + 60
        while (wrong := differences()) and time.monotonic() < deadline:
            time.sleep(0.3)
        assert not wrong, [w.get("/-/ready")[1] for w in self.workers if w.running]

    def owner_of_the_first(self) -> Worker:
        """The worker that has partition 0."""
        found: list[Worker] = []

        def is_found() -> bool:
            found[:] = [w for w in self.workers if (v := w.view()) and 0 in v.owned]
            return len(found) == 1

        wait_for(is_found, 30, "an owner of partition 0")
        return found[0]


@pytest.fixture
def plant(kafka: Kafka, tmp_path: Path) -> Iterator[Plant]:
    made = Plant(kafka, tmp_path)
    yield made
    made.stop()


def found(plant: Plant) -> None:
    """Create types and a tree of groups, and things of which every other one is online."""
    registry, now = plant.registry, time.time() - 100
    for kind in ("pump", "valve"):
        plant.publish(registry.create_type(kind, now, searchable=("site",)))
    plant.publish(registry.create_group("plants", now, attributes={}))
    for site in ("north", "south"):
        plant.publish(registry.create_group(site, now, parent="plants", attributes={}))
    for number in range(THINGS):
        name = f"thing-{number}"
        kind = "pump" if number % 3 else "valve"
        plant.publish(registry.create_thing(name, now, thing_type=kind, attributes={}))
        if number % 2:
            plant.connect(name)
    for hall, site in HALLS.items():
        plant.publish(registry.create_group(hall, now, parent=site, attributes={}))
    for number in range(THINGS):
        into = [*HALLS, "south"][number % 4]
        plant.publish(registry.regroup(f"thing-{number}", now, into=into))
    plant.run_job()


def test_groups_are_right_in_every_partition_whoever_owns_the_first(plant: Plant) -> None:
    plant.start()
    plant.start()
    found(plant)
    plant.wait_until_true()

    plant.run_job()
    plant.wait_until_true()
    killed = plant.owner_of_the_first()
    killed.signal(signal.SIGKILL)
    killed.wait(10)
    registry, now = plant.registry, time.time()
    # Meanwhile, with no owner: a group goes, and another one comes with things of it.
    plant.publish(registry.delete_group("hall-1", now))
    plant.publish(registry.create_group("hall-4", now, parent="south", attributes={}))
    for number in range(0, THINGS, 4):
        plant.publish(registry.regroup(f"thing-{number}", now, into="hall-4"))
    plant.run_job()
    plant.wait_until_true()

    plant.start().wait_until_ready()
    killed.start()
    killed.wait_until_ready()
    plant.wait_until_true()
    plant.publish(registry.delete_group("hall-4", time.time()))
    plant.publish(registry.create_type("motor", time.time(), searchable=()))
    plant.run_job()
    plant.wait_until_true()


def test_the_whole_group_restarts_without_applying_anything_twice(plant: Plant) -> None:
    plant.start()
    found(plant)
    plant.wait_until_true()
    (worker,) = plant.workers
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    worker.start()
    worker.wait_until_ready()
    plant.run_job()
    plant.wait_until_true()


def test_events_that_the_global_topic_no_longer_has_are_a_gap(kafka: Kafka, plant: Plant) -> None:
    plant.start()
    found(plant)
    plant.wait_until_true()
    (worker,) = plant.workers
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    lost = plant.jobs
    plant.run_job()
    place = TopicPartition(plant.section["global_topic"], 0, OFFSET_END)
    kafka.admin.delete_records([place])[place].result(30)
    worker.start()
    worker.wait_until_ready()
    labels = {"partition": "0", "reason": "offset_out_of_range"}
    key = ("presenced_gaps_total", frozenset(labels.items()))
    wait_for(lambda: worker.scrape().get(key) == 1, 30, "the gap")
    plant.run_job()
    wait_for(lambda: plant.jobs_counted == lost + 1, 30, "the events after the gap")


def test_a_transaction_that_never_ends_holds_no_events_back(kafka: Kafka, plant: Plant) -> None:
    worker = plant.start()
    found(plant)
    plant.wait_until_true()
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    group, server = plant.section["group"], {"bootstrap.servers": kafka.bootstrap}
    hanging = Producer(
        server | {"transactional.id": f"{group}-x", "transaction.timeout.ms": 300000}
    )
    hanging.init_transactions(30)
    hanging.begin_transaction()
    topic = plant.section["topic"]
    positions = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
    positions.append(TopicPartition(plant.section["global_topic"], 0, 0))
    tool = Consumer(server | {"group.id": group})
    hanging.send_offsets_to_transaction(positions, tool.consumer_group_metadata(), 30)
    try:
        worker.start()
        worker.wait_until_ready()
        plant.publish(plant.registry.create_type("motor", time.time(), searchable=()))
        plant.run_job()
        plant.wait_until_true()
    finally:
        hanging.abort_transaction(30)
        tool.close()


def test_groups_arrive_after_the_broker_has_crashed(kafka_of: Any, tmp_path: Path) -> None:
    kafka = kafka_of()
    plant = Plant(kafka, tmp_path)
    try:
        plant.start()
        found(plant)
        plant.wait_until_true()
        kafka.kill()
        kafka.start()
        plant.publish(
            plant.registry.create_group("yard", time.time(), parent="north", attributes={})
        )
        plant.publish(plant.registry.regroup("thing-1", time.time(), into="yard"))
        plant.run_job()
        plant.wait_until_true()
    finally:
        plant.stop()


def create_anew(kafka: Kafka, topic: str) -> None:
    kafka.delete_topic(topic)
    kafka.create_topic(topic, cleanup_policy="compact")


def keys(kafka: Kafka, topic: str) -> set[bytes | None]:
    try:
        return {key for key, value in kafka.records(topic) if value is not None}
    except KafkaException:
        return set()  # the broker does not know a new topic at once


def test_a_global_state_topic_that_is_created_anew_gets_all_types_and_groups(
    kafka: Kafka, plant: Plant
) -> None:
    first = plant.start()
    found(plant)
    plant.wait_until_true()
    topic = plant.section["global_state_topic"]
    before = keys(kafka, topic)
    create_anew(kafka, topic)
    wait_for(lambda: before <= keys(kafka, topic), 30, "all written again")
    first.signal(signal.SIGKILL)
    first.wait(10)
    plant.start()
    plant.wait_until_true()


def test_every_worker_reads_a_global_state_topic_that_is_created_anew(
    kafka_of: Any, tmp_path: Path
) -> None:
    kafka = kafka_of()
    plant = Plant(kafka, tmp_path)
    try:
        workers = [plant.start(), plant.start()]
        found(plant)
        plant.wait_until_true()
        owner = plant.owner_of_the_first()
        (other,) = (worker for worker in workers if worker is not owner)
        # While it hangs, the broker ends its connection, and the new topic gets more records than
        # it had read of the former one.
        other.pause()
        kafka.kill()
        kafka.start()
        create_anew(kafka, topic := plant.section["global_state_topic"])
        registry, now = plant.registry, time.time()
        for number in range(100):
            name = f"row-{number}"
            plant.publish(registry.create_group(name, now, parent="south", attributes={}))
        wait_for(lambda: len(keys(kafka, topic)) > 100, 60, "all groups written")
        other.resume()
        plant.wait_until_true()
    finally:
        plant.stop()


@pytest.mark.parametrize("events", [1, 30])
def test_a_global_topic_that_is_created_anew_is_read_from_its_first_event(
    kafka: Kafka, plant: Plant, events: int
) -> None:
    worker = plant.start()
    found(plant)
    plant.wait_until_true()
    topic = plant.section["global_topic"]
    # While it hangs, the new topic may get more events than the worker had read of the former one.
    worker.pause()
    kafka.delete_topic(topic)
    kafka.create_topic(topic, message_timestamp_type="LogAppendTime")
    plant.publish(plant.registry.create_type("motor", time.time(), searchable=()))
    for _ in range(events):
        plant.run_job()
    worker.resume()
    wait_for(lambda: "created anew" in worker.log_file.read_text(), 30, "it is logged")
    plant.wait_until_true()
    assert worker.value("presenced_gaps_total", partition="0", reason="offset_out_of_range")


def test_a_global_topic_that_cannot_be_read_is_told(kafka: Kafka, plant: Plant) -> None:
    worker = plant.start()
    worker.wait_until_ready()
    topic = plant.section["global_state_topic"]
    kafka.admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: "global topics: " in worker.get("/-/ready")[1], 60, "the problem")
    kafka.create_topic(topic, cleanup_policy="compact")
    worker.wait_until_ready()
    found(plant)
    plant.wait_until_true()
