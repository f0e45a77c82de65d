"""A group of workers that are killed and stopped, on an Apache Kafka that restarts."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from kafka_fleet import DELAY, Life, Publisher, Worker, fleet_by_state
from kafka_server import Kafka
from waiting import repeated

CLIENTS, CONNECTIONS, PARTITIONS, WORKERS, INCIDENTS = 20_000, 4, 24, 3, 10


class Watch:
    """Holds scrapes of all workers against what must never be."""

    def __init__(self, workers: list[Worker]) -> None:
        self.faults: list[str] = []
        self.scrapes = 0
        self._workers = workers

    def scrape(self) -> None:
        views = [view for worker in self._workers if (view := worker.view())]
        self.scrapes += 1
        known = sum(fleet_by_state(views).values())
        if known > CLIENTS:
            self.faults.append(f"{known} clients")
        place: dict[str, int] = {}
        for view in views:
            for client_id, (partition, connected) in view.connected.items():
                if place.setdefault(client_id, partition) != partition:
                    self.faults.append(f"{client_id} in two partitions")
                if not connected and int(client_id.rpartition("-")[2]) % 2 == 0:
                    self.faults.append(f"{client_id} offline, though it came back in time")


@pytest.fixture
def workers(kafka: Kafka, tmp_path: Path) -> Iterator[list[Worker]]:
    made = [Worker(tmp_path / f"worker-{number}", kafka) for number in range(WORKERS)]
    made[0].create_topics(PARTITIONS)
    for worker in made:
        worker.start()
    yield made
    for worker in made:
        worker.stop()


def differences(workers: list[Worker], life: Life) -> list[str]:
    """Whose state is not the true one, and who is not shown."""
    views = [view for worker in workers if (view := worker.view())]
    shown = {name: up for view in views for name, (_, up) in view.connected.items()}
    wrong = [
        f"{name}: {shown.get(name)}" for name in life.truth if shown.get(name) != life.truth[name]
    ]
    return wrong + [f"{name} is unknown" for name in shown.keys() - life.truth.keys()]


def incidents(workers: list[Worker], kafka: Kafka, random: Random) -> Iterator[None]:
    """Ten times a worker is killed, or stands still for a while; in between the broker restarts."""
    for number in range(INCIDENTS):
        worker = random.choice(workers)
        if random.random() < 0.5:
            worker.signal(signal.SIGKILL)
            worker.wait(10)
            yield
            worker.start()
        else:
            worker.pause()
            time.sleep(random.choice([2, 9]))  # shorter and longer than the group waits
            yield
            worker.resume()
        if number == INCIDENTS // 2:
            kafka.kill()
            kafka.start()
        yield


def test_no_client_is_counted_twice_or_offline_wrongly(kafka: Kafka, workers: list[Worker]) -> None:
    random = Random(15)
    life = Life(random, CLIENTS, CONNECTIONS)
    publisher = Publisher(kafka)
    watch = Watch(workers)
    with repeated(watch.scrape, every=0.3):
        trouble = threading.Thread(target=lambda: list(incidents(workers, kafka, random)))
        trouble.start()
        for published, (client_id, payload) in enumerate(life.events()):
            publisher.publish(client_id, payload)
            if published % 1000 == 999:
                time.sleep(0.3)
        publisher.flush()
        trouble.join()
        assert published + 1 >= 200_000

        deadline = time.monotonic() + DELAY + 120
        while (wrong := differences(workers, life)) and time.monotonic() < deadline:
            time.sleep(1)
    assert not wrong, (
        len(wrong),
        wrong[:5],
        [worker.get("/-/ready")[1] for worker in workers],
    )
    assert watch.scrapes > 50
    assert watch.faults == []
    views = [view for worker in workers if (view := worker.view())]
    online = sum(life.truth.values())
    by_state = fleet_by_state(views)
    assert (by_state["online"], by_state["offline"]) == (online, CLIENTS - online)
