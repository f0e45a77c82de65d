"""The `simulate` command: publish a simulated fleet's messages in time; report its true state."""

import argparse
import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import replace

from presenced.commands.output import DONE, CommandError, counted, print_line
from presenced.settings import Problem, SettingsError
from presenced.settings.partitions import is_aws
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.options import load_for_tool, mqtt_for_tool, source_options
from presenced.system import log
from presenced.system.loop import in_thread, race, stop_signals
from presenced.system.progress import show_progress
from presenced.system.timestamps import format_utc
from presenced_emulator.delivery import DeliveryModel
from presenced_emulator.devices import Incident
from presenced_emulator.fleet import FleetPlan
from presenced_emulator.simulate.publisher import Publisher
from presenced_emulator.simulate.simulation import Simulation, summary, truth_lines


def run(options: argparse.Namespace) -> int:
    """Publish a simulated fleet's messages and print which clients are online at the end.

    Raises SettingsError, also if the broker is AWS IoT Core, and CommandError.
    """
    settings, _ = load_for_tool(options.config, options.client_id, "simulate")
    first = source_options(settings, mqtt_for_tool(settings, "simulate"))[0]
    if first.signing_region is not None or (first.tls and first.tls.pkcs11):
        key = "mqtt.auth" if first.signing_region is not None else "mqtt.tls.pkcs11"
        message = "is not supported by `presenced simulate`, which publishes with aiomqtt"
        raise SettingsError([Problem(key=key, message=message)])
    # A failed connection is the command's own error message; the log is for defects.
    log.configure("error", settings.log.format)
    source = replace(first, filters=(), session_expiry=0)
    asyncio.run(_simulate(_plan(options), source, options))
    return DONE


async def refuse_aws(endpoint: str) -> None:
    """Raise SettingsError if an endpoint is AWS IoT Core's, also by another name.

    A custom domain of an account is a DNS alias of its endpoint.
    """
    names = [endpoint]
    if not is_aws(endpoint):
        names = await in_thread(lambda: _canonical_names(endpoint), name="dns")
    found = next(filter(is_aws, names), None)
    if found is None:
        return
    alias = "" if found == endpoint else f", an alias of {found}"
    message = (
        f'is AWS IoT Core{alias}, which lets no client publish to $aws/events/ ("Reserved topics"'
        " of the AWS IoT developer guide) and may disconnect one that tries. Simulate on a broker"
        " of your own, such as mosquitto"
    )
    raise SettingsError([Problem(key="mqtt.endpoint", value=endpoint, message=message)])


def _canonical_names(endpoint: str) -> list[str]:
    try:
        found = socket.getaddrinfo(
            endpoint, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME
        )
    except OSError:
        return []  # the attempt to connect reports it
    return [name for *_, name, _ in found if name]


def _plan(options: argparse.Namespace) -> FleetPlan:
    if (options.flaps or 0.0) + (options.takeovers or 0.0) > 1:
        message = "must not be more than 100% together with --takeovers"
        raise SettingsError([Problem(key="--flaps", message=message)])
    usual = DeliveryModel()
    return FleetPlan(
        devices=options.devices,
        duration=options.duration,
        seed=options.seed,
        rate=options.rate,
        flaps=options.flaps,
        takeovers=options.takeovers,
        storms=options.storms,
        storm_share=options.storm_share,
        outage=options.outage,
        incidents=frozenset(map(Incident, options.incident)),
        delivery=DeliveryModel(
            late_rate=options.reorder,
            taken_over_late_rate=usual.taken_over_late_rate if options.reorder else 0.0,
            duplicate_rate=options.duplicates,
            shortest_delay=min(usual.shortest_delay, options.delay),
            longest_delay=options.delay,
        ),
    )


async def _simulate(
    plan: FleetPlan, source: ConnectionOptions, options: argparse.Namespace
) -> None:
    for host in {source.endpoint, source.certified_name}:
        await refuse_aws(host)
    start = round(time.time(), 3) if options.start is None else options.start
    simulation = Simulation(plan, start)
    async with Publisher(source) as publisher:
        again = f"--seed {plan.seed} --start {format_utc(start)}"
        print_line(f"{counted(plan.devices, 'device')} on {source.address}: {again}")
        progress = show_progress(lambda: counted(publisher.published, "message"))
        with stop_signals() as stop:
            await race(_publish(simulation, publisher, stop), progress)
    if options.truth is not None:
        try:
            options.truth.write_text("".join(truth_lines(simulation.truth, start)))
        except OSError as error:
            raise CommandError(f"cannot write {options.truth}: {error.strerror}") from error
    print_line(f"Published {counted(publisher.published, 'message')}. At the end:")
    for line in summary(simulation.truth):
        print_line(line)
    if 0 < publisher.published == publisher.unheard:
        print_line("No client is subscribed to them on this broker.")


async def _publish(simulation: Simulation, publisher: Publisher, stop: asyncio.Event) -> None:
    """Publish each message at its time; once `stop` is set, the remaining ones at once."""
    begun = time.monotonic()
    for message in simulation.messages():
        wait = begun + message.at - time.monotonic()
        if wait > 0 and not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()
        if stop.is_set():
            simulation.end()
        await publisher.send(message.topic, message.payload)
    await publisher.drain()
