"""What the state file costs: the event loop's pauses, the time to load it, its size.

    python -m benchmarks.state_writer [--clients 1000000] [--seconds 10] [--directory DIR]

One event loop makes 5,000 changed rows a second of a file of all clients, first without and then
with a writer. Its pauses are how late a timer of 1 ms comes. `DIR` should be on the disk that is
to be measured.
"""

import argparse
import asyncio
import gc
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from presenced.store.changes import Changes
from presenced.store.file import StateFile
from presenced.store.schema import ClientRow
from presenced.store.writer import Writer, WriterCounts

RATE = 5_000
BATCHES = 100  # per second


class Client:
    """An object of the size that the daemon makes of a row."""

    __slots__ = ClientRow._fields

    def __init__(self, row: ClientRow) -> None:
        (
            self.client_id,
            self.state,
            self.since,
            self.transition,
            self.reason,
            self.thing_name,
            self.connected,
            self.event_time,
            self.version,
            self.session,
            self.deadline,
            self.gaps,
            self.departed,
            self.extra,
            self.offline_at,
            self.arrival,
        ) = row


BEGAN = time.time()


def row_of(number: int, generation: int) -> ClientRow:
    """A row as a busy fleet has them; one in four clients is offline."""
    online = (number + generation) % 4 != 0
    at = BEGAN - 3600 + generation + number / 1e6
    return ClientRow(
        f"device-{number * 7919 % 10_000_019:08d}",
        "online" if online else "offline",
        at,
        at,
        None if online else "MQTT_KEEP_ALIVE_TIMEOUT",
        None,
        int(online),
        int(at * 1000),
        generation,
        f"{number:08x}-3c2b-4f6e-9a51-{generation:012x}",
        None if online else at + 30 * 86_400,
        0,
        0,
        None,
    )


def fill(path: Path, count: int) -> None:
    """Make a file of so many clients."""
    file = StateFile.open(path)
    for start in range(0, count, 50_000):
        changes = Changes()
        for number in range(start, min(start + 50_000, count)):
            row = row_of(number, 0)
            changes.clients[row.client_id] = row
        file.commit(changes)
    file.close()


def load(path: Path, *, collect: bool) -> tuple[int, float]:
    """How many clients were loaded, and the seconds that it took."""
    began = time.perf_counter()
    if not collect:
        gc.disable()
    file = StateFile.open(path)
    clients = {row.client_id: Client(row) for row in file.read(ClientRow)}
    took = time.perf_counter() - began
    gc.enable()
    file.close()
    return len(clients), took


async def change(submit: Callable[[Changes], None], clients: int, seconds: float) -> list[float]:
    """Make changes at the rate; the pauses of the loop meanwhile, sorted."""
    pauses: list[float] = []
    ended = False

    async def listen() -> None:
        while not ended:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - before - 0.001)

    listener = asyncio.create_task(listen())
    began = time.perf_counter()
    for number in range(int(seconds * BATCHES)):
        changes = Changes()
        for _ in range(RATE // BATCHES):
            row = row_of(random.randrange(clients), number + 1)
            changes.clients[row.client_id] = row
        submit(changes)
        await asyncio.sleep(max(0.0, began + (number + 1) / BATCHES - time.perf_counter()))
    ended = True
    await listener
    return sorted(pauses)


async def measure(path: Path, clients: int, seconds: float) -> None:
    """Print the pauses without a writer, and with one of each kind of load."""
    print_pauses("no writer", await change(lambda _: None, clients, seconds))
    largest_log = 0
    log = path.with_name(path.name + "-wal")
    for name, waits in (("commits every 100 ms", False), ("each batch waits", True)):
        counts = WriterCounts()
        writer = Writer(
            StateFile.open(path),
            on_forget=lambda _: None,
            on_error="continue",
            counts=counts,
        )
        writer.start()
        latencies: list[float] = []

        def submit(
            changes: Changes,
            writer: Writer = writer,
            waits: bool = waits,
            latencies: list[float] = latencies,
        ) -> None:
            nonlocal largest_log
            began = time.perf_counter()
            done = (lambda: latencies.append(time.perf_counter() - began)) if waits else None
            writer.submit(changes, done)
            largest_log = max(largest_log, log.stat().st_size if log.exists() else 0)

        print_pauses(name, await change(submit, clients, seconds))
        began = time.perf_counter()
        written = await asyncio.to_thread(writer.close, 60.0)
        if counts.failures.total() or counts.rows_refused:
            raise SystemExit("not everything was written")
        print(
            f"{'':24}{counts.commits} commits of {counts.durations.sum / counts.commits * 1e3:.1f}"
            f" ms in the mean, closed in {time.perf_counter() - began:.2f} s, all {written}"
        )
        if latencies:
            latencies.sort()
            print(
                f"{'':24}submitted to done: median {latencies[len(latencies) // 2] * 1e3:.1f} ms,"
                f" p99 {latencies[len(latencies) * 99 // 100] * 1e3:.1f} ms"
            )
    print(f"{'largest log':24}{largest_log / 1e6:.1f} MB")


def print_pauses(name: str, pauses: list[float]) -> None:
    """Print a line of the table of pauses."""
    p99 = pauses[len(pauses) * 99 // 100]
    print(f"{name:24}longest pause {pauses[-1] * 1e3:6.1f} ms, p99 {p99 * 1e3:5.1f} ms")


def throughput(path: Path, clients: int) -> None:
    """Print how many rows a second are committed when nothing else happens."""
    file = StateFile.open(path)
    began = time.perf_counter()
    for generation in range(100):
        changes = Changes()
        for _ in range(500):
            row = row_of(random.randrange(clients), generation)
            changes.clients[row.client_id] = row
        file.commit(changes)
    took = time.perf_counter() - began
    file.close()
    print(f"{'commits of 500 rows':24}{50_000 / took:,.0f} rows/s, one after the other")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory, "presenced.db")
        began = time.perf_counter()
        fill(path, options.clients)
        print(f"{'filled':24}{options.clients:,} clients in {time.perf_counter() - began:.1f} s")
        print(f"{'file':24}{path.stat().st_size / 1e6:.1f} MB")
        for collect in (True, False):
            count, took = load(path, collect=collect)
            how = "with" if collect else "without"
            print(f"{'loaded':24}{count:,} clients in {took:.2f} s {how} garbage collection")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{'peak memory':24}{peak:.0f} MiB")
        throughput(path, options.clients)
        asyncio.run(measure(path, options.clients, options.seconds))


if __name__ == "__main__":
    main()
