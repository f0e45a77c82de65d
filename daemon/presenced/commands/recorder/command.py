"""`presenced record`: write the messages of all connections, and AWS's record, into files."""

import argparse
import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from presenced.aws.client import RequestCounts, open_client
from presenced.commands.output import DONE, FAILED, counted, print_error
from presenced.commands.recorder.anonymize import Anonymizer
from presenced.commands.recorder.files import RecordingError, RecordingFiles
from presenced.commands.recorder.snapshots import SnapshotRecorder
from presenced.events.message import Message
from presenced.settings import Settings, load_settings
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.connections import Connections, Transport
from presenced.sources.mqtt.options import (
    load_for_tool,
    mqtt_for_tool,
    source_options,
    without_side_effects,
)
from presenced.sources.recording import RecordedAnswer, answer_line, recording_line
from presenced.system import log
from presenced.system.loop import Clocks, race, stop_signals
from presenced.system.progress import show_progress


def run(options: argparse.Namespace) -> int:
    """Record until a signal or the end of the duration.

    It fails if the broker never accepted a connection. Raises SettingsError and RecordingError.
    """
    settings, _ = load_for_tool(options.config, options.client_id, "record")
    mqtt = mqtt_for_tool(settings, "record")
    sources = [without_side_effects(each, "record") for each in source_options(mqtt)]
    change = Anonymizer(load_settings(options.config)) if options.anonymize else None
    log.configure(settings.log.level, settings.log.format)
    files = RecordingFiles(options.out, options.max_size)
    try:
        recorder = asyncio.run(
            _record(settings, mqtt.transport, sources, files, change, options.duration)
        )
    finally:
        files.close()
    size = f"{counted(files.total, 'byte')} in {counted(files.count, 'file')}"
    what = counted(recorder.messages, "message")
    if settings.reconcile.enabled:
        what += f" and {counted(recorder.answers, 'answer')} of AWS"
    print_error(f"Recorded {what}, {size}.")
    if not recorder.connected:
        print_error("No connection was ever accepted: presenced doctor shows why.")
    return DONE if recorder.connected else FAILED


async def _record(
    settings: Settings,
    transport: Transport,
    sources: Sequence[ConnectionOptions],
    files: RecordingFiles,
    change: Anonymizer | None,
    duration: float | None,
) -> "Recorder":
    recorder = Recorder(files, change)
    work = [recorder.run(transport, sources)]
    if settings.reconcile.enabled:
        clocks = Clocks(time.monotonic, time.time)
        client = open_client(settings, RequestCounts(), clocks)
        connects, write = recorder.connects, recorder.write_answer
        work.append(SnapshotRecorder(client, settings, connects, write, clocks).run())
    progress = show_progress(
        lambda: f"{counted(recorder.messages, 'message')}, {counted(files.total, 'byte')}"
    )

    async def ended() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(duration):
                await stop.wait()

    with stop_signals() as stop:
        await race(*work, progress, ended())
    return recorder


class Recorder:
    """Writes the messages of connections, and answers of AWS, into files. Make it on the loop.

    `change`, if not None, makes what is written in place of the original. A message is
    acknowledged after the operating system has taken its line.
    """

    def __init__(self, files: RecordingFiles, change: Anonymizer | None = None) -> None:
        self.messages = 0
        self.answers = 0
        self._files = files
        self._change = change
        self._failure: RecordingError | None = None
        self._failed = asyncio.Event()
        self._inbox = Inbox(asyncio.get_running_loop(), self._deliver)
        self._connections = Connections(self._inbox)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted any connection so far."""
        return any(any(status.connects.values()) for status in self._connections.statuses)

    def connects(self) -> int | None:
        """Return how often the broker has accepted connections; None while any is not ready."""
        statuses = self._connections.statuses
        if not statuses or self._connections.problems:
            return None
        return sum(sum(status.connects.values()) for status in statuses)

    async def run(self, transport: Transport, options: Sequence[ConnectionOptions]) -> None:
        """Record until cancelled. Raises RecordingError when a line cannot be written."""
        try:
            await self._connections.use(transport, options)
            await self._failed.wait()
        finally:
            self._inbox.close()
            await self._connections.stop()
            # Here, because the last batch may fail while the connections stop.
            if self._failure is not None:
                raise self._failure

    def _deliver(self, batch: list[Message]) -> None:
        if self._failure is not None:
            return  # the broker keeps what is not acknowledged
        messages = map(self._change, batch) if self._change else batch
        if not self._write(map(recording_line, messages)):
            return
        self.messages += len(batch)
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()

    def write_answer(self, answer: RecordedAnswer) -> None:
        """Write an answer of AWS."""
        if self._failure is None:
            changed = self._change.answer(answer) if self._change else answer
            self.answers += self._write([answer_line(changed)])

    def _write(self, lines: Iterable[bytes]) -> bool:
        """Write lines; return False if that failed, which ends the recording."""
        try:
            self._files.write(lines)
        except RecordingError as error:
            self._failure = error
            self._failed.set()
            return False
        return True
