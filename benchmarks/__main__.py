"""`python -m benchmarks [--only NAME ...] [--runs N]`, from the root of the repository."""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Bench, Figure
from benchmarks.report import machine, table, versions, write

ROWS = (
    "apply",
    "ingest",
    "scrape",
    "memory",
    "deadlines",
    "storm",
    "pause",
    "deadline_costs",
    "api",
    "kafka",
    "kafka_restore",
    "kafka_hand_over",
)


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, metavar="NAME")
    parser.add_argument("--runs", type=int, default=5, help="of everything (5)")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    results: dict[str, list[Figure]] = {}
    for name in options.only:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            row = importlib.import_module(f"benchmarks.rows.{name}")
            results[name] = row.measure(Bench(options.runs, Path(directory)))
        print(table({name: results[name]}), file=sys.stderr, flush=True)
        write(options.output, results, options.runs)
    for title, facts in (("machine", machine()), ("versions", versions())):
        print(f"{title}: " + ", ".join(f"{name} {fact}" for name, fact in facts.items()))
    print(f"medians of {options.runs} runs in turns\n\n{table(results)}")


if __name__ == "__main__":
    main()
