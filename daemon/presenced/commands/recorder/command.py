"""`presenced record`: write what a source delivers, and AWS's record, into files."""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable

from presenced.aws.client import RequestCounts, open_client
from presenced.commands.output import DONE, FAILED, counted, print_error
from presenced.commands.recorder.anonymize import Anonymizer
from presenced.commands.recorder.files import RecordingError, RecordingFiles
from presenced.commands.recorder.receivers import MqttReceiver, Receiver
from presenced.commands.recorder.snapshots import SnapshotRecorder
from presenced.events.message import Message
from presenced.settings import Problem, Settings, SettingsError, load_settings
from presenced.sources.inbox import Inbox
from presenced.sources.kafka.installed import missing_client
from presenced.sources.mqtt.options import load_for_tool
from presenced.sources.recording import RecordedAnswer, answer_line, recording_line
from presenced.sources.records import SELECT_TOPIC
from presenced.system import log
from presenced.system.loop import Clocks, race, stop_signals
from presenced.system.progress import show_progress


def run(options: argparse.Namespace) -> int:
    """Record until a signal or the end of the duration.

    It fails if the source was never reached. Raises SettingsError and CommandError.
    """
    settings, _ = load_for_tool(options.config, options.client_id, "record")
    make_receiver = _receiver_of(settings, options.start, options.duration)
    change = Anonymizer(load_settings(options.config)) if options.anonymize else None
    log.configure(settings.log.level, settings.log.format)
    files = RecordingFiles(options.out, options.max_size)
    try:
        recorder = asyncio.run(_record(settings, make_receiver, files, change))
    finally:
        files.close()
    size = f"{counted(files.total, 'byte')} in {counted(files.count, 'file')}"
    what = counted(recorder.messages, "message")
    if settings.reconcile.enabled:
        what += f" and {counted(recorder.answers, 'answer')} of AWS"
    print_error(f"Recorded {what}, {size}.")
    if recorder.topicless:
        noun = counted(recorder.topicless, "record")
        print_error(f"{noun} had no topic, and no effect: let the rule select it, {SELECT_TOPIC}")
    if not recorder.has_connected:
        print_error("No connection was ever accepted: presenced doctor shows why.")
    return DONE if recorder.has_connected else FAILED


def _receiver_of(
    settings: Settings, start: float | None, duration: float | None
) -> Callable[[], Receiver]:
    """Return what makes the receiver, on the event loop. Raises SettingsError."""
    if settings.source == "kafka":
        if problem := missing_client():
            raise SettingsError([problem])
        # It cannot be imported without the client of Kafka.
        from presenced.commands.recorder.kafka_receiver import KafkaReceiver

        return lambda: KafkaReceiver(settings, start, duration)
    receiver = MqttReceiver(settings, duration)
    if start is not None:
        message = "has no effect with source: mqtt, which delivers only what is published from now"
        raise SettingsError([Problem(key="--start", message=message)])
    return lambda: receiver


async def _record(
    settings: Settings,
    make_receiver: Callable[[], Receiver],
    files: RecordingFiles,
    change: Anonymizer | None,
) -> "Recorder":
    receiver = make_receiver()
    recorder = Recorder(receiver, files, change)
    work = [recorder.run()]
    if settings.reconcile.enabled:
        clocks = Clocks(time.monotonic, time.time)
        client = open_client(settings, RequestCounts(), clocks)
        connects, write = receiver.connects, recorder.write_answer
        work.append(SnapshotRecorder(client, settings, connects, write, clocks).run())
    progress = show_progress(
        lambda: f"{counted(recorder.messages, 'message')}, {counted(files.total, 'byte')}"
    )

    with stop_signals() as stop:
        await race(*work, progress, stop.wait())
    return recorder


class Recorder:
    """Writes messages of a receiver, and answers of AWS, into files. Make it on the loop.

    `change`, if not None, makes what is written in place of the original. A message is
    acknowledged after the operating system has taken its line. `topicless` are messages without a
    topic, which a replay rejects.
    """

    def __init__(
        self, receiver: Receiver, files: RecordingFiles, change: Anonymizer | None = None
    ) -> None:
        self.messages = 0
        self.topicless = 0
        self.answers = 0
        self._receiver = receiver
        self._files = files
        self._change = change
        self._failure: RecordingError | None = None
        self._failed = asyncio.Event()
        self._inbox = Inbox(asyncio.get_running_loop(), self._deliver)

    @property
    def has_connected(self) -> bool:
        """Whether the source has been reached so far."""
        return self._receiver.has_connected

    async def run(self) -> None:
        """Record all that there is, or until cancelled.

        Raises RecordingError when a line cannot be written, and CommandError.
        """
        try:
            await self._receiver.start(self._inbox)
            await race(self._receiver.finished(), self._failed.wait())
        finally:
            await self._receiver.stop()
            # Here, because the last batch may fail while the receiver stops.
            if self._failure is not None:
                raise self._failure

    def _deliver(self, batch: list[Message]) -> None:
        if self._failure is not None:
            return  # the broker keeps what is not acknowledged
        messages = map(self._change, batch) if self._change else batch
        if not self._write(map(recording_line, messages)):
            return
        self.messages += len(batch)
        self.topicless += sum(not message.topic for message in batch)
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
