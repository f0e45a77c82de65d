"""Topics that are deleted under workers, or created anew: by mistake, or with a test cluster."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_fleet import View, Worker
from kafka_server import Kafka
from waiting import wait_for
from worker_group import WorkerGroup

PARTITIONS = 2
CLIENTS = [f"device-{number}" for number in range(60)]
STATE = {"cleanup_policy": "compact"}
EVENTS = {"message_timestamp_type": "LogAppendTime"}


class Site(WorkerGroup):
    """A group of workers, and what is true of the clients."""

    def __init__(self, kafka: Kafka, directory: Path) -> None:
        super().__init__(kafka, directory, PARTITIONS, presence={"offline_delay": "0s"})
        self.truth: dict[str, bool] = {}
        self._versions: dict[str, int] = {}

    def report(self, *client_ids: str, connected: bool) -> None:
        for name in client_ids:
            self._versions[name] = version = self._versions.get(name, 0) + connected
            self.publisher.report(name, connected=connected, version=version)
            self.truth[name] = connected

    def fill(self) -> None:
        """Let some clients be online, the others offline."""
        self.report(*CLIENTS, connected=True)
        self.report(*CLIENTS[::3], connected=False)

    def delete(self, key: str) -> None:
        self.kafka.delete_topic(self.section[key])

    def create(self, key: str, config: Mapping[str, str]) -> None:
        name = self.section[key]
        self.kafka.create_topic(name, PARTITIONS, **config)
        wait_for(lambda: name in self.kafka.admin.list_topics(timeout=30).topics, what=name)

    def create_anew(self, key: str, config: Mapping[str, str]) -> None:
        self.delete(key)
        self.create(key, config)

    def wait_until_true(self, *workers: Worker) -> None:
        """Until workers are ready, and show what is true of every client."""

        def is_true() -> bool:
            views = [worker.view() or View() for worker in workers]
            shown = {name: up for view in views for name, (_, up) in view.connected.items()}
            ready = all(worker.ready for worker in workers)
            return ready and shown == self.truth and all(view.partitions for view in views)

        wait_for(is_true, 40, "what is true is shown")

    def written(self) -> set[str]:
        """The clients that are in the state topic."""
        records = [
            record
            for number in range(PARTITIONS)
            for record in self.kafka.records(self.section["state_topic"], number)
        ]
        keys = [json.loads(key) for key, value in records if key and value is not None]
        return {key[1] for key in keys if key[0] == "clients"}


@pytest.fixture
def site(kafka: Kafka, tmp_path: Path) -> Iterator[Site]:
    made = Site(kafka, tmp_path)
    yield made
    made.stop()


def kill(worker: Worker) -> None:
    worker.signal(signal.SIGKILL)
    worker.wait(10)


def gaps(worker: Worker, reason: str) -> float:
    """How many gaps a worker has counted for a reason."""
    return sum(
        value
        for (name, labels), value in worker.scrape().items()
        if name == "presenced_gaps_total" and ("reason", reason) in labels
    )


def is_logged(worker: Worker, text: str) -> Callable[[], bool]:
    return lambda: any(text in line["event"] for line in worker.log)


def test_a_new_state_topic_gets_the_whole_state_from_memory(site: Site) -> None:
    first = site.start()
    site.fill()
    site.wait_until_true(first)
    site.create_anew("state_topic", STATE)
    wait_for(is_logged(first, "created anew"), 30, "it is logged")
    wait_for(lambda: site.written() == set(CLIENTS), 20, "the whole state is written")
    kill(first)
    second = site.start()
    site.wait_until_true(second)
    assert gaps(second, "state_lost") == gaps(second, "offset_out_of_range") == 0


def test_a_state_topic_that_is_created_anew_without_workers_is_made_of_the_events(
    site: Site,
) -> None:
    first = site.start()
    site.fill()
    site.wait_until_true(first)
    first.stop()
    site.create_anew("state_topic", STATE)
    second = site.start()
    site.wait_until_true(second)
    assert gaps(second, "state_lost") == PARTITIONS
    assert is_logged(second, "state of a partition is lost")()


def test_a_worker_that_dies_before_it_has_written_the_whole_state_loses_no_client(
    site: Site,
) -> None:
    first = site.start()
    site.fill()
    site.wait_until_true(first)
    site.create_anew("state_topic", STATE)
    site.report(CLIENTS[0], connected=True)
    wait_for(lambda: CLIENTS[0] in site.written(), 20, "a part of the state is written")
    kill(first)
    site.wait_until_true(site.start())


def test_a_partition_that_moves_before_its_worker_has_looked_loses_no_state(site: Site) -> None:
    first = site.start()
    site.fill()
    site.wait_until_true(first)
    site.create_anew("state_topic", STATE)
    second = site.start()
    site.wait_until_true(first, second)
    assert gaps(first, "state_lost") == gaps(second, "state_lost") == 0


def test_nothing_is_shown_while_the_state_topic_is_missing_or_wrong(site: Site) -> None:
    worker = site.start()
    site.fill()
    site.wait_until_true(worker)
    name = site.section["state_topic"]

    def wait_for_problem(text: str) -> None:
        def is_said() -> bool:
            status, said = worker.get("/-/ready")
            return status == 503 and text in said

        wait_for(is_said, 40, text)
        view = worker.view()
        assert view is not None
        assert view.connected == {}

    site.delete("state_topic")
    wait_for_problem(f"the topic {name} does not exist. Create it with `presenced kafka create-")
    site.report(CLIENTS[1], connected=False)
    site.kafka.create_topic(name, PARTITIONS + 1, **STATE)
    wait_for_problem(f"the topic {name} has 3 partitions instead of 2")
    site.create_anew("state_topic", {"cleanup_policy": "delete"})
    wait_for_problem(f"the topic {name} has cleanup.policy=delete, which must be compact")
    site.kafka.configure_topic(name, "cleanup.policy", "compact")
    site.wait_until_true(worker)
    causes = [line["cause"] for line in worker.log if "cause" in line]
    assert [cause for cause, _ in groupby(causes)][:2] == ["topic_missing", "topic_wrong"]
    assert gaps(worker, "state_lost") == gaps(worker, "offset_out_of_range") == 0
    wait_for(lambda: site.written() == set(CLIENTS), 20, "the whole state is written")
    kill(worker)
    site.wait_until_true(site.start())


@pytest.mark.parametrize("runs", [True, False])
def test_events_of_a_new_topic_are_read_from_its_first(site: Site, runs: bool) -> None:
    worker = site.start()
    site.fill()
    site.wait_until_true(worker)
    if runs:
        worker.pause()
    else:
        worker.stop()
    # The new topic has more events than the worker had read of the former one.
    site.create_anew("topic", EVENTS)
    site.report(*CLIENTS[:20], connected=False)
    for _ in range(3):
        site.report(*CLIENTS[20:], connected=True)
    if runs:
        worker.resume()
    else:
        worker = site.start()
    site.wait_until_true(worker)
    assert gaps(worker, "offset_out_of_range") >= PARTITIONS
    site.report(*CLIENTS, connected=False)
    site.wait_until_true(worker)


def test_events_are_read_from_the_first_of_the_last_topic_that_was_created(
    kafka_of: Any, tmp_path: Path
) -> None:
    # With the group protocol of Kafka 3 a new topic of the same name is no rebalance.
    site = Site(kafka_of(jars="kafka-3.9"), tmp_path)
    try:
        worker = site.start()
        site.fill()
        site.wait_until_true(worker)
        site.create_anew("topic", EVENTS)
        site.report(*CLIENTS[:10], connected=True)
        wait_for(lambda: gaps(worker, "offset_out_of_range") == PARTITIONS, 30, "the gaps")
        site.wait_until_true(worker)
        worker.pause()
        site.create_anew("topic", EVENTS)
        site.report(*CLIENTS[:20], connected=False)
        site.report(*CLIENTS[20:], connected=True)
        worker.resume()
        site.wait_until_true(worker)
    finally:
        site.stop()


def test_a_state_topic_that_says_no_number_of_partitions_can_be_joined(site: Site) -> None:
    site.start().stop()
    site.create_anew("state_topic", STATE)
    config: dict[str, Any] = {
        "bootstrap.servers": site.kafka.bootstrap,
        "transactional.id": site.section["group"],
    }
    producer = Producer(config)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(site.section["state_topic"], b"0", b'["position"]', 0)
    producer.commit_transaction(30)
    worker = site.start()
    worker.wait_until_ready()
