"""Pages of the API at a million clients, and how long they hold up the event loop."""

import json
import time
from contextlib import ExitStack
from itertools import count
from typing import Any

from benchmarks.broker import Broker
from benchmarks.events import Lives
from benchmarks.exporters import ProbedPresenced
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.filling import fill
from benchmarks.publisher import Publisher, encoded
from benchmarks.scraping import scrape

CLIENTS, OFFLINE, PAGES = 1_000_000, 100_000, 100
_EVERYONE = "/api/v1/clients?limit=100"
_LAST_OFFLINE = f"{_EVERYONE}&state=offline&sort=-since"
_SECTIONS: dict[str, Any] = {"presence": {"offline_delay": "0s"}, "log": {"level": "warning"}}


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds: the slowest of a hundred pages, a new list's first page, the longest pause."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(bench.directory))
        daemon = stack.enter_context(ProbedPresenced(bench.directory, broker, **_SECTIONS))
        publisher = stack.enter_context(Publisher(broker.port))
        lives = Lives()
        fill(publisher, daemon, CLIENTS, lives)
        publisher.send(encoded(lives.disconnect(range(OFFLINE))))
        daemon.wait_until_idle()
        pages = Pages(daemon)
        results = take_turns(
            bench.runs,
            {
                "new": pages.of_a_new_list,
                "everyone": lambda: pages.slowest(_EVERYONE),
                "offline": lambda: pages.slowest(_LAST_OFFLINE),
                "pause": pages.longest_pause,
            },
        )
    what = f"of {CLIENTS:,} clients"
    return [
        Figure(f"slowest of {PAGES} pages {what}", "ms", results["everyone"], at_most=20.0),
        Figure(
            f"slowest of {PAGES} pages of the {OFFLINE:,} that are offline, the last first",
            "ms",
            results["offline"],
            at_most=20.0,
        ),
        Figure(f"first page of a list that is made, {what}", "ms", results["new"]),
        Figure("longest pause meanwhile", "ms", results["pause"], at_most=20.0),
    ]


class Pages:
    """Asks for pages, and knows the longest pause since it was last asked for it."""

    def __init__(self, daemon: ProbedPresenced) -> None:
        self._daemon = daemon
        self._began = time.perf_counter()
        self._lists = count(1)

    def of_a_new_list(self) -> float:
        """Milliseconds until the first page of a list that nobody has asked for before."""
        prefix = "device-"[: next(self._lists) % len("device-")]
        return self._ask(f"{_LAST_OFFLINE}&prefix={prefix}")[0]

    def slowest(self, path: str) -> float:
        """Milliseconds of the slowest of pages that follow one another."""
        self._ask(path)  # which makes the list, where one is made
        slowest, cursor = 0.0, ""
        for _ in range(PAGES):
            took, following = self._ask(path + cursor)
            slowest = max(slowest, took)
            cursor = f"&cursor={following}"
        return slowest

    def longest_pause(self) -> float:
        """Milliseconds of the longest pause of the event loop since this was asked last."""
        began, self._began = self._began, time.perf_counter()
        return self._daemon.longest_pause(began) * 1e3

    def _ask(self, path: str) -> tuple[float, str]:
        answer = scrape(self._daemon.port, path)
        page = json.loads(answer.text)
        if len(page["clients"]) != 100:
            raise SystemExit(f"{path} has {len(page['clients'])} clients")
        return answer.seconds * 1e3, page["next_cursor"]
