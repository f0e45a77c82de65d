"""The `doctor` command, from its options to its output.

One connection from its files to its first message, and all of them side by side.

The command line of `presenced doctor`.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from presenced.commands.doctor.report import Finding, Report, Status, Step, in_words
from presenced.commands.doctor.steps import Road, Session, check_files
from presenced.settings import Settings, parse_duration
from presenced.sources.options import load_for_tool, source_options, without_side_effects
from presenced.sources.source import SourceOptions
from presenced.system import log
from presenced.system.loop import in_thread

Check = tuple[str, Callable[[], Awaitable[Finding]]]
Tell = Callable[[SourceOptions, Step | None], None]


async def examine(
    settings: Settings, *, wait: float, stands_in_for: str | None, tell: Tell
) -> Report:
    """Examine each connection of the settings, all at once.

    `wait` bounds the wait for the first message, in seconds. `tell` is called for each connection
    with None and then with its steps, one connection after the other; with the first one's steps
    as they are done. Raises SettingsError where the password file cannot be read.
    """
    options = [without_side_effects(each, "doctor") for each in source_options(settings.mqtt)]
    queues: list[asyncio.Queue[Step | None]] = [asyncio.Queue() for _ in options]
    found: dict[str, Sequence[Step]] = {}
    async with asyncio.TaskGroup() as group:
        for each, queue in zip(options, queues, strict=True):
            steps = _steps(settings, each, wait, stands_in_for)
            group.create_task(_put(steps, queue))
        for each, queue in zip(options, queues, strict=True):
            tell(each, None)
            done = []
            while (step := await queue.get()) is not None:
                tell(each, step)
                done.append(step)
            found[each.client_id] = done
    return Report(found)


async def _put(steps: AsyncIterator[Step], queue: asyncio.Queue[Step | None]) -> None:
    async for step in steps:
        queue.put_nowait(step)
    queue.put_nowait(None)


async def _steps(
    settings: Settings, options: SourceOptions, wait: float, stands_in_for: str | None
) -> AsyncIterator[Step]:
    """Each step as it is done; after a stage in which one failed, the others are skipped."""
    transport = settings.mqtt.transport
    async with AsyncExitStack() as stack:
        road = stack.enter_context(Road(options, datetime.now(UTC)))
        session = await stack.enter_async_context(Session(transport, options, stands_in_for))
        failed = False
        for stage in _stages(settings, options, road, session, wait):
            skip = failed
            for name, check in stage:
                finding = Finding(Status.SKIPPED) if skip else await check()
                failed |= finding.status is Status.FAILED
                yield Step(name, finding)


def _stages(
    settings: Settings, options: SourceOptions, road: Road, session: Session, wait: float
) -> list[list[Check]]:
    files = partial(check_files, settings.mqtt.tls, datetime.now(UTC))
    return [
        [("certificate files", _blocking(files))],
        [("name resolution", _blocking(road.resolve))],
        [("TCP", _blocking(road.connect))],
        [("TLS", _blocking(road.secure))],
        [("CONNACK", session.connect)],
        # Filters are refused one by one.
        [(f"SUBACK {each}", partial(session.granted, each)) for each in options.filters],
        [("first message", partial(session.first_message, wait))],
    ]


def _blocking(check: Callable[[], Finding]) -> Callable[[], Awaitable[Finding]]:
    return lambda: in_thread(check, name="doctor")


def run_doctor(
    config: Path,
    *,
    wait: float,
    client_id: str | None,
    as_json: bool,
    say: Callable[[str], None],
) -> bool:
    """Examine the connections that a configuration file describes; whether no step failed.

    What is found goes to `say`, line by line. Raises SettingsError.
    """
    settings, stands_in_for = load_for_tool(config, client_id, "doctor")
    # Refusals are what the steps tell; the log is for what is wrong with this program.
    log.configure("error", settings.log.format)

    def tell(options: SourceOptions, step: Step | None) -> None:
        if step is None:
            say(f"{options.client_id} at {options.address} ({settings.mqtt.transport})")
            return
        for line in in_words(step):
            say(line)

    def keep_quiet(_: SourceOptions, __: Step | None) -> None:
        """Programs are told all at once."""

    report = asyncio.run(
        examine(
            settings,
            wait=wait,
            stands_in_for=stands_in_for,
            tell=keep_quiet if as_json else tell,
        )
    )
    say(report.as_json() if as_json else _summary(report))
    return report.ok


def _summary(report: Report) -> str:
    counts = {
        status: sum(
            step.finding.status is status for steps in report.connections.values() for step in steps
        )
        for status in (Status.FAILED, Status.WARNING)
    }
    if not any(counts.values()):
        return "Everything is well."
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) + "."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `presenced doctor` other than `--config`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=10.0,
        metavar="TIME",
        help="how long to wait for the first message, such as 30s or 5m (default 10s); "
        "0s leaves that step out",
    )
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -doctor appended); "
        "with that of a running daemon, stop the daemon first",
    )


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
