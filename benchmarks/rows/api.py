"""Pages of the API at a million clients, and how long they hold up the event loop."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from random import Random
from threading import Event as Flag
from threading import Thread
from typing import Any

from benchmarks.broker import Broker
from benchmarks.events import Event, Lives, client_id
from benchmarks.exporters import ProbedPresenced
from benchmarks.figures import Bench, Figure, take_turns
from benchmarks.filling import fill
from benchmarks.publisher import Publisher, encoded, packed
from benchmarks.scraping import scrape

CLIENTS, OFFLINE, PAGES = 1_000_000, 100_000, 100
_IN_DOUBT, _THINGS = 20_000, 20_000
_RATE, _AT_ONCE = 1000, 1000
_CLIENTS = "/api/v1/clients?limit=100"
_LAST_OFFLINE = "state=offline&sort=-since"
_FILTERS = {
    "that are offline, the last first": _LAST_OFFLINE,
    "by reason": f"{_LAST_OFFLINE}&reason=CONNECTION_LOST",
    "offline for 5 s": "offline_for=5s&sort=-since",
    "in doubt": "in_doubt=true&sort=-since",
    "by thing type": "thing_type=pump&sort=-since",
    "by thing group": "thing_group=hall-3&sort=-since",
    "by class": "class=block:7&sort=-since",
    "by prefix": "prefix=device-07&sort=-since",
}
_WALKS = {
    "by a text that 1 of 1,000 has": f"contains=777&{_LAST_OFFLINE}",
    "by a text that 1 has": f"contains={client_id(7)}",
    "offline for 5 s, by client ID": "offline_for=5s&contains=77",
}
_SECTIONS: dict[str, Any] = {
    "mqtt": {"connections": [["$aws/events/#"]]},
    "presence": {"offline_delay": "0s"},
    "metrics": {"client_id_pattern": "device-[0-9]{7}(?P<block>[0-9])"},
    "log": {"level": "warning"},
}


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds of pages while events come in: the slowest of each list, and of new ones.

    And the longest pause of the event loop meanwhile.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(bench.directory))
        daemon = stack.enter_context(ProbedPresenced(bench.directory, broker, **_SECTIONS))
        publisher = stack.enter_context(Publisher(broker.port))
        lives = Lives()
        fill(publisher, daemon, CLIENTS, lives)
        for events in (lives.disconnect(range(OFFLINE)), _first_disconnects(lives), _things()):
            publisher.send(encoded(events))
            daemon.wait_until_idle()
        stack.enter_context(churn(publisher, lives))
        pages = Pages(daemon)
        ways: dict[str, Any] = {"new": pages.of_a_new_list, "all": lambda: pages.slowest("")}
        for name, query in (_FILTERS | _WALKS).items():
            ways[name] = lambda query=query: pages.slowest(query)
        results = take_turns(bench.runs, ways | {"pause": pages.longest_pause})
    what = f"of {CLIENTS:,} clients"
    slowest = f"slowest of {PAGES} pages"
    return [
        Figure(f"{slowest} {what}", "ms", results["all"], at_most=20.0),
        *(
            Figure(f"{slowest} of those {name}", "ms", results[name], at_most=20.0)
            for name in _FILTERS
        ),
        *(
            Figure(f"slowest request of a list {name}", "ms", results[name], at_most=20.0)
            for name in _WALKS
        ),
        Figure(f"first page of a list that is made, {what}", "ms", results["new"]),
        Figure("longest pause meanwhile", "ms", results["pause"], at_most=20.0),
    ]


def _first_disconnects(lives: Lives) -> Iterator[Event]:
    """Events of clients whose connect is missing, which leaves them in doubt."""
    numbers = range(CLIENTS, CLIENTS + _IN_DOUBT)
    for _ in lives.connect(numbers):
        pass
    return lives.disconnect(numbers)


def _things() -> Iterator[Event]:
    """Things of the last clients, each with a type and in a group."""
    for number in range(CLIENTS - _THINGS, CLIENTS):
        name = client_id(number)
        thing = {"thingName": name, "thingId": name, "versionNumber": 1, "thingTypeName": "pump"}
        yield Event(f"$aws/events/thing/{name}/created", json.dumps(thing).encode())
        topic = f"$aws/events/thingGroupMembership/thingGroup/hall-3/thing/{name}/added"
        yield Event(topic, b'{"operation": "ADDED"}')


@contextmanager
def churn(publisher: Publisher, lives: Lives) -> Iterator[None]:
    """Let clients, half of which are offline, connect and disconnect, a thousand a second."""
    random, ended = Random(1), Flag()

    def publish() -> None:
        while not ended.is_set():
            clients = [random.randrange(2 * OFFLINE) for _ in range(_AT_ONCE)]
            publisher.pace(list(packed(lives.turn(clients))), _RATE)

    thread = Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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

    def slowest(self, query: str) -> float:
        """Milliseconds of the slowest of pages that follow one another."""
        _, following, clients = self._ask(query)  # which makes the list, where one is made
        slowest = 0.0
        for _ in range(PAGES):
            if following is None:
                break
            took, following, more = self._ask(f"{query}&cursor={following}")
            slowest, clients = max(slowest, took), clients + more
        if not clients:
            raise SystemExit(f"the list {query} is empty")
        return slowest

    def longest_pause(self) -> float:
        """Milliseconds of the longest pause of the event loop since this was asked last."""
        began, self._began = self._began, time.perf_counter()
        return self._daemon.longest_pause(began) * 1e3

    def _ask(self, query: str) -> tuple[float, str | None, int]:
        answer = scrape(self._daemon.port, f"{_CLIENTS}&{query}" if query else _CLIENTS)
        page = json.loads(answer.text)
        return answer.seconds * 1e3, page["next_cursor"], len(page["clients"])
