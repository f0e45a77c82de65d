"""The `record` command, from its options to its files."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from presenced import log
from presenced.build import source_options
from presenced.connections import Transport
from presenced.mqtt.message import Message
from presenced.mqtt.source import SourceOptions
from presenced.progress import Progress
from presenced.recorder.anonymize import Anonymizer
from presenced.recorder.files import RecordingFiles
from presenced.recorder.session import Session
from presenced.settings import load_settings
from presenced.tasks import race, stop_signals
from presenced.visitors import load_for_visit, undisturbing

__all__ = ["run_record"]


def run_record(options: argparse.Namespace, say: Callable[[str], None]) -> bool:
    """Record what arrives into files; whether the broker ever accepted a connection.

    `options` are those of the command line. Ends after their `duration`, or by a signal. What there
    is to tell people goes to `say`. Raises SettingsError and RecordingError.
    """
    settings, _ = load_for_visit(options.config, options.client_id, "record")
    sources = [undisturbing(each, "record") for each in source_options(settings.mqtt)]
    change = Anonymizer(load_settings(options.config)) if options.anonymize else _unchanged
    log.configure(settings.log.level, settings.log.format)
    files = RecordingFiles(options.out, options.max_size)
    record = _record(settings.mqtt.transport, sources, files, change, options.duration)
    try:
        session = asyncio.run(record)
    finally:
        files.close()
    size = f"{files.total:,} bytes in {files.count} file{'s' if files.count > 1 else ''}"
    say(f"Recorded {session.messages:,} messages, {size}.")
    if not session.connected:
        say("No connection was ever accepted: presenced doctor tells why.")
    return session.connected


async def _record(
    transport: Transport,
    sources: Sequence[SourceOptions],
    files: RecordingFiles,
    change: Callable[[Message], Message],
    duration: float | None,
) -> Session:
    session = Session(files, change)
    progress = Progress(lambda: f"{session.messages:,} messages, {files.total:,} bytes")
    with stop_signals() as stop:
        await race(session.run(transport, sources), progress.run(), _end(stop, duration))
    return session


async def _end(stop: asyncio.Event, duration: float | None) -> None:
    """Wait for a signal, or for so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(duration):
            await stop.wait()


def _unchanged(message: Message) -> Message:
    return message
