"""`presenced replay`: a recording through the daemon's own pipeline, on a virtual clock."""

import argparse
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from presenced.commands.output import DONE, FAILED, print_error
from presenced.events.message import Message
from presenced.fleet import Fleet
from presenced.metrics.collector import MetricSources
from presenced.metrics.exposition import Exposition
from presenced.metrics.series import ClassCounts
from presenced.pipeline import Pipeline
from presenced.presence import Client, State, Transition
from presenced.service.build import client_filter, client_series, presence_rules
from presenced.settings import Settings, load_settings
from presenced.sources.recording import read_recording
from presenced.system import log
from presenced.system.progress import count_lines

Print = Literal["transitions", "clients", "metrics"]


def run(options: argparse.Namespace) -> int:
    """Replay a recording onto standard output; it fails if a line could not be read."""
    settings = load_settings(options.config, require_endpoint=False)
    log.configure("warning", settings.log.format)
    bad_lines = 0

    def skip(number: int, why: str) -> None:
        nonlocal bad_lines
        bad_lines += 1
        print_error(f"presenced: {options.file}:{number}: skipped, not a recorded message: {why}")

    with ExitStack() as stack:
        recording: BinaryIO = sys.stdin.buffer
        if options.file != "-":
            try:
                recording = stack.enter_context(Path(options.file).open("rb"))
            except OSError as error:
                print_error(f"presenced: cannot read {options.file}: {error.strerror}")
                return FAILED
        replay = Replay(settings, sys.stdout.buffer, options.shown)
        replay.run(read_recording(count_lines(recording), skip), settle=options.settle)
    return FAILED if bad_lines else DONE


class Replay:
    """One run of a recording; `out` gets what `shown` names."""

    def __init__(self, settings: Settings, out: BinaryIO, shown: Print) -> None:
        self._out = out
        self._shown = shown
        self._classes = ClassCounts(settings.metrics.client_id_pattern)
        fleet = Fleet(
            presence_rules(settings.presence),
            on_transition=self._changed,
            on_count=self._classes.count if self._classes.labels else None,
            on_forget=lambda client: self._series.drop(client),
            on_describe=lambda client: self._series.describe(client),
        )
        self._series = client_series(settings.metrics, fleet)
        self._presence = fleet.presence
        self._pipeline = Pipeline(fleet, client_filter(settings))
        self._transport = settings.mqtt.transport

    def run(self, messages: Iterable[Message], *, settle: bool) -> None:
        """Take in all messages, then, to settle, let time run on until no client is pending."""
        self._pipeline.process(messages)
        while settle and self._presence.counts.clients[State.PENDING]:
            deadline = self._presence.next_deadline
            if deadline is None:  # every pending client has one
                break
            self._presence.advance(deadline, 0.0)
        if self._shown == "clients":
            self._print_clients()
        elif self._shown == "metrics":
            self._print_metrics()

    def _changed(self, client: Client, transition: Transition) -> None:
        self._series.show(client)
        if self._shown == "transitions":
            self._line(
                {
                    "time": transition.time,
                    "since": transition.since,
                    "client_id": transition.client_id,
                    "from": transition.previous,
                    "to": transition.state,
                    "reason": transition.reason,
                }
            )

    def _print_clients(self) -> None:
        for client_id, client in sorted(self._presence.clients.items()):
            self._line(
                {
                    "client_id": client_id,
                    "state": client.state,
                    "since": client.since,
                    "version": client.version,
                    "session": client.session,
                    "reason": client.reason,
                }
            )

    def _print_metrics(self) -> None:
        view = MetricSources(
            pipeline=self._pipeline,
            series=self._series,
            classes=self._classes,
            transport=self._transport,
        )
        self._out.write(Exposition(view).render()[0])

    def _line(self, fields: dict[str, object]) -> None:
        self._out.write(msgspec.json.encode(fields) + b"\n")
