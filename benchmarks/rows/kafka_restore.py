"""What it takes until a worker shows a fleet whose state is in Kafka, and how much memory."""

import time
from pathlib import Path

from benchmarks.events import Lives
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.kafka_broker import KafkaBroker
from benchmarks.kafka_filling import fill
from benchmarks.kafka_worker import KafkaWorker, create_topics

CLIENTS, PARTITIONS = 1_000_000, 24


def measure(bench: Bench) -> list[Figure]:
    """Seconds from the start of the process, and resident memory then."""
    memory: dict[str, list[float]] = {"full": [], "empty": [], "highest": []}

    def start(directory: Path, broker: KafkaBroker, name: str) -> float:
        began = time.perf_counter()
        with KafkaWorker(directory, broker) as worker:
            worker.wait_for_partitions(PARTITIONS)
            took = time.perf_counter() - began
            memory[name].append(worker.resident / 1e6)
            if name == "full":
                memory["highest"].append(worker.highest_resident / 1e6)
        return took

    with KafkaBroker(bench.directory) as broker:
        create_topics(bench.directory, broker, PARTITIONS)
        empty = take_turns(bench.runs, {"empty": lambda: start(bench.directory, broker, "empty")})
        fill(bench.directory, broker, Lives().connect(range(CLIENTS)), PARTITIONS)
        full = take_turns(bench.runs, {"full": lambda: start(bench.directory, broker, "full")})
    what = f"{CLIENTS:,} clients in {PARTITIONS} partitions"
    return [
        Figure(
            f"start until {what} are shown",
            "s",
            full["full"],
            "no clients",
            empty["empty"],
        ),
        Figure(f"resident memory with {what}", "MB", memory["full"], "no clients", memory["empty"]),
        Figure(f"most resident memory of the start with {what}", "MB", memory["highest"]),
    ]
