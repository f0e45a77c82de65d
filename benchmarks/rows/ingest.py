"""Events applied per second, from a broker, with per-client series."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.broker import Broker
from benchmarks.events import random_events
from benchmarks.exporters import EXPORTERS, Exporter
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.publisher import Publisher, encoded, sink_rate

EVENTS, CLIENTS = 100_000, 10_000
AT_LEAST = {"mqtt2prometheus": 1.3, "mqtt-exporter": 6.0, "bare-awscrt": 0.75}


def measure(bench: Bench) -> list[Figure]:
    """Events a second: presenced, its peers, a bare subscriber, and the load generator alone."""
    blocks = encoded(random_events(EVENTS, CLIENTS))
    subjects: dict[str, Callable[[], float]] = {
        exporter.name: partial(_rate, bench, exporter, blocks) for exporter in EXPORTERS
    }
    subjects["sink"] = lambda: sink_rate(blocks, EVENTS)
    subjects["broker"] = lambda: _broker_rate(bench, blocks)
    results = take_turns(bench.runs, subjects)
    ours = results["presenced"]
    return [
        *(
            Figure(
                "events applied",
                "1/s",
                ours,
                name,
                results[name],
                more_is_better=True,
                at_least=at_least,
            )
            for name, at_least in AT_LEAST.items()
        ),
        *(
            Figure(what, "1/s", results[name], "presenced", ours, more_is_better=True)
            for name, what in (
                ("sink", "load generator alone, into a socket"),
                ("broker", "load generator alone, into the broker"),
            )
        ),
    ]


def _rate(
    bench: Bench, exporter: Callable[[Path, Broker], Exporter], blocks: Sequence[bytes]
) -> float:
    with Broker(bench.directory) as broker, exporter(bench.directory, broker) as subject:
        with Publisher(broker.port) as publisher:
            before = subject.taken
            subject.wait_until_idle()
            began = time.perf_counter()
            publisher.send(blocks)
            took = subject.wait_until_idle() - began
        taken = subject.taken - before
    if taken != EVENTS:
        raise SystemExit(f"{subject.name} took {taken:,} of {EVENTS:,} events")
    return EVENTS / took


def _broker_rate(bench: Bench, blocks: Sequence[bytes]) -> float:
    with Broker(bench.directory) as broker, Publisher(broker.port) as publisher:
        broker.wait_until_idle()
        began = time.perf_counter()
        publisher.send(blocks)
        return EVENTS / (broker.wait_until_idle() - began)
