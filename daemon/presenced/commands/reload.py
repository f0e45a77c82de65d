"""`presenced reload`: have the running daemon read its configuration again, and print the result.

The daemon is the process that holds the lock of the configuration's state file; it gets SIGHUP.
Without such a process, `POST /-/reload` is tried if the configuration allows it.
"""

import argparse
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from presenced.commands.output import DONE, WRONG, CommandError, print_error
from presenced.commands.state_path import read_settings, state_path
from presenced.settings import MetricsSettings
from presenced.store.lock import LockHolder

_TIMEOUT, _INTERVAL = 30.0, 0.05
_OTHER_WAYS = (
    "run `systemctl reload presenced`, or this command in the container of presenced, or send "
    "SIGHUP to its process"
)
_WAYS_WITHOUT_FILE = (
    "run `systemctl reload 'presenced-worker@*'`, or send SIGHUP to its process, or set"
    " metrics.enable_reload_endpoint"
)
_INTERNAL_ERROR = 500
_AS_ROOT = "run this command as root, or as the user that presenced runs as"


def run(options: argparse.Namespace) -> int:
    """Reload and return the exit status: 2 if the configuration is not valid.

    Raises SettingsError and CommandError.
    """
    settings = read_settings(options.config)
    path = state_path(settings, options.config)
    holder = _holder(path) if path is not None else None
    if holder is not None:
        problems = _reload_by_signal(holder)
    elif settings.metrics.enable_reload_endpoint and settings.metrics.web_config is None:
        problems = _reload_by_request(settings.metrics)
    elif path is not None:
        raise CommandError(f"no running presenced has the state file {path}: {_OTHER_WAYS}")
    elif settings.source == "kafka":
        raise CommandError(
            "presenced is found by the lock of its state file, and with source: kafka it has none:"
            f" {_WAYS_WITHOUT_FILE}"
        )
    else:
        raise CommandError(
            f"{options.config} sets no state.path, and presenced is found by the lock of its state "
            f"file: set state.path, or {_OTHER_WAYS}"
        )
    for problem in problems:
        print_error(f"presenced: {problem}")
    if problems:
        print_error("presenced: the configuration was not reloaded; the running one stays")
        return WRONG
    print("The configuration was reloaded.")
    return DONE


def _holder(path: Path) -> LockHolder | None:
    try:
        return LockHolder.of(path)
    except OSError as error:
        reason = f"the lock of the state file {path} cannot be read ({error.strerror})"
        raise CommandError(f"{reason}: {_AS_ROOT}") from error


def _reload_by_signal(holder: LockHolder) -> Sequence[str]:
    """Send SIGHUP and return what is wrong with the configuration. Raises CommandError."""
    name = f"presenced (process {holder.number})"
    try:
        # It stays that of this process, even if the number is used again.
        process = os.pidfd_open(holder.number)
        try:
            if not (holder.is_confirmed and _catches_hangup(holder.number)):
                raise CommandError(f"{name} is starting or stopping: try again in a moment")
            before = holder.last_reload.number
            signal.pidfd_send_signal(process, signal.SIGHUP)
            return _next_reload(holder, before)
        finally:
            os.close(process)
    except PermissionError as error:
        raise CommandError(f"{name} does not take signals of this user: {_AS_ROOT}") from error
    except OSError as error:
        raise CommandError(f"{name} cannot be found from here: {_OTHER_WAYS}") from error


def _next_reload(holder: LockHolder, before: int) -> Sequence[str]:
    """Wait for the reload after number `before`, and return its problems. Raises CommandError."""
    deadline = time.monotonic() + _TIMEOUT
    while (reload := holder.last_reload).number <= before:
        if not Path(f"/proc/{holder.number}").exists():
            raise CommandError("presenced exited during the reload; see its log")
        if time.monotonic() >= deadline:
            raise CommandError(
                f"presenced received SIGHUP but reported no result within {_TIMEOUT:g} s;"
                " see its log"
            )
        time.sleep(_INTERVAL)
    return reload.problems


def _catches_hangup(number: int) -> bool:
    """Whether a process handles SIGHUP, which would end any other one. Raises OSError."""
    lines = Path(f"/proc/{number}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) & 1 << (signal.SIGHUP - 1))


def _reload_by_request(metrics: MetricsSettings) -> Sequence[str]:
    """Request `POST /-/reload` and return what is wrong. Raises CommandError."""
    host, port = metrics.listen_address.reachable_host, metrics.listen_address.port
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/-/reload"
    open_directly = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    try:
        open_directly(urllib.request.Request(url, method="POST"), timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code == _INTERNAL_ERROR:
            return error.read().decode(errors="replace").splitlines()[1:]
        raise CommandError(f"{url} answers {error.code} {error.reason}: {_OTHER_WAYS}") from error
    except OSError as error:
        raise CommandError(f"presenced does not answer at {url}: {error}") from error
    return []
