"""`presenced replay`: a recording through the daemon's own pipeline, on a virtual clock."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from presenced.commands.output import DONE, FAILED, CommandError, print_error
from presenced.commands.recorded_answers import (
    AnswerMerger,
    Item,
    Timeline,
    TypedAnswer,
    read_answers,
)
from presenced.events.message import Message
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources, MetricSources
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Batch, Pipeline
from presenced.presence import State, Transition
from presenced.presence.lookups import LookupBudget
from presenced.service.build import damping_rules, new_fleet, status_topics
from presenced.settings import Settings, load_settings
from presenced.sources.recording import read_recording
from presenced.system import log
from presenced.system.progress import count_lines

Print = Literal["transitions", "clients", "metrics"]

_BATCH = 500


def run(options: argparse.Namespace) -> int:
    """Replay a recording onto standard output; it fails if a line cannot be read."""
    settings = load_settings(options.config, require_endpoint=False)
    log.configure("warning", settings.log.format)
    bad_lines = 0

    def skip(number: int, why: str) -> None:
        nonlocal bad_lines
        bad_lines += 1
        print_error(
            f"presenced: {options.file}:{number}: skipped, not a recorded message or answer: {why}"
        )

    with ExitStack() as stack:
        recording: BinaryIO = sys.stdin.buffer
        if options.file != "-":
            try:
                recording = stack.enter_context(Path(options.file).open("rb"))
            except OSError as error:
                message = f"cannot read {options.file}: {error.strerror}"
                raise CommandError(message) from error
        replay = Replay(settings, sys.stdout.buffer, options.shown)
        items = read_recording(count_lines(recording), skip)
        replay.run(read_answers(items, skip), settle=options.settle)
    return FAILED if bad_lines else DONE


class Replay:
    """One run of a recording; `out` receives what `shown` names.

    Answers of AWS in the recording are merged. No lookup is made: one that the rules would make
    takes the next recorded answer within 2 seconds, and fails without.
    """

    def __init__(
        self, settings: Settings, out: BinaryIO, shown: Literal["transitions", "clients", "metrics"]
    ) -> None:
        self._out = out
        self._shown = shown
        self._fleet = new_fleet(settings)
        self._metrics = ClientMetrics(self._fleet, settings.metrics)
        self._pipeline = Pipeline(
            self._fleet, [self._metrics, self], status_topics=status_topics(settings.presence)
        )
        self._pipeline.flapping.use_damping(damping_rules(settings.presence), 0.0)
        self._transport = settings.transport
        self._received = 0.0
        self._reconcile = reconcile = settings.reconcile
        if reconcile.enabled:
            budget = LookupBudget(reconcile.lookups_per_second)
            self._fleet.presence.lookups.use(reconcile.verify_offline, budget)
        self._transitions: list[Transition] = []

    def run(self, items: Iterable[Item], *, settle: bool) -> None:
        """Apply messages and answers; to settle, advance time until no client is pending."""
        presence = self._fleet.presence
        states = presence.counts.clients
        timeline = Timeline(items)
        merger = AnswerMerger(
            self._pipeline, timeline.start or 0.0, seed_registry=self._reconcile.seed_registry
        )
        self._pipeline.observers.append(merger)
        for step in timeline.steps(1 if self._reconcile.enabled else _BATCH):
            self._apply(step, timeline, merger)
            self._write_transitions()
        while settle and states[State.PENDING] and (deadline := presence.deadlines.next):
            self._advance(deadline, timeline)
            self._write_transitions()
        if self._shown == "clients":
            self._write(self._clients())
        elif self._shown == "metrics":
            fleet = FleetSources(self._pipeline, self._metrics, clock=lambda: self._received)
            sources = MetricSources(lambda: [fleet], self._transport)
            self._out.write(Exposition(sources).render())

    def _apply(
        self, step: list[Message] | TypedAnswer, timeline: Timeline, merger: AnswerMerger
    ) -> None:
        """Apply a batch of messages or an answer, after the deadlines that were due before."""
        if isinstance(step, TypedAnswer):
            now = step.recorded.moment
            # An answer that comes at the last moment is in time.
            self._advance(math.nextafter(now, 0.0), timeline)
            merger.merge(step)
        else:
            now, self._received = step[-1].moment, step[-1].received
            if self._reconcile.enabled:
                self._advance(now, timeline)
            self._pipeline.process(step)
        self._give_up_lookups(now, timeline)

    def _advance(self, until: float, timeline: Timeline) -> None:
        """Fire the deadlines that are due, one moment after the other."""
        deadlines = self._fleet.presence.deadlines
        while (deadline := deadlines.next) is not None and deadline <= until:
            self._pipeline.advance(deadline, 0.0)
            self._give_up_lookups(deadline, timeline)

    def _give_up_lookups(self, now: float, timeline: Timeline) -> None:
        """Fail the lookups that are wanted now and that no recorded answer will answer in time."""
        lookups = self._fleet.presence.lookups
        if not lookups:
            return
        for client_id in lookups.take(now):
            if not timeline.answers_lookup(client_id, now):
                self._pipeline.give_up_lookup(client_id, now)

    def observe(self, batch: Batch) -> None:
        """Collect transitions; written here, a broken pipe would count as a fault of ours."""
        if self._shown == "transitions":
            self._transitions += batch.changes.transitions

    def _write_transitions(self) -> None:
        self._write(
            {
                "time": transition.time,
                "since": transition.since,
                "client_id": transition.client_id,
                "from": transition.previous,
                "to": transition.state,
                "reason": transition.reason,
            }
            for transition in self._transitions
        )
        self._transitions.clear()

    def _clients(self) -> Iterator[dict[str, object]]:
        keys = ("state", "since", "version", "session", "reason")
        for client_id, client in sorted(self._fleet.presence.clients.items()):
            yield {"client_id": client_id} | {key: getattr(client, key) for key in keys}

    def _write(self, lines: Iterable[dict[str, object]]) -> None:
        self._out.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
