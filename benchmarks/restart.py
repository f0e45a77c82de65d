"""What a start with a large state file costs: `python -m benchmarks.restart [CLIENTS]`.

A mosquitto must be installed. Prints the time from the start of the process until `/-/ready` says
so, and the resident memory then, beside those of a start with an empty file in the same run.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.broker import Broker
from benchmarks.exporters import configuration
from benchmarks.processes import Process, free_port
from benchmarks.scraping import scrape
from benchmarks.state_writer import fill
from benchmarks.waiting import wait_for

RUNS = 3


def measure(
    directory: Path, broker: Broker, state: Path, per_client: bool
) -> tuple[float, int, int]:
    """Seconds until ready, and resident memory then and at its highest, in bytes."""
    port = free_port()
    sections: dict[str, Any] = {
        "mqtt": {"client_id": state.stem},
        "metrics": {"per_client": per_client, "listen": f"127.0.0.1:{port}"},
        "state": {"path": str(state)},
        "log": {"level": "warning"},
    }
    config = directory / "presenced.yaml"
    config.write_text(yaml.safe_dump(configuration(broker, port, qos=1, **sections)))
    command = [sys.executable, "-m", "presenced", "run", "--config", str(config)]
    began = time.perf_counter()
    with Process(command, directory / "presenced.log") as daemon:
        wait_for(lambda: is_ready(daemon, port), "presenced is ready", within=120.0)
        return time.perf_counter() - began, daemon.resident, daemon.highest_resident


def is_ready(daemon: Process, port: int) -> bool:
    """Whether the daemon answers that it is ready; SystemExit if it has ended."""
    daemon.check()
    try:
        return bool(scrape(port, "/-/ready").text)
    except (OSError, SystemExit):
        return False


def main() -> None:
    """Measure and print."""
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        full, empty = directory / "full.db", directory / "empty.db"
        fill(full, clients)
        print(f"file of {clients:,} clients: {full.stat().st_size / 1e6:.0f} MB")
        print(f"{'':32}{'ready after':>12}{'memory':>12}{'highest':>12}")
        with Broker(directory) as broker:
            report(directory, broker, full, empty)


def report(directory: Path, broker: Broker, full: Path, empty: Path) -> None:
    """Print a line for each kind of start."""
    for label, state, per_client in (
        ("empty file", empty, False),
        ("all clients, no series", full, False),
        ("all clients, 20,000 with series", full, True),
    ):
        runs = [measure(directory, broker, state, per_client) for _ in range(RUNS)]
        took, memory, highest = sorted(runs)[RUNS // 2]
        print(f"{label:32}{took:>10.2f} s{memory / 1e6:>9.0f} MB{highest / 1e6:>9.0f} MB")


if __name__ == "__main__":
    main()
