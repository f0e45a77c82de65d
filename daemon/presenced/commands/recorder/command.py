"""The `record` command, from its options to its files.

From messages to lines that are written, and then to acknowledgements.

The command line of `presenced record`.
"""

import argparse
import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from presenced.commands.recorder.anonymize import Anonymizer
from presenced.commands.recorder.files import RecordingError, RecordingFiles
from presenced.events.message import Message
from presenced.settings import DEFAULT_CONFIG, load_settings, parse_duration
from presenced.sources.connections import Connections, Transport
from presenced.sources.inbox import Inbox
from presenced.sources.options import load_for_tool, source_options, without_side_effects
from presenced.sources.recording import recording_line
from presenced.sources.source import SourceOptions
from presenced.system import log
from presenced.system.loop import race, stop_signals
from presenced.system.progress import show_progress


class Session:
    """Records what arrives on connections, to be built and run on the event loop.

    `change` is what becomes of each message before it is written. A message is acknowledged once
    it is with the operating system.
    """

    def __init__(self, files: RecordingFiles, change: Callable[[Message], Message]) -> None:
        self.messages = 0
        self._files = files
        self._change = change
        self._failure: RecordingError | None = None
        self._ended = asyncio.Event()
        self._inbox = Inbox(asyncio.get_running_loop(), self._deliver)
        self._connections = Connections(self._inbox)

    @property
    def connected(self) -> bool:
        """Whether any connection has been accepted up to now."""
        return any(any(status.connects.values()) for status in self._connections.statuses)

    @property
    def problems(self) -> list[str]:
        """Why connections are not ready, one text each."""
        return self._connections.problems

    async def run(self, transport: Transport, options: Sequence[SourceOptions]) -> None:
        """Record until cancelled. Raises RecordingError where nothing can be written any more."""
        try:
            await self._connections.use(transport, options)
            await self._ended.wait()
        finally:
            self._inbox.close()
            await self._connections.stop()
            # Also where what came last could not be written.
            if self._failure is not None:
                raise self._failure

    def _deliver(self, batch: list[Message]) -> None:
        if self._failure is not None:
            return  # unacknowledged, the broker keeps the rest
        try:
            self._files.write(recording_line(self._change(message)) for message in batch)
        except RecordingError as error:
            self._failure = error
            self._ended.set()
            return
        self.messages += len(batch)
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()


def run_record(options: argparse.Namespace, say: Callable[[str], None]) -> bool:
    """Record what arrives into files; whether the broker ever accepted a connection.

    `options` are those of the command line. Ends after their `duration`, or by a signal. What there
    is to tell people goes to `say`. Raises SettingsError and RecordingError.
    """
    settings, _ = load_for_tool(options.config, options.client_id, "record")
    sources = [without_side_effects(each, "record") for each in source_options(settings.mqtt)]
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
    progress = show_progress(lambda: f"{session.messages:,} messages, {files.total:,} bytes")
    with stop_signals() as stop:
        await race(session.run(transport, sources), progress, _end(stop, duration))
    return session


async def _end(stop: asyncio.Event, duration: float | None) -> None:
    """Wait for a signal, or for so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(duration):
            await stop.wait()


def _unchanged(message: Message) -> Message:
    return message


_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(rf"([0-9]{{1,15}})\s?({'|'.join(_UNITS)})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `presenced record`."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the recording; must not exist yet")
    parser.add_argument(
        "--anonymize",
        action="store_true",
        help="give clients, things, groups, types, sessions, principals, addresses and all other"
        " names pseudonyms, the same for the same; a replay gives the same but for the names",
    )
    parser.add_argument(
        "--max-size",
        type=_size,
        default=100 * 10**6,
        metavar="SIZE",
        help="size at which OUT.0002, then OUT.0003 and so on is begun, such as 500kB, 100MB or"
        " 2GB (default 100MB)",
    )
    parser.add_argument(
        "--duration",
        type=_duration,
        metavar="TIME",
        help="how long to record, such as 30s or 8h (default: until Ctrl-C or SIGTERM)",
    )
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -record appended)",
    )


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write it as 500kB, 100MB or 2GB")
    return int(found[1]) * _UNITS[found[2]]


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
    if not seconds:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return seconds
