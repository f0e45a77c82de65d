"""`presenced run`: the daemon as a process, with the signals that it handles."""

import argparse
import asyncio
import faulthandler
import signal
from collections.abc import Callable
from datetime import UTC, datetime

from presenced.commands.output import DONE, CommandError
from presenced.service.service import Service
from presenced.settings import DEFAULT_CONFIG, FLAGS, Settings, SettingsError, load_settings
from presenced.settings.credential_files import certificate_problems
from presenced.settings.files import FileSnapshot
from presenced.store.errors import StateDamagedError, StateError, StateUnusableError
from presenced.system import log
from presenced.system.loop import gc_frozen
from presenced.web.sockets import ListenerError


def run(options: argparse.Namespace) -> int:
    """Run the daemon until a signal stops it. Raises SettingsError and CommandError."""

    def load(snapshot: FileSnapshot, *fatal: str) -> Settings:
        return _load_settings(options, snapshot, fatal)

    settings = load(FileSnapshot(), "missing", "unreadable")
    log.configure(settings.log.level, settings.log.format)
    # A watchdog ends a hung daemon by SIGABRT, and this prints the stack of every thread.
    faulthandler.enable()
    try:
        asyncio.run(serve(settings, load))
    except (ListenerError, StateError) as error:
        raise CommandError(str(error)) from error
    return DONE


def _load_settings(
    options: argparse.Namespace, snapshot: FileSnapshot, fatal: tuple[str, ...]
) -> Settings:
    """Load the settings; the default configuration file may be missing.

    Raises SettingsError, also for errors in the certificate files: those of the kinds `fatal`, or
    of any kind if empty. At start only files that cannot be read are fatal: the connection reports
    what is wrong inside them, and notices when they are replaced. At a reload any error keeps the
    running configuration.
    """
    config = options.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    overrides = {key: getattr(options, key) for key in FLAGS}
    settings = load_settings(config, overrides=overrides, snapshot=snapshot)
    problems = [
        problem
        for problem in certificate_problems(settings, now=datetime.now(UTC), snapshot=snapshot)
        if problem.severity == "error" and (not fatal or problem.kind in fatal)
    ]
    if problems:
        raise SettingsError(problems)
    return settings


async def serve(settings: Settings, load: Callable[[FileSnapshot], Settings]) -> None:
    """Run the daemon until SIGTERM or SIGINT. SIGHUP reloads the settings that `load` returns.

    A second SIGTERM or SIGINT ends the process at once. Raises ListenerError, StateError and
    SettingsError.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    service = restored_service(settings, load)
    reloads: set[asyncio.Task[list[str]]] = set()

    def request_stop() -> None:
        if stop.is_set():
            raise SystemExit(1)
        stop.set()

    def reload() -> None:
        task = loop.create_task(service.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGTERM, request_stop)
    loop.add_signal_handler(signal.SIGINT, request_stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await service.run(stop)


def restored_service(settings: Settings, load: Callable[[FileSnapshot], Settings]) -> Service:
    """Return a service with the state of an earlier process.

    A damaged file has then been moved aside, and the service begins without state. Raises
    StateError.
    """
    with gc_frozen():
        try:
            # A service that has failed may have restored a part of the file: each has one attempt.
            try:
                service = Service(settings, load)
                service.restore()
            except StateDamagedError as damage:  # it has been moved aside: the next file is empty
                service = Service(settings, load)
                service.restore(damage)
        except StateUnusableError as error:
            if settings.state.on_error == "stall":
                raise
            service = Service(settings, load)
            service.run_from_memory(error)
    return service
