"""How long no worker shows partitions whose worker is stopped, or killed."""

import signal
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.events import Lives
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.kafka_broker import KafkaBroker
from benchmarks.kafka_filling import fill
from benchmarks.kafka_worker import KafkaWorker, create_topics
from benchmarks.waiting import wait_for

CLIENTS, PARTITIONS = 240_000, 24
SESSION_TIMEOUT = 45
"""Seconds after which the broker gives up a worker: its default."""

_WITHIN = 120.0


def measure(bench: Bench) -> list[Figure]:
    """Seconds from the signal until another worker shows a partition: of the first, of the last."""
    last: dict[str, list[float]] = {"SIGTERM": [], "SIGKILL": []}

    def first(broker: KafkaBroker, number: signal.Signals) -> float:
        times = _hand_over(bench.directory, broker, number)
        last[number.name].append(times[-1])
        return times[0]

    settings = {"group_consumer_session_timeout_ms": 1000 * SESSION_TIMEOUT}
    with KafkaBroker(bench.directory, **settings) as broker:
        create_topics(bench.directory, broker, PARTITIONS)
        fill(bench.directory, broker, Lives().connect(range(CLIENTS)), PARTITIONS)
        results = take_turns(
            bench.runs,
            {
                "SIGTERM": lambda: first(broker, signal.SIGTERM),
                "SIGKILL": lambda: first(broker, signal.SIGKILL),
            },
        )
    what = f"of {PARTITIONS // 2} partitions of {CLIENTS // PARTITIONS:,} clients until it is shown"
    return [
        figure
        for name, how in (
            ("SIGTERM", "SIGTERM"),
            ("SIGKILL", f"SIGKILL, with a session timeout of {SESSION_TIMEOUT} s"),
        )
        for figure in (
            Figure(f"{how}: first {what} again", "s", results[name]),
            Figure(f"{how}: last {what} again", "s", last[name]),
        )
    ]


def _hand_over(directory: Path, broker: KafkaBroker, number: signal.Signals) -> list[float]:
    """End one of two workers; return when the other one showed its partitions, one after another.

    That worker is then stopped in order.
    """
    with ExitStack() as stack:
        heir, owner = (
            stack.enter_context(KafkaWorker(directory, broker, name, metrics={"per_client": False}))
            for name in ("heir", "owner")
        )
        for worker in (heir, owner):
            worker.wait_for_partitions(PARTITIONS // 2)
        shown, times = heir.shown, []
        began = time.perf_counter()
        owner.signal(number)

        def shows_all() -> bool:
            more = heir.shown - shown
            times.extend([time.perf_counter() - began] * len(more))
            shown.update(more)
            return len(shown) == PARTITIONS

        wait_for(shows_all, "all partitions are shown again", _WITHIN)
        return times
