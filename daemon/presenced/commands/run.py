"""The daemon as a process: what it restores at its start, and the signals that it obeys."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from presenced.service.service import Service
from presenced.settings import Settings
from presenced.store.errors import StateDamagedError, StateUnusableError
from presenced.system import log
from presenced.system.loop import gc_frozen


async def serve(settings: Settings, load: Callable[[], Settings]) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP has it reload what `load` returns.

    Raises ListenerError, StateError and SettingsError. A second signal to stop ends the process at
    once.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    service = _restored(settings, load)
    reloads: set[asyncio.Task[list[str]]] = set()

    def ask_to_stop() -> None:
        if stop.is_set():
            raise SystemExit(1)  # asked twice: leave at once
        stop.set()

    def reload() -> None:
        task = loop.create_task(service.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.set_exception_handler(_report_fault)
    loop.add_signal_handler(signal.SIGTERM, ask_to_stop)
    loop.add_signal_handler(signal.SIGINT, ask_to_stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await service.run(stop)


def _restored(settings: Settings, load: Callable[[], Settings]) -> Service:
    """Return a service with the state that an earlier process kept.

    A service into which a part of a file was restored is thrown away. Raises StateError.
    """
    with gc_frozen():
        try:
            return _with_state(settings, load)
        except StateDamagedError:  # it has been moved aside: the next file is empty
            return _with_state(settings, load)


def _with_state(settings: Settings, load: Callable[[], Settings]) -> Service:
    service = Service(settings, load)
    try:
        service.restore()
    except StateUnusableError as error:
        if settings.state.on_error == "stall":
            raise
        service = Service(settings, load)
        service.run_from_memory(error)
    return service


def _report_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in a callback or task that nobody waits for."""
    error = context.get("exception")
    log.get_logger("presenced").error("unexpected fault", what=context["message"], exc_info=error)
