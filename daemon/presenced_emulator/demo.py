"""The `demo` command: the daemon on an embedded broker with simulated devices."""

import argparse
import asyncio
import socket
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from presenced.commands.output import DONE, counted, print_line
from presenced.settings.values import parse_listen
from presenced.system.loop import race, stop_signals
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import HOST, issue
from presenced_emulator.clients import KEEP_ALIVE, Server, run_fleet
from presenced_emulator.daemon import CLIENT_ID, DaemonProcess, DemoError, configuration, url_of
from presenced_emulator.fleet import FleetLife, FleetPlan
from presenced_emulator.limits import check_devices, machine_limits
from presenced_emulator.peer import KEEP_ALIVE_FACTOR
from presenced_emulator.truth import Scrape, breakdown_agrees, presence_agrees, report_line

SAMPLE_EVERY = 2.0
LEGEND = (
    "Pending: disconnected within the offline delay of 5 s. In flight: a connect or disconnect is"
    " not delivered yet."
)


def run(options: argparse.Namespace) -> int:
    """Run the demo for `options.duration` seconds, or with None until a signal.

    Raises DemoError, and SettingsError if the machine cannot run the devices.
    """
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
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmulatedBroker(certificates, seed=seed))
        config = directory / "presenced.yaml"
        config.write_text(configuration(certificates, port=broker.port, listen=listen))
        print_line(f"Configuration: {config}")
        print_line(f"Console:       {url}/")
        print_line(f"Metrics:       {url}/metrics")
        print_line(
            f"Fleet:         {counted(devices, 'device')}, seed {seed}; Ctrl-C ends the demo"
        )
        print_line(LEGEND)
        daemon = await stack.enter_async_context(DaemonProcess(config, url))
        # AWS repeats nothing: a device that connected before the daemon has subscribed would stay
        # unknown until it next disconnects.
        await race(daemon.ready(), daemon.died())
        silence = KEEP_ALIVE * KEEP_ALIVE_FACTOR
        plan = FleetPlan(devices=devices, seed=seed, changes=True, silence=silence)
        server = Server(HOST, broker.port, certificates.devices)
        await race(
            run_fleet(FleetLife(plan, broker.registry), broker.publish, server),
            _compare(broker, daemon, options.duration),
            daemon.died(),
        )


async def _compare(broker: EmulatedBroker, daemon: DaemonProcess, duration: float | None) -> None:
    """Compare daemon and broker until the time is over, and print each sample and the sums."""
    samples = agreements = right_parts = 0
    try:
        async with asyncio.timeout(duration):
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
                agreed = presence_agrees(scrape, before, after)
                samples += 1
                agreements += agreed
                right_parts += breakdown_agrees(scrape, before, after)
                now = datetime.now().astimezone()
                print_line(report_line(now, scrape, after, agreed=agreed))
    except TimeoutError:
        pass
    finally:
        if samples:
            total = f"of {counted(samples, 'sample')}"
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
