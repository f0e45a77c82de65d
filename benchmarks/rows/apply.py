"""Decoding and applying one event, without a broker, against `json.loads` of its payload."""

import gc
import json
import time
from collections.abc import Sequence

from benchmarks.events import Event, random_events
from benchmarks.figures import Bench, Figure, take_turns
from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.metrics.clients import ClientMetrics
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.presence.name_patterns import ClientFilter
from presenced.settings import MetricsSettings
from presenced.system import log

EVENTS, CLIENTS = 100_000, 10_000
EVENTS_A_SECOND = 1_000  # of virtual time: few clients come back within their offline delay
BATCH = 500  # as the inbox hands them over


def measure(bench: Bench) -> list[Figure]:
    """Microseconds of processor time an event."""
    log.configure("error", "json")
    first = time.time()
    events = random_events(EVENTS, CLIENTS, timestamp=round(first * 1000))
    results = take_turns(
        bench.runs, {"json.loads": lambda: _loads(events), "apply": lambda: apply(events, first)}
    )
    return [
        Figure(
            "decode and apply one event",
            "µs",
            results["apply"],
            "json.loads of its payload",
            results["json.loads"],
            at_least=1.0,
        )
    ]


def _loads(events: Sequence[Event]) -> float:
    gc.collect()
    began = time.process_time()
    for event in events:
        json.loads(event.payload)
    return (time.process_time() - began) / len(events) * 1e6


def apply(events: Sequence[Event], first: float) -> float:
    """Return the microseconds of processor time that one of these events takes.

    `first` is when the first one arrives; the event times should be near to that.
    """
    pipeline = _pipeline()
    messages = [
        Message(
            topic=event.topic,
            payload=event.payload,
            qos=0,
            received=first + number / EVENTS_A_SECOND,
            moment=number / EVENTS_A_SECOND,
            connection="presenced",
        )
        for number, event in enumerate(events)
    ]
    gc.collect()
    began = time.process_time()
    for start in range(0, len(messages), BATCH):
        pipeline.process(messages[start : start + BATCH])
    took = time.process_time() - began
    applied = sum(pipeline.counts.decoded.values())
    if applied != len(events):
        raise SystemExit(f"{applied} of {len(events)} events were applied")
    return took / len(events) * 1e6


def _pipeline() -> Pipeline:
    """As the daemon has it, with per-client series."""
    fleet = Fleet(PresenceRules(), ClientFilter(("presenced",), ("iotconsole-*",)))
    return Pipeline(fleet, [ClientMetrics(fleet, MetricsSettings())])
