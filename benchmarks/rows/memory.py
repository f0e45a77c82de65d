"""Resident memory per client at a million clients, of the daemon as it runs."""

from typing import Any

from benchmarks.broker import Broker
from benchmarks.events import Lives
from benchmarks.exporters import Presenced
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.filling import fill
from benchmarks.publisher import Publisher
from benchmarks.scraping import samples, scrape

CLIENTS = 1_000_000


def measure(bench: Bench) -> list[Figure]:
    """Bytes a client, without series of their own, with them, and after a scrape of those."""
    scraped: list[float] = []
    results = take_turns(
        bench.runs,
        {
            "off": lambda: _bytes_a_client(bench, per_client=False)[0],
            "on": lambda: _keep_second(_bytes_a_client(bench, per_client=True), scraped),
        },
    )
    what = f"resident memory a client at {CLIENTS:,}"
    return [
        Figure(f"{what}, series off", "B", results["off"], at_most=400.0),
        Figure(f"{what}, series on", "B", results["on"], at_most=800.0),
        Figure(f"{what}, series on, after a scrape with gzip", "B", scraped, at_most=800.0),
    ]


def _keep_second(both: tuple[float, float], seconds: list[float]) -> float:
    seconds.append(both[1])
    return both[0]


def _bytes_a_client(bench: Bench, *, per_client: bool) -> tuple[float, float]:
    """Once all clients are known, and after a scrape."""
    sections: dict[str, Any] = {
        "metrics": {"per_client": per_client, "max_clients": CLIENTS},
        "log": {"level": "warning"},
    }
    with (
        Broker(bench.directory) as broker,
        Presenced(bench.directory, broker, **sections) as daemon,
        Publisher(broker.port) as publisher,
    ):
        before = daemon.resident
        fill(publisher, daemon, CLIENTS, Lives())
        filled = daemon.resident
        online = max(samples(scrape(daemon.port, zipped=True).text, "iot_clients"))
        if online != CLIENTS:
            raise SystemExit(f"{online:,.0f} of {CLIENTS:,} clients are online")
        return (filled - before) / CLIENTS, (daemon.resident - before) / CLIENTS
