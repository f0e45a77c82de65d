"""The `simulate` command, from its options to the truth.

Keeps simulations away from AWS IoT Core.
"""

import argparse
import asyncio
import random
import re
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from presenced.settings import Problem, SettingsError
from presenced.sources.options import load_for_tool, source_options
from presenced.sources.source import SourceOptions
from presenced.system import log
from presenced.system.loop import in_thread, race, stop_signals
from presenced.system.progress import show_progress
from presenced_emulator.lifecycle import Manners
from presenced_emulator.simulate.life import Life, Plan, summary, truth_lines
from presenced_emulator.simulate.publisher import Publisher, SimulationError

_ENDPOINT = re.compile(r"\.iot\.[a-z0-9-]+\.(vpce\.)?amazonaws\.com(\.cn)?\.?$", re.IGNORECASE)


def aws_name(names: Iterable[str]) -> str | None:
    """The first of these host names that is AWS IoT Core's, None where none is."""
    return next((name for name in names if _ENDPOINT.search(name)), None)


async def refuse_aws(endpoint: str) -> None:
    """Raise SettingsError where an endpoint is AWS IoT Core's, also by another name for it.

    A custom domain of an account is an alias of its endpoint, which the name service tells.
    """
    found = aws_name([endpoint]) or aws_name(
        await in_thread(lambda: _aliases(endpoint), name="dns")
    )
    if found is None:
        return
    alias = "" if found == endpoint else f", an alias of {found}"
    message = (
        f'is AWS IoT Core{alias}, which lets no client publish to $aws/events/ ("Reserved topics"'
        " of the AWS IoT developer guide) and may end the connection of one that tries. Simulate on"
        " a broker of your own, such as mosquitto"
    )
    raise SettingsError([Problem(key="mqtt.endpoint", value=endpoint, message=message)])


def _aliases(endpoint: str) -> list[str]:
    """What the name service calls an endpoint; nothing where it does not know it."""
    try:
        found = socket.getaddrinfo(
            endpoint, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME
        )
    except OSError:
        return []  # connecting will tell
    return [name for *_, name, _ in found if name]


_TAKEN_OVER_LATE = 0.75
_SHORTEST_DELAY = 0.2


def run_simulate(options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Publish a made-up fleet's events, and tell who is online at the end.

    `options` are those of the command line; what there is to tell goes to `say`, line by line.
    Raises SettingsError, also where the broker is AWS's, and SimulationError.
    """
    settings, _ = load_for_tool(options.config, options.client_id, "simulate")
    first = source_options(settings.mqtt)[0]
    # A failure is what the command ends with; the log is for what is wrong with this program.
    log.configure("error", settings.log.format)
    plan = _plan(options)
    asyncio.run(_simulate(plan, replace(first, filters=(), session_expiry=0), options, say))


def _plan(options: argparse.Namespace) -> Plan:
    if (options.flaps or 0.0) + (options.takeovers or 0.0) > 1:
        message = "must not be more than 100% together with --takeovers"
        raise SettingsError([Problem(key="--flaps", message=message)])
    seed = random.randrange(10**6) if options.seed is None else options.seed  # noqa: S311
    return Plan(
        devices=options.devices,
        duration=options.duration,
        seed=seed,
        start=round(time.time(), 3) if options.start is None else options.start,
        rate=options.rate,
        flaps=options.flaps,
        takeovers=options.takeovers,
        storms=options.storms,
        storm_share=options.storm_share,
        outage=options.outage,
        manners=Manners(
            late_rate=options.reorder,
            taken_over_late_rate=_TAKEN_OVER_LATE if options.reorder else 0.0,
            duplicate_rate=options.duplicates,
            shortest_delay=min(_SHORTEST_DELAY, options.delay),
            longest_delay=options.delay,
        ),
    )


async def _simulate(
    plan: Plan, source: SourceOptions, options: argparse.Namespace, say: Callable[[str], None]
) -> None:
    await refuse_aws(source.endpoint)
    life = Life(plan)
    async with Publisher(source) as publisher:
        begin = datetime.fromtimestamp(plan.start, UTC).isoformat(timespec="milliseconds")
        begin = begin.replace("+00:00", "Z")
        say(f"{plan.devices} devices on {source.address}: --seed {plan.seed} --start {begin}")
        progress = show_progress(lambda: f"{publisher.published:,} messages")
        with stop_signals() as stop:
            await race(_publish(life, publisher, stop), progress)
    if options.truth is not None:
        _write_truth(life, plan, options)
    say(f"Published {publisher.published:,} messages. At the end:")
    for line in summary(life.truth):
        say(line)
    if publisher.unheard == publisher.published:
        say("Nobody is subscribed to them on this broker.")


async def _publish(life: Life, publisher: Publisher, stop: asyncio.Event) -> None:
    """Publish each message at its time; once `stop` is set, at once what is still under way."""
    begun = time.monotonic()
    for post in life.messages():
        wait = begun + post.at - time.monotonic()
        if wait > 0 and not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()
        if stop.is_set():
            life.end()
        await publisher.send(post.topic, post.payload)
    await publisher.drain()


def _write_truth(life: Life, plan: Plan, options: argparse.Namespace) -> None:
    try:
        options.truth.write_text("".join(truth_lines(life.truth, plan.start)))
    except OSError as error:
        raise SimulationError(f"cannot write {options.truth}: {error.strerror}") from error
