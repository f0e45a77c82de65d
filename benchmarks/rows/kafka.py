"""One worker and two on a backlog in Kafka, against `apply` and against Kafka's client alone."""

import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.events import Event, random_events
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.kafka_broker import KafkaBroker, record
from benchmarks.kafka_worker import BareWorker, KafkaWorker, create_topics
from benchmarks.rows.apply import EVENTS_A_SECOND, apply
from benchmarks.waiting import wait_for
from presenced.system import log

EVENTS, CLIENTS, PARTITIONS = 600_000, 50_000, 24

Worker = KafkaWorker | BareWorker


class Drained(NamedTuple):
    """Events a second, and microseconds of processor time an event: of all workers, the broker."""

    rate: float
    cost: float
    broker_cost: float


def measure(bench: Bench) -> list[Figure]:
    """Events a second, and processor time an event."""
    log.configure("error", "json")
    # All of them have arrived before the first worker starts: none is dated ahead of the clock.
    first = time.time() - EVENTS / EVENTS_A_SECOND
    events = random_events(EVENTS, CLIENTS, timestamp=round(first * 1000))
    drained: dict[str, list[Drained]] = {
        name: [] for name in ("one", "shared", "two", "api", "bare")
    }

    def rate(
        name: str, *make: Callable[[Path, KafkaBroker], Worker], broker_apart: bool = True
    ) -> float:
        drain = _drain(bench.directory, events, first, make, broker_apart=broker_apart)
        drained[name].append(drain)
        return drain.rate

    results = take_turns(
        bench.runs,
        {
            "apply": lambda: apply(events, first),
            "one": lambda: rate("one", _worker),
            "bare": lambda: rate("bare", BareWorker),
            "shared": lambda: rate("shared", _worker, broker_apart=False),
            "two": lambda: rate("two", _worker, _second_worker, broker_apart=False),
            "api": lambda: rate("api", _worker_with_api),
        },
    )
    cost = {name: [each.cost for each in runs] for name, runs in drained.items()}
    return [
        Figure(
            "events applied and committed by one worker on one core",
            "1/s",
            results["one"],
            "Kafka's client alone",
            results["bare"],
            more_is_better=True,
        ),
        Figure(
            "processor time an event of one worker",
            "µs",
            cost["one"],
            "apply",
            results["apply"],
            at_least=1 / 1.3,
        ),
        Figure(
            "processor time an event of one worker",
            "µs",
            cost["one"],
            "Kafka's client alone",
            cost["bare"],
        ),
        Figure(
            "processor time an event of one worker with the history of the API",
            "µs",
            cost["api"],
            "without",
            cost["one"],
        ),
        Figure(
            "events of two workers and the broker on two cores",
            "1/s",
            results["two"],
            "one worker and the broker on one core",
            results["shared"],
            more_is_better=True,
            at_least=1.7,
        ),
        Figure(
            "events of two workers and the broker on two cores",
            "1/s",
            results["two"],
            "one worker on a core, the broker on the other",
            results["one"],
            more_is_better=True,
        ),
        Figure(
            "processor time an event of two workers", "µs", cost["two"], "one worker", cost["one"]
        ),
        Figure(
            "processor time an event of the broker meanwhile",
            "µs",
            [each.broker_cost for each in drained["two"]],
            "with one worker",
            [each.broker_cost for each in drained["one"]],
        ),
    ]


def _worker(directory: Path, broker: KafkaBroker) -> KafkaWorker:
    return KafkaWorker(directory, broker, metrics={"api": False})


def _second_worker(directory: Path, broker: KafkaBroker) -> KafkaWorker:
    return KafkaWorker(directory, broker, "second-worker", metrics={"api": False})


def _worker_with_api(directory: Path, broker: KafkaBroker) -> KafkaWorker:
    return KafkaWorker(directory, broker)


def _drain(
    directory: Path,
    events: Sequence[Event],
    first: float,
    make: Sequence[Callable[[Path, KafkaBroker], Worker]],
    *,
    broker_apart: bool,
) -> Drained:
    """Have workers apply and commit a backlog, each on a core of its own.

    The broker has the other cores, or, unless it is `broker_apart`, the same. The workers have
    joined before, and are stopped while the backlog is written, so that neither their start nor the
    load generator is in the figures.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(KafkaBroker(directory))
        create_topics(directory, broker, PARTITIONS)
        workers = [each(directory, broker) for each in make]
        for worker in workers:
            stack.enter_context(worker)
        for worker, cores in zip(workers, _shares(len(workers)), strict=True):
            worker.wait_for_partitions(PARTITIONS // len(workers))
            worker.signal(signal.SIGSTOP)
            worker.run_on(cores)
        _produce(broker, events, first)
        taken = {core for cores in _shares(len(workers)) for core in cores}
        broker.run_on(set(_cores()) - taken or _cores() if broker_apart else taken)
        return _resume(broker, workers, len(events))


def _resume(broker: KafkaBroker, workers: Sequence[Worker], events: int) -> Drained:
    broker_used, used = broker.cpu, sum(worker.cpu for worker in workers)
    began = time.perf_counter()
    for worker in workers:
        worker.signal(signal.SIGCONT)
    wait_for(lambda: broker.committed() == events, "all events are committed", within=300.0)
    took = time.perf_counter() - began
    return Drained(
        events / took,
        (sum(worker.cpu for worker in workers) - used) / events * 1e6,
        (broker.cpu - broker_used) / events * 1e6,
    )


def _produce(broker: KafkaBroker, events: Sequence[Event], first: float) -> None:
    """Write events with the times at which the row `apply` has them arrive."""
    broker.produce(
        record(event, round((first + number / EVENTS_A_SECOND) * 1000))
        for number, event in enumerate(events)
    )


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _shares(workers: int) -> list[Collection[int]]:
    cores = _cores()
    return [{cores[number % len(cores)]} for number in range(workers)]
