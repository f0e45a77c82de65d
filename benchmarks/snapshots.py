"""`python -m benchmarks.snapshots [--things N] [--state]`: what a snapshot costs a daemon.

The daemon reads a fleet index twice, as after every start: the first time it adopts all clients and
things, the second time it compares them. Printed are for each the time, the longest pauses of the
event loop, and the resident memory.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.broker import Broker
from benchmarks.exporters import Presenced, ProbedPresenced
from benchmarks.index_server import GROUPS, PAGE
from benchmarks.processes import Process, free_port
from benchmarks.scraping import samples, scrape
from benchmarks.waiting import wait_for

SETTLES_AFTER = 5.0
SEARCHES_PER_SECOND = 15
"""What AWS allows an account."""

_WITHIN = 3600.0
_LONGEST_PAUSE = 0.02
# None of a real account: the server checks no signature.
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "none"}


def measure(directory: Path, things: int, state: Mapping[str, Any]) -> None:
    """Print what two snapshots of so many things cost."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.index_server", str(things), str(port)]
    url = f"http://127.0.0.1:{port}"
    sections: dict[str, Any] = {
        "aws": {"region": "eu-west-1", "iot_url": url, "data_url": url},
        "reconcile": {"enabled": True, "searches_per_second": 10_000},
        "presence": {"timestamp_accuracy": f"{SETTLES_AFTER:g}s"},
        "state": state,
        "log": {"level": "warning"},
    }
    with (
        Broker(directory) as broker,
        Process(command, directory / "index.log"),
        ProbedPresenced(directory, broker, environment=_CREDENTIALS, **sections) as daemon,
    ):
        before = daemon.resident
        began = time.perf_counter()
        _wait_for_snapshot(daemon, 0.0)
        first = _last_snapshot(daemon)
        _report("first, adopts all", daemon, began)
        steady = daemon.resident
        print(f"  memory: {_megabytes(steady - before)} for {things:,} clients and things")
        daemon.forget_highest_resident()
        began = time.perf_counter()
        _wait_for_snapshot(daemon, first)
        _report("second, compares all", daemon, began)
        above = daemon.highest_resident - steady
        print(f"  memory: at most {_megabytes(above)} above the steady state")
    requests = ceil(things / PAGE) + GROUPS + 4
    seconds = requests / SEARCHES_PER_SECOND
    print(f"at {SEARCHES_PER_SECOND} requests a second: {requests:,} requests, {seconds:,.0f} s")


def _report(what: str, daemon: ProbedPresenced, began: float) -> None:
    took = sum(samples(scrape(daemon.port).text, "presenced_aws_snapshot_duration_seconds"))
    pauses = daemon.pauses(began)
    print(f"snapshot ({what}): {took:.1f} s")
    for name in ("processor", "seconds"):
        values = sorted((getattr(pause, name) for pause in pauses), reverse=True)
        longest = ", ".join(f"{value * 1e3:.1f}" for value in values[:5])
        over = sum(value > _LONGEST_PAUSE for value in values)
        print(f"  pauses, {name}: longest {longest} ms; {over} of more than 20 ms")


def _last_snapshot(daemon: Presenced) -> float:
    text = scrape(daemon.port).text
    return sum(samples(text, "presenced_aws_last_snapshot_timestamp_seconds"))


def _wait_for_snapshot(daemon: Presenced, after: float) -> None:
    def taken() -> bool:
        time.sleep(1.0)
        daemon.check()
        return _last_snapshot(daemon) > after

    wait_for(taken, "the snapshot is complete", _WITHIN)


def _megabytes(number: int) -> str:
    return f"{number / 2**20:.0f} MB"


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--things", type=int, default=1_000_000)
    parser.add_argument("--state", action="store_true", help="with a state file")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="presenced-bench-") as name:
        directory = Path(name)
        path = str(directory / "presenced.db")
        measure(directory, options.things, {"path": path} if options.state else {})


if __name__ == "__main__":
    main()
