"""What workers show while partitions move between them, by SIGSTOP, a join and a leave."""

import contextlib
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from kafka_fleet import View, Worker
from kafka_server import Kafka
from waiting import repeated, wait_for
from worker_group import WorkerGroup

PARTITIONS = 12
EVERY_PARTITION = set(range(PARTITIONS))
CLIENTS = [f"device-{number}" for number in range(240)]


class Group(WorkerGroup):
    """A group of workers that share all clients."""

    def settled(self, *workers: Worker) -> Callable[[], bool]:
        """Whether these workers, each with its share, show every client once."""

        def is_settled() -> bool:
            views = [worker.view() or View() for worker in workers]
            shown = sorted(client_id for view in views for client_id in view.connected)
            partitions = sorted(number for view in views for number in view.partitions)
            ready = all(worker.ready for worker in workers)
            every = partitions == list(range(PARTITIONS)) and shown == sorted(CLIENTS)
            return ready and every and all(view.partitions for view in views)

        return is_settled


@pytest.fixture
def group(kafka: Kafka, tmp_path: Path) -> Iterator[Group]:
    made = Group(kafka, tmp_path, PARTITIONS, presence={"offline_delay": "0s"})
    yield made
    made.stop()


@contextlib.contextmanager
def asked(worker: Worker, path: str) -> Iterator[Callable[[], tuple[int, str]]]:
    """Send a request that waits in the kernel while the worker is stopped; yields its answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", worker.port), timeout=30) as connection:
        connection.sendall(request.encode())

        def answer() -> tuple[int, str]:
            received = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            return int(received.split()[1]), received.partition("\r\n\r\n")[2]

        yield answer


def test_a_worker_that_wakes_shows_nothing_of_partitions_that_moved(group: Group) -> None:
    sleeper, other = group.start(), group.start()
    group.publisher.report(*CLIENTS, connected=True)
    wait_for(group.settled(sleeper, other), timeout=60, what="both workers have their share")
    before = sleeper.view()
    assert before
    assert sleeper.value("presenced_state_commits_total")
    sleeper.pause()
    wait_for(group.settled(other), timeout=60, what="the other worker has all")
    group.publisher.report(*CLIENTS, connected=False)  # what the sleeper knows is wrong now

    def all_offline(*workers: Worker) -> bool:
        views = [worker.view() or View() for worker in workers]
        shown = {name: up for view in views for name, (_, up) in view.connected.items()}
        return len(shown) == len(CLIENTS) and not any(shown.values())

    wait_for(lambda: all_offline(other), timeout=30, what="all clients offline")
    one = next(iter(before.connected))
    with (
        asked(sleeper, "/metrics") as scrape,
        asked(sleeper, "/api/v1/clients") as listing,
        asked(sleeper, f"/api/v1/clients/{one}") as client,
    ):
        sleeper.resume()
        status, text = scrape()
        assert (listing()[0], client()[0]) == (503, 503)
    first = View.of(text.encode())
    assert status == 200
    assert first.connected == {}
    assert first.clients == {}
    assert first.owned == set()

    def awake() -> bool:
        view = sleeper.view()
        assert view is not None
        assert not any(up for _, up in view.connected.values()), "a state of before"
        return bool(view.partitions) and sleeper.ready

    wait_for(awake, timeout=60, what="the worker has partitions again")
    wait_for(lambda: all_offline(sleeper, other), timeout=60, what="all clients shown")
    view = sleeper.view()
    assert view
    elsewhere = next(each for each in CLIENTS if each not in view.connected)
    status, text = sleeper.get(f"/api/v1/clients/{elsewhere}")
    assert status == 404
    assert "the events of this client are in partition" in json.loads(text)["detail"]


def test_a_transaction_that_stays_open_holds_no_other_partition_back(group: Group) -> None:
    worker = group.prepare()
    name, server = group.section["group"], {"bootstrap.servers": group.kafka.bootstrap}
    hanging = Producer(server | {"transactional.id": f"{name}-x", "transaction.timeout.ms": 300000})
    hanging.init_transactions(30)
    hanging.begin_transaction()
    tool = Consumer(server | {"group.id": name})
    # The first and the last, so that others are restored after one of them.
    held = {0, PARTITIONS - 1}
    positions = [TopicPartition(group.section["topic"], number, 0) for number in held]
    hanging.send_offsets_to_transaction(positions, tool.consumer_group_metadata(), 30)
    try:
        worker.start()
        others = EVERY_PARTITION - held
        wait_for(lambda: (worker.view() or View()).owned == EVERY_PARTITION, 30, "all assigned")
        wait_for(lambda: (worker.view() or View()).partitions == others, 60, "all others shown")
        status, problems = worker.get("/-/ready")
        assert status == 503
        assert "2 partitions are being restored: 0, 11" in problems
    finally:
        hanging.abort_transaction(30)
        tool.close()
    worker.wait_until_ready()


class Scrapes:
    """Scrapes of a worker, one after the other."""

    def __init__(self, worker: Worker) -> None:
        self.views: list[View] = []
        self._worker = worker

    def scrape(self) -> None:
        view = self._worker.view()
        assert view is not None
        self.views.append(view)

    def assert_stayed_complete(self) -> set[int]:
        """Return the partitions of before and after, which every scrape in between shows."""
        first, last = self.views[0], self.views[-1]
        stayed = first.partitions & last.partitions
        clients = {
            client_id: place for client_id, place in first.connected.items() if place[0] in stayed
        }
        for number, view in enumerate(self.views):
            assert stayed <= view.partitions, f"scrape {number} of {len(self.views)}"
            assert clients.items() <= view.connected.items()
            assert stayed <= view.owned
        return stayed


@contextlib.contextmanager
def scraped(*workers: Worker) -> Iterator[list[Scrapes]]:
    """Scrape workers all the time, from their state before to their state after the block."""
    made = [Scrapes(worker) for worker in workers]
    with contextlib.ExitStack() as stack:
        for each in made:
            stack.enter_context(repeated(each.scrape, every=0.02))
        wait_for(lambda: all(each.views for each in made), what="scrapes before")
        yield made
        counts = [len(each.views) for each in made]
        wait_for(
            lambda: all(
                len(each.views) > count + 1 for each, count in zip(made, counts, strict=True)
            ),
            what="scrapes after",
        )


def test_partitions_that_do_not_move_are_in_every_scrape(group: Group) -> None:
    residents = [group.start(), group.start()]
    group.publisher.report(*CLIENTS, connected=True)
    wait_for(group.settled(*residents), timeout=60, what="two workers have their share")
    with scraped(*residents) as joining:
        guest = group.start()
        wait_for(group.settled(*residents, guest), timeout=60, what="three workers")
    stayed: list[Any] = [each.assert_stayed_complete() for each in joining]
    assert all(stayed)
    assert set().union(*stayed) < EVERY_PARTITION
    with scraped(*residents) as leaving:
        guest.signal(signal.SIGTERM)
        assert guest.wait(30) == 0
        wait_for(group.settled(*residents), timeout=60, what="two workers again")
    after = [each.assert_stayed_complete() for each in leaving]
    assert after == stayed, "a worker lost partitions when another left"
