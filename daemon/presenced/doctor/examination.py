"""One connection from its files to its first message, and all of them side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

from presenced.build import source_options
from presenced.doctor.files import check_files
from presenced.doctor.report import Finding, Report, Status, Step
from presenced.doctor.road import Road
from presenced.doctor.session import Session
from presenced.mqtt.background import in_thread
from presenced.mqtt.source import SourceOptions
from presenced.settings import Settings
from presenced.visitors import undisturbing

__all__ = ["examine"]

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
    options = [undisturbing(each, "doctor") for each in source_options(settings.mqtt)]
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
