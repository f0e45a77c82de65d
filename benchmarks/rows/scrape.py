"""How long a scrape takes up to its last byte, with per-client series on.

Before each scrape some clients change, so that nobody answers with what was made before.
"""

import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from benchmarks.broker import Broker
from benchmarks.events import Lives
from benchmarks.exporters import CustomCollector, Exporter, Mqtt2Prometheus, Presenced, Server
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.publisher import Publisher, encoded
from benchmarks.scraping import scrape
from presenced.metrics.catalog import PER_CLIENT

CHANGES = 500  # of clients, before each scrape
SECTIONS: dict[str, Any] = {
    # So that every event changes the series of its client.
    "presence": {"offline_delay": "0s"},
    "metrics": {"max_clients": 1_000_000},
    "log": {"level": "warning"},
}


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds a scrape, plain and as Prometheus asks for it, with gzip."""
    return [*_against_peer(bench, 50_000), *_against_collector(bench, 100_000)]


def _against_peer(bench: Bench, clients: int) -> list[Figure]:
    with (
        Broker(bench.directory) as broker,
        Presenced(bench.directory, broker, **SECTIONS) as ours,
        Mqtt2Prometheus(bench.directory, broker) as peer,
        Publisher(broker.port) as publisher,
    ):
        changes = _filled(clients, publisher, ours, peer)
        results = take_turns(
            bench.runs,
            {
                f"{exporter.name}{how}": _scraped(exporter, publisher, changes, zipped=zipped)
                for how, zipped in (("", False), (", gzip", True))
                for exporter in (ours, peer)
            },
        )
        _see_all(ours, clients)
        _see(peer, b"client_connected{", clients)
    return [
        Figure(
            f"/metrics of {clients:,} clients{how}",
            "ms",
            results[f"{ours.name}{how}"],
            f"{peer.name}{how}",
            results[f"{peer.name}{how}"],
            at_least=20.0,
        )
        for how in ("", ", gzip")
    ]


def _against_collector(bench: Bench, clients: int) -> list[Figure]:
    with (
        Broker(bench.directory) as broker,
        Presenced(bench.directory, broker, **SECTIONS) as ours,
        CustomCollector(bench.directory, clients) as collector,
        Publisher(broker.port) as publisher,
    ):
        changes = _filled(clients, publisher, ours)
        lines = _lines(ours)
        results = take_turns(
            bench.runs,
            {
                "presenced": _scraped(ours, publisher, changes),
                "collector": lambda: scrape(collector.port).seconds * 1e3,
                "unchanged": lambda: _again(ours),
                "join": lambda: _join(lines),
            },
        )
        _see_all(ours, clients)
        _see_all(collector, clients)
    what = f"/metrics of {clients:,} clients"
    return [
        Figure(
            what,
            "ms",
            results["presenced"],
            "prometheus_client custom collector",
            results["collector"],
            at_least=30.0,
        ),
        Figure(what, "ms", results["presenced"], "bytes.join of its lines", results["join"]),
        Figure(
            f"{what}, nothing changed",
            "ms",
            results["unchanged"],
            "prometheus_client custom collector",
            results["collector"],
        ),
    ]


def _filled(clients: int, publisher: Publisher, *exporters: Exporter) -> Iterator[list[bytes]]:
    """Have all clients online; the changes to make, of clients at random, time after time."""
    lives = Lives()
    publisher.send(encoded(lives.connect(range(clients))))
    for exporter in exporters:
        exporter.wait_until_idle()
    return _changes(lives, clients)


def _changes(lives: Lives, clients: int) -> Iterator[list[bytes]]:
    random = Random(1)
    while True:
        yield encoded(lives.turn(random.sample(range(clients), CHANGES)))


def _scraped(
    exporter: Exporter,
    publisher: Publisher,
    changes: Iterator[list[bytes]],
    *,
    zipped: bool = False,
) -> Callable[[], float]:
    def measure() -> float:
        publisher.send(next(changes))
        exporter.wait_until_idle()
        return scrape(exporter.port, zipped=zipped).seconds * 1e3

    return measure


def _again(exporter: Exporter) -> float:
    scrape(exporter.port)
    return scrape(exporter.port).seconds * 1e3


def _lines(exporter: Server) -> list[bytes]:
    return scrape(exporter.port).text.splitlines(keepends=True)


def _join(lines: list[bytes]) -> float:
    began = time.perf_counter()
    b"".join(lines)
    return (time.perf_counter() - began) * 1e3


def _see_all(exporter: Server, clients: int) -> None:
    """See that every client has each of its series."""
    for metric in PER_CLIENT.values():
        _see(exporter, f"{metric.name}{{".encode(), clients)


def _see(exporter: Server, start: bytes, clients: int) -> None:
    shown = sum(line.startswith(start) for line in _lines(exporter))
    if shown != clients:
        raise SystemExit(f"{exporter.name} shows {shown:,} of {clients:,} series {start.decode()}")
