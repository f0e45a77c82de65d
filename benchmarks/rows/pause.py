"""The longest pause of the event loop at a million clients, with a state file and without."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.broker import Broker
from benchmarks.events import Lives
from benchmarks.exporters import ProbedPresenced
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.filling import fill
from benchmarks.polling import Poller
from benchmarks.publisher import Publisher, packed

CLIENTS, RATE, SECONDS, SCRAPED_EVERY = 1_000_000, 5_000, 20, 5.0


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds. The fleet is made once, by events, and measured in turns of 20 s."""
    subjects = {}
    with ExitStack() as stack:
        for name, keeps in (("without a state file", False), ("with a state file", True)):
            directory = bench.directory / name.split()[0]
            directory.mkdir()
            state: dict[str, Any] = {"path": str(directory / "presenced.db")} if keeps else {}
            subjects[name] = _prepared(stack, directory, state)
        results = take_turns(bench.runs, subjects)
    what = f"longest pause at {CLIENTS:,} clients, {RATE:,} events/s, scraped every 5 s"
    return [Figure(f"{what}, {name}", "ms", runs, at_most=50.0) for name, runs in results.items()]


def _prepared(stack: ExitStack, directory: Path, state: dict[str, Any]) -> Callable[[], float]:
    broker = stack.enter_context(Broker(directory))
    sections = {"state": state, "log": {"level": "warning"}}
    daemon = stack.enter_context(ProbedPresenced(directory, broker, qos=1, **sections))
    publisher = stack.enter_context(Publisher(broker.port))
    lives, random = Lives(), Random(1)
    fill(publisher, daemon, CLIENTS, lives)

    def measure() -> float:
        chosen = (random.randrange(CLIENTS) for _ in range(RATE * SECONDS))
        events = list(packed(lives.turn(chosen), qos=1))
        began = time.perf_counter()
        with Poller(daemon, SCRAPED_EVERY, "iot_clients"):
            publisher.pace(events, RATE)
        return daemon.longest_pause(began) * 1e3

    return measure
