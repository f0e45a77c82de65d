"""A fleet that drops and comes back all at once, at QoS 1."""

import time
from typing import NamedTuple

from benchmarks.broker import Broker
from benchmarks.events import Lives, client_id
from benchmarks.exporters import Presenced
from benchmarks.figures import Bench, Figure
from benchmarks.filling import fill
from benchmarks.polling import Poller
from benchmarks.publisher import Publisher, packed
from benchmarks.scraping import samples, scrape
from benchmarks.transitions import went_offline
from benchmarks.waiting import wait_for

CLIENTS, SECONDS = 200_000, 20.0
STAY_AWAY = 1_000
DELAY = 60.0


class Outcome(NamedTuple):
    """What one storm came to."""

    lost: float
    too_early: float
    wrongly: float
    missing: float
    backlog: float
    took: float


def measure(bench: Bench) -> list[Figure]:
    """What must not happen in a storm, how much waits inside the daemon, and how long it takes."""
    lost, early, wrongly, missing, backlog, took = zip(
        *(_storm(bench) for _ in range(bench.runs)), strict=True
    )
    storm = f"storm of {CLIENTS:,}"
    return [
        Figure(f"{storm}: events lost", "", lost, at_most=0.0),
        Figure(f"{storm}: offline before their delay was over", "", early, at_most=0.0),
        Figure(f"{storm}: offline though they came back in time", "", wrongly, at_most=0.0),
        Figure(f"{storm}: stayed away and not offline", "", missing, at_most=0.0),
        # What comes in a second; what scrapes see is a sample.
        Figure(
            f"{storm}: longest backlog that scrapes saw",
            "messages",
            backlog,
            at_most=2 * CLIENTS / SECONDS,
        ),
        Figure(f"{storm}: from first drop to all applied", "s", took),
    ]


def _storm(bench: Bench) -> Outcome:
    lives = Lives()
    with (
        Broker(bench.directory) as broker,
        Presenced(
            bench.directory, broker, qos=1, presence={"offline_delay": f"{DELAY:g}s"}
        ) as daemon,
        Publisher(broker.port) as publisher,
    ):
        fill(publisher, daemon, CLIENTS, lives, qos=1)
        before = daemon.taken
        events = list(packed(lives.disconnect(range(CLIENTS)), qos=1))
        events += packed(lives.connect(range(STAY_AWAY, CLIENTS)), qos=1)
        began = time.perf_counter()
        with Poller(daemon, 0.5, "presenced_pipeline_backlog_messages") as poller:
            publisher.pace(events, len(events) / SECONDS)
            took = daemon.wait_until_idle(within=DELAY) - began
        lost = len(events) - (daemon.taken - before)
        wait_for(lambda: _pending(daemon) == 0, "the delays are over", within=3 * DELAY)
        daemon.wait_until_idle()
        offline = list(went_offline(daemon.log))
    away = {client_id(number) for number in range(STAY_AWAY)}
    gone = {each.client_id for each in offline}
    return Outcome(
        lost=lost,
        too_early=sum(each.at - each.since < DELAY for each in offline),
        wrongly=len(gone - away),
        missing=len(away - gone),
        backlog=poller.highest,
        took=took,
    )


def _pending(daemon: Presenced) -> float:
    time.sleep(0.5)
    return samples(scrape(daemon.port).text, 'iot_clients{state="pending"}')[0]
