"""The `demo` command: the daemon as it is, on an embedded broker with simulated devices."""

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from presenced.settings.values import parse_listen
from presenced.system.loop import race, stop_signals
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import HOST, client_context, issue
from presenced_emulator.clients import KEEP_ALIVE, Server, run_fleet
from presenced_emulator.daemon import (
    CLIENT_ID,
    COMMAND,
    DaemonProcess,
    DemoError,
    configuration,
    url_of,
)
from presenced_emulator.fleet import FleetLife, FleetPlan
from presenced_emulator.limits import check_devices, machine_limits
from presenced_emulator.peer import KEEP_ALIVE_FACTOR
from presenced_emulator.truth import Scrape, Tally, breakdown_agrees, presence_agrees, report_line

SAMPLE_EVERY = 2.0
LEGEND = (
    "Pending: disconnected within the offline delay of 5 s. In flight: a connect or disconnect is"
    " not delivered yet."
)


def print_line(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One run of the demo; the same `seed` gives the same fleet.

    It ends after `duration` seconds, with None when a signal asks for it. `command` is how the
    daemon is started, `say` takes each line for the user.
    """

    devices: int
    duration: float | None
    listen: str
    seed: int
    command: Sequence[str] = COMMAND
    say: Callable[[str], None] = print_line

    async def run(self) -> None:
        """Run it. Raises DemoError, and SettingsError if the machine cannot run the devices."""
        check_devices(self.devices, machine_limits())
        _check_free(self.listen)
        with stop_signals() as stop, TemporaryDirectory(prefix="presenced-demo-") as directory:
            await race(self._run(Path(directory)), stop.wait())

    async def _run(self, directory: Path) -> None:
        certificates = issue(directory)
        url = url_of(parse_listen(self.listen))
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(EmulatedBroker(certificates, seed=self.seed))
            config = directory / "presenced.yaml"
            config.write_text(configuration(certificates, port=broker.port, listen=self.listen))
            self.say(f"Configuration: {config}")
            self.say(f"Console:       {url}/")
            self.say(f"Metrics:       {url}/metrics")
            self.say(
                f"Fleet:         {self.devices} devices, seed {self.seed}; Ctrl-C ends the demo"
            )
            self.say(LEGEND)
            daemon = await stack.enter_async_context(
                DaemonProcess(config, url, command=self.command)
            )
            # AWS repeats nothing: a device that connected before the daemon has subscribed would
            # stay unknown until it next disconnects.
            await race(daemon.ready(), daemon.died())
            plan = FleetPlan(
                devices=self.devices,
                seed=self.seed,
                changes=True,
                silence=KEEP_ALIVE * KEEP_ALIVE_FACTOR,
            )
            life = FleetLife(plan, broker.registry)
            server = Server(HOST, broker.port, client_context(certificates, certificates.devices))
            await race(
                run_fleet(life, broker.publish, server),
                self._compare(broker, daemon),
                daemon.died(),
            )

    async def _compare(self, broker: EmulatedBroker, daemon: DaemonProcess) -> None:
        """Compare daemon and broker until the time is over, and print each sample and the sums."""
        presence = Tally("presenced and the broker agreed")
        parts = Tally("presence by thing type and group was right")
        try:
            async with asyncio.timeout(self.duration):
                while True:
                    await asyncio.sleep(SAMPLE_EVERY)
                    before = broker.truth().without(CLIENT_ID)
                    try:
                        scrape = Scrape.parse(await daemon.metrics())
                    except DemoError as error:
                        presence.count(true=False)
                        parts.count(true=False)
                        self.say(str(error))
                        continue
                    after = broker.truth().without(CLIENT_ID)
                    agreed = presence_agrees(scrape, before, after)
                    presence.count(true=agreed)
                    parts.count(true=breakdown_agrees(scrape.breakdown, before, after))
                    now = datetime.now().astimezone()
                    self.say(report_line(now, scrape, after, agreed=agreed))
        except TimeoutError:
            pass
        finally:
            if presence.total:
                self.say(str(parts))
                self.say(str(presence))


def _check_free(listen: str) -> None:
    """Raise DemoError if the address cannot be listened on, before anything is started."""
    host, port = parse_listen(listen)
    try:
        with socket.socket(socket.AF_INET6 if host and ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host or "", port))
    except OSError as error:
        raise DemoError(
            f"cannot listen on {listen}: {error.strerror}; choose another address with --listen"
        ) from error
