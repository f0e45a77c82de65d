"""How late clients go offline while events come fast and all clients are scraped."""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.broker import Broker
from benchmarks.events import Event, Lives
from benchmarks.exporters import Presenced
from benchmarks.figures import Bench, Figure
from benchmarks.filling import fill
from benchmarks.polling import Poller
from benchmarks.publisher import Publisher, packed
from benchmarks.transitions import went_offline

CLIENTS, RATE, SCRAPED_EVERY = 100_000, 5_000, 0.5
DROPS = 75_000
DELAY = 5.0
SOON, LATE = 5_000, 20_000
"""After how many more drops every other client is back: within its offline delay, or after it."""


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds from the end of the offline delay to the transition."""
    runs = [_lateness(bench) for _ in range(bench.runs)]
    what = f"deadlines at {RATE:,} events/s, {CLIENTS:,} clients scraped twice a second: lateness"
    return [
        Figure(f"{what}, p99", "ms", [run[len(run) * 99 // 100] for run in runs], at_most=100.0),
        Figure(f"{what}, longest", "ms", [run[-1] for run in runs]),
    ]


def _events(lives: Lives) -> Iterator[Event]:
    for number in range(DROPS):
        yield from lives.disconnect((number,))
        for ahead, odd in ((SOON, 0), (LATE, 1)):
            if number >= ahead and number % 2 == odd:
                yield from lives.connect((number - ahead,))


def _stay_away() -> int:
    """How many clients do not come back within their offline delay."""
    return DROPS // 2 + SOON // 2


def _lateness(bench: Bench) -> list[float]:
    lives = Lives()
    sections: dict[str, Any] = {
        "metrics": {"max_clients": CLIENTS},
        "presence": {"offline_delay": f"{DELAY:g}s"},
    }
    with (
        Broker(bench.directory) as broker,
        Presenced(bench.directory, broker, qos=1, **sections) as daemon,
        Publisher(broker.port) as publisher,
    ):
        fill(publisher, daemon, CLIENTS, lives)
        events = list(packed(_events(lives), qos=1))
        with Poller(daemon, SCRAPED_EVERY, "iot_clients"):
            publisher.pace(events, RATE)
            ended = time.time()
            time.sleep(DELAY + 1)
        daemon.wait_until_idle()
        offline = list(went_offline(daemon.log))
    if len(offline) != _stay_away():
        raise SystemExit(f"{len(offline):,} clients went offline in place of {_stay_away():,}")
    return sorted((each.at - each.since - DELAY) * 1e3 for each in offline if each.at < ended)
