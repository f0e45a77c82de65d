"""What one event costs, stage by stage: `python -m benchmarks.stages`.

Each stage does what the one before it does and one thing more; the differences are what that costs.
The events are those of the row `apply`. Prints the least of five runs, which other processes
disturb least.
"""

import gc
import json
import time
from collections.abc import Callable, Sequence

from benchmarks.events import Event, random_events
from benchmarks.rows.apply import BATCH, CLIENTS, EVENTS, EVENTS_A_SECOND
from presenced.events.clients import decode_published
from presenced.events.decode import decode
from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.metrics.clients import ClientMetrics
from presenced.pipeline import Batch, Pipeline
from presenced.presence import PresenceRules
from presenced.presence.name_patterns import ClientFilter
from presenced.settings import MetricsSettings
from presenced.store.collector import DirtyKeys
from presenced.system import log
from presenced.web.api.history import History

RUNS = 5


def main() -> None:
    """Measure, and print a line for each stage."""
    log.configure("error", "json")
    events = random_events(EVENTS, CLIENTS)
    print(f"{'stage':<48} {'µs':>6} {'more':>6}")
    before = 0.0
    for name, run in _stages(events).items():
        took = min(_timed(run) for _ in range(RUNS)) / len(events) * 1e6
        more = f"{took - before:6.2f}" if not name.startswith("json") else ""
        print(f"{name:<48} {took:6.2f} {more}")
        before = 0.0 if name.startswith("json") else took


def _timed(run: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _stages(events: Sequence[Event]) -> dict[str, Callable[[], object]]:
    messages = _messages(events)
    return {
        "json.loads of the payload": lambda: [json.loads(e.payload) for e in events],
        "decoded as AWS publishes it": lambda: [
            decode_published(e.topic, e.payload) for e in events
        ],
        "decoded, whatever it is": lambda: [decode(e.topic, e.payload, 0.0) for e in events],
        "counted, of clients that are left out": lambda: _process(messages, left_out=True),
        "applied: ordering, presence, deadlines": lambda: _process(messages),
        "with per-client series": lambda: _process(messages, series=True),
        "noted for the state file": lambda: _process(messages, series=True, tracked=True),
        "with the history of the API": lambda: _process(
            messages, series=True, tracked=True, history=True
        ),
    }


def _messages(events: Sequence[Event]) -> list[Message]:
    wall = time.time()
    return [
        Message(
            topic=event.topic,
            payload=event.payload,
            qos=0,
            received=wall + number / EVENTS_A_SECOND,
            moment=number / EVENTS_A_SECOND,
            connection="presenced",
        )
        for number, event in enumerate(events)
    ]


def _process(
    messages: list[Message],
    *,
    left_out: bool = False,
    series: bool = False,
    tracked: bool = False,
    history: bool = False,
) -> None:
    fleet = Fleet(PresenceRules(), ClientFilter(patterns=["*"] if left_out else []))
    pipeline = Pipeline(fleet)
    if series:
        pipeline.observers += [ClientMetrics(fleet, MetricsSettings())]
    if tracked:
        pipeline.observers += [DirtyKeys()]
    if history:
        pipeline.observers += [_Remembering()]
    for start in range(0, len(messages), BATCH):
        pipeline.process(messages[start : start + BATCH])


class _Remembering:
    """Remembers events, as the API does."""

    def __init__(self) -> None:
        self._history = History(10_000, 20)

    def observe(self, batch: Batch) -> None:
        self._history.observe(batch.changes.clients)


if __name__ == "__main__":
    main()
