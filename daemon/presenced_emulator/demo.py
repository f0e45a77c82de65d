"""The `demo` command: the daemon on an embedded broker with simulated devices."""

import argparse
import asyncio
import random
import socket
import time
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from presenced.commands.output import DONE, counted, print_line
from presenced.settings import Problem, SettingsError
from presenced.settings.values import parse_listen
from presenced.system.loop import race, stop_signals
from presenced_emulator.aws.account import EmulatedAccount, RoleAlias
from presenced_emulator.aws.index import FleetIndex
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import HOST, Certificates, issue
from presenced_emulator.clients import KEEP_ALIVE, Server, run_fleet
from presenced_emulator.daemon import CLIENT_ID, DaemonProcess, DemoError, configuration, url_of
from presenced_emulator.delivery import DeliveryModel
from presenced_emulator.devices import KINDS, OFFLINE, ONLINE, STATUS_FILTER, thing_name
from presenced_emulator.fleet import FleetLife, FleetPlan
from presenced_emulator.limits import check_devices, machine_limits
from presenced_emulator.peer import KEEP_ALIVE_FACTOR
from presenced_emulator.registry import REGION
from presenced_emulator.truth import Scrape, breakdown_agrees, presence_agrees, report_line

SAMPLE_EVERY = 2.0
POLL_EVERY = 0.2
COLD_START_WITHIN = 10.0
ROLE_ALIAS = "presenced-demo"
INDEX_LAG = (0.2, 1.5)
COLD_DEVICES, COLD_DROP_EVENTS = 200, 0.15
COLD_FLAPS = 0.7
DEVICES, DROP_EVENTS = 50, 0.0
STATUS_TOPIC = {
    "filter": STATUS_FILTER,
    "client_id": "{1}",
    "online": ONLINE.decode(),
    "offline": OFFLINE.decode(),
}
LEGEND = (
    "Pending: disconnected within the offline delay of 5 s. In flight: a connect or disconnect is"
    " not delivered yet."
)
LOSSES_LEGEND = (
    "{drop_events:.0%} of the events are lost. A device that is disconnected for less than the"
    " offline delay counts as online on both sides."
)
STATUS_LEGEND = (
    "The broker publishes no event messages. Each device publishes whether it is online, retained,"
    " to devices/ID/status, and has a Last Will."
)


def run(options: argparse.Namespace) -> int:
    """Run the demo for `options.duration` seconds, or with None until a signal.

    Raises DemoError, and SettingsError for options that exclude each other or if the machine cannot
    run the devices.
    """
    if options.status:
        _check_status_options(options)
    if options.devices is None:
        options.devices = COLD_DEVICES if options.cold else DEVICES
    if options.drop_events is None:
        options.drop_events = COLD_DROP_EVENTS if options.cold else DROP_EVENTS
    check_devices(options.devices, machine_limits())
    _check_free(options.listen)
    asyncio.run(_run_until_stopped(options))
    return DONE


async def _run_until_stopped(options: argparse.Namespace) -> None:
    with stop_signals() as stop, TemporaryDirectory(prefix="presenced-demo-") as directory:
        await race(_run(options, Path(directory)), stop.wait())


async def _run(options: argparse.Namespace, directory: Path) -> None:
    devices, seed, listen = options.devices, options.seed, options.listen
    certificates = issue(directory)
    url = url_of(parse_listen(listen))
    delivery = DeliveryModel(loss_rate=1.0 if options.status else options.drop_events)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(
            EmulatedBroker(certificates, seed=seed, delivery=delivery)
        )
        config = directory / "presenced.yaml"
        settings: dict[str, Any]
        if options.status:
            settings = {"status_topics": [STATUS_TOPIC]}
        else:
            aws = await stack.enter_async_context(_aws_of(broker, certificates, seed))
            settings = {"sections": _sections(aws)}
        config.write_text(configuration(certificates, port=broker.port, listen=listen, **settings))
        print_line(f"Configuration: {config}")
        print_line(f"Console:       {url}/")
        print_line(f"Metrics:       {url}/metrics")
        print_line(
            f"Fleet:         {counted(devices, 'device')}, seed {seed}; Ctrl-C ends the demo"
        )
        print_line(LEGEND)
        if options.drop_events:
            print_line(LOSSES_LEGEND.format(drop_events=options.drop_events))
        if options.status:
            print_line(STATUS_LEGEND)
        daemon = DaemonProcess(config, url)
        plan = _plan(options)
        begin = asyncio.Event()
        await race(
            run_fleet(
                FleetLife(plan, broker.registry),
                broker.publish,
                Server(HOST, broker.port, certificates.devices),
                pause_at=plan.first_connect(devices) if options.cold else 0.0,
                resume=begin,
                reports_status=options.status,
            ),
            _run_daemon(options, broker, daemon, begin),
        )


def _check_status_options(options: argparse.Namespace) -> None:
    """Raise SettingsError for options that are about AWS."""
    refused = {
        "--cold": (options.cold, "without AWS there is no record of the fleet to ask for"),
        "--drop-events": (options.drop_events is not None, "the broker publishes no events"),
    }
    problems = [
        Problem(key=key, message=f"cannot be used with --status: {reason}")
        for key, (is_given, reason) in refused.items()
        if is_given
    ]
    if problems:
        raise SettingsError(problems)


def _aws_of(broker: EmulatedBroker, certificates: Certificates, seed: int) -> AwsServer:
    """Return the operations about the clients and the registry of a broker."""
    index = FleetIndex(random.Random(f"{seed}/index"), INDEX_LAG)  # noqa: S311  # repeatable
    account = EmulatedAccount(broker.registry, broker.connections, index)
    account.role_aliases[ROLE_ALIAS] = RoleAlias(ROLE_ALIAS)
    account.certificate_things.add(CLIENT_ID)
    broker.on_event(lambda message: account.on_event(message, time.time()))
    return AwsServer(account, certificates.aws, seed=seed)


def _sections(aws: AwsServer) -> dict[str, dict[str, object]]:
    """Return the sections of the configuration by which the daemon asks this server."""
    return {
        "aws": {
            "region": REGION,
            "role_alias": ROLE_ALIAS,
            "credentials_endpoint": aws.https_url.removeprefix("https://"),
            "thing_name": CLIENT_ID,
            "iot_url": aws.https_url,
            "data_url": aws.https_url,
        },
        "reconcile": {"enabled": True},
    }


def _plan(options: argparse.Namespace) -> FleetPlan:
    """Return the life of the fleet.

    A device whose client ID is not the name of its thing is not in AWS's index: if the daemon has
    not seen it connect, it learns of the device by its next event only. A cold start has none. Its
    devices flap and are taken over, but none stays away: if its disconnect were lost, the daemon
    would learn of it by the next snapshot, hours later. So it would of changes of the registry.

    Devices that report their status have no registry, and their client ID is one topic level.
    """
    usual = not (options.cold or options.status)
    kinds = [kind for kind in KINDS if usual or thing_name(kind) == kind]
    return FleetPlan(
        devices=options.devices,
        seed=options.seed,
        changes=usual,
        flaps=COLD_FLAPS if options.cold else None,
        takeovers=1 - COLD_FLAPS if options.cold else None,
        silence=KEEP_ALIVE * KEEP_ALIVE_FACTOR,
        calm=options.cold,
        kinds=tuple(kinds),
    )


async def _run_daemon(
    options: argparse.Namespace,
    broker: EmulatedBroker,
    daemon: DaemonProcess,
    begin: asyncio.Event,
) -> None:
    """Start the daemon, set `begin` for the fleet to go on, and compare daemon and broker.

    Unless the start is cold or statuses are retained, no device connects before: AWS repeats no
    event.
    """
    if options.status:
        begin.set()
    if options.cold:
        await _all_connected(broker, options.devices)
    async with daemon:
        await race(daemon.ready(), daemon.died())
        if options.cold:
            await race(_report_cold_start(broker, daemon, options.devices), daemon.died())
        begin.set()
        await race(_compare(broker, daemon, options), daemon.died())


async def _all_connected(broker: EmulatedBroker, devices: int) -> None:
    """Return when all devices are connected and no message about it is left to be delivered."""
    while True:
        truth = broker.truth()
        if len(truth.connected) >= devices and not truth.clients_in_flight:
            return
        await asyncio.sleep(POLL_EVERY)


async def _report_cold_start(broker: EmulatedBroker, daemon: DaemonProcess, devices: int) -> None:
    """Print how many devices the daemon shows online, and how soon, before the fleet goes on."""
    started = time.monotonic()
    online, parts = 0, "wrong"
    while (online < devices or parts == "wrong") and not _is_over(started):
        await asyncio.sleep(POLL_EVERY)
        with suppress(DemoError):
            truth = broker.truth().without(CLIENT_ID)
            scrape = Scrape.parse(await daemon.metrics())
            online = scrape.online
            parts = "right" if breakdown_agrees(scrape, truth, truth) else "wrong"
    elapsed = time.monotonic() - started
    print_line(
        f"Cold start: {online} of {devices} devices online {elapsed:.1f} s after ready, types and"
        f" groups {parts}"
    )


def _is_over(started: float) -> bool:
    return time.monotonic() - started >= COLD_START_WITHIN


async def _compare(
    broker: EmulatedBroker, daemon: DaemonProcess, options: argparse.Namespace
) -> None:
    """Compare daemon and broker until the time is over, and print each sample and the sums."""
    samples = agreements = right_parts = 0
    lossy = options.drop_events > 0
    try:
        async with asyncio.timeout(options.duration):
            while True:
                await asyncio.sleep(SAMPLE_EVERY)
                before = broker.truth().without(CLIENT_ID)
                try:
                    scrape = Scrape.parse(await daemon.metrics())
                except DemoError as error:
                    samples += 1
                    print_line(str(error))
                    continue
                after = broker.truth().without(CLIENT_ID)
                agreed = presence_agrees(scrape, before, after, pending_is_online=lossy)
                samples += 1
                agreements += agreed
                right_parts += breakdown_agrees(scrape, before, after, pending_is_online=lossy)
                now = datetime.now().astimezone()
                print_line(report_line(now, scrape, after, agreed=agreed))
    except TimeoutError:
        pass
    finally:
        if samples:
            total = f"of {counted(samples, 'sample')}"
            if not options.status:
                print_line(f"presence by thing type and group was right in {right_parts} {total}")
            print_line(f"presenced and the broker agreed in {agreements} {total}")


def _check_free(listen: str) -> None:
    """Raise DemoError if the address cannot be listened on, before anything is started."""
    host, port = parse_listen(listen)
    try:
        family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
        socket.create_server((host or "", port), family=family).close()
    except OSError as error:
        raise DemoError(
            f"cannot listen on {listen}: {error.strerror}; choose another address with --listen"
        ) from error
