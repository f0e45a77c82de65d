"""The `demo` command: embedded broker, simulated devices, and the daemon on it, unchanged."""

import asyncio
import random
import resource
import socket
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from presenced.settings.values import parse_listen
from presenced.system.loop import race, stop_signals
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import HOST, client_context, issue
from presenced_emulator.daemon import CLIENT_ID, Daemon, DemoError, configuration, url_of
from presenced_emulator.fleet import run_fleet
from presenced_emulator.truth import Scrape, Tally, agree, is_right, report_line
from presenced_emulator.wire import Server

SAMPLE_EVERY = 2.0
FILES_PER_DEVICE = 3
OTHER_FILES = 100
LEGEND = (
    "Pending is who disconnected within the offline delay of 5 s; in flight, whose event is on"
    " its way."
)


async def run_demo(*, devices: int, duration: float | None, listen: str, seed: int | None) -> int:
    """Show the daemon at work on a simulated fleet, and return the exit status.

    Ends after `duration` seconds, or with None when a signal asks for it. The same `seed` gives
    the same fleet.
    """
    chosen = random.randrange(10**6) if seed is None else seed  # noqa: S311
    _allow_files(devices * FILES_PER_DEVICE + OTHER_FILES)
    try:
        _check_free(listen)
        with stop_signals() as stop, TemporaryDirectory(prefix="presenced-demo-") as directory:
            demo = Demo(Path(directory), devices=devices, listen=listen, seed=chosen)
            await race(demo.run(duration), stop.wait())
    except DemoError as error:
        sys.stderr.write(f"presenced demo: {error}\n")
        return 1
    return 0


class Demo:
    """One run of the demo, with its files in a private directory."""

    def __init__(self, directory: Path, *, devices: int, listen: str, seed: int) -> None:
        self._directory = directory
        self._devices = devices
        self._listen = listen
        self._seed = seed

    async def run(self, duration: float | None) -> None:
        """Set the stage, play for that many seconds or until cancelled, and clear everything."""
        certificates = issue(self._directory)
        url = url_of(parse_listen(self._listen))
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(EmulatedBroker(certificates, seed=self._seed))
            config = self._directory / "presenced.yaml"
            config.write_text(configuration(certificates, port=broker.port, listen=self._listen))
            _say(f"Configuration: {config}")
            _say(f"Metrics:       {url}/metrics")
            _say(f"Fleet:         {self._devices} devices, seed {self._seed}; Ctrl-C ends the demo")
            _say(LEGEND)
            daemon = await stack.enter_async_context(Daemon(config, url))
            # AWS replays nothing: a device that connected before the daemon has subscribed would
            # stay unseen until it next disconnects.
            await race(daemon.ready(), daemon.died())
            devices = Server(HOST, broker.port, client_context(certificates, certificates.devices))
            await race(
                run_fleet(self._devices, broker, devices, self._seed),
                _watch(broker, daemon, duration),
                daemon.died(),
            )


class Tallies:
    """How often the daemon told the truth: of presence, and of presence by type and group."""

    def __init__(self) -> None:
        self._presence = Tally()
        self._parts = Tally(claim="presence by thing type and group was right")

    def count(self, *, presence: bool, parts: bool) -> None:
        """Count one sample."""
        self._presence.count(agreed=presence)
        self._parts.count(agreed=parts)

    def lines(self) -> list[str]:
        """What there is to say of all samples; nothing without any."""
        return [str(each) for each in (self._parts, self._presence) if each.total]


async def _watch(broker: EmulatedBroker, daemon: Daemon, duration: float | None) -> None:
    tallies = Tallies()
    try:
        async with asyncio.timeout(duration):
            while True:
                await asyncio.sleep(SAMPLE_EVERY)
                _say(await _sample(broker, daemon, tallies))
    except TimeoutError:
        pass
    finally:
        for line in tallies.lines():
            _say(line)


async def _sample(broker: EmulatedBroker, daemon: Daemon, tallies: Tallies) -> str:
    before = broker.truth().without(CLIENT_ID)
    try:
        scrape = Scrape.parse(await daemon.metrics())
    except DemoError as error:
        tallies.count(presence=False, parts=False)
        return str(error)
    after = broker.truth().without(CLIENT_ID)
    agreed = agree(scrape, before, after)
    tallies.count(presence=agreed, parts=is_right(scrape.breakdown, before, after))
    return report_line(datetime.now().astimezone(), scrape, after, agreed=agreed)


def _check_free(listen: str) -> None:
    """Say so early when the metrics address is not to be had."""
    host, port = parse_listen(listen)
    try:
        with socket.socket(socket.AF_INET6 if host and ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host or "", port))
    except OSError as error:
        raise DemoError(
            f"cannot listen on {listen}: {error.strerror}; choose another address with --listen"
        ) from error


def _allow_files(needed: int) -> None:
    """Raise the soft limit of open files as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed and (hard == resource.RLIM_INFINITY or soft < hard):
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
