"""What the service manager sees of the daemon: ready or not, its state in words, a live loop.

Datagrams to the service manager, as sd_notify(3) describes them.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from presenced.presence import State
from presenced.sources.status import ConnectionStatus


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether every connection is up and every filter granted; `text` says so or says why not."""

    ready: bool
    text: str


class Notifier:
    """Tells the service manager at `address` what the daemon is about.

    The address is that of $NOTIFY_SOCKET: a path, or with a leading @ a name in the abstract
    namespace. Without one, and with any other kind, nothing is sent. A failure to send is never
    an error: the daemon can do its work unsupervised.
    """

    def __init__(self, address: str | None) -> None:
        self._address: str | None = None
        if address and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address
            # Not blocking, so that a manager that is busy with itself does not hold up the loop.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """The one that $NOTIFY_SOCKET asks for."""
        return cls(environ.get("NOTIFY_SOCKET"))

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told."""
        return self._address is not None

    def send(self, **assignments: str | int) -> bool:
        """Send such assignments as `READY=1` in one datagram; returns whether it was sent."""
        if self._address is None:
            return False
        lines = [f"{key}={_one_line(str(value))}" for key, value in assignments.items()]
        try:
            self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Send nothing more."""
        if self._address is not None:
            self._address = None
            self._socket.close()


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """The seconds within which the manager wants to hear from this process; None if it does not.

    As sd_watchdog_enabled(3): $WATCHDOG_PID, where it is set, must be this process.
    """
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def _one_line(text: str) -> str:
    """The text without line ends: in a datagram they end an assignment."""
    return " ".join(text.split())


_LOOK_EVERY = 1.0
_LOOK_EVERY_AT_START = 0.1
_READY_WITHIN = 60.0
_SHOWN = (State.ONLINE, State.PENDING, State.OFFLINE, State.UNKNOWN)
_ALWAYS_SHOWN = (State.ONLINE, State.OFFLINE)


class Supervision:
    """Reports to the service manager from a timer of the event loop, so that a hung loop is silent.

    READY=1 goes out once `ready` holds, so that units ordered after this one find it at work; but
    at latest after `ready_within` seconds. The broker being down is a state and no reason to hold
    up the boot of a machine for ever, and the watchdog counts only from READY=1 on. `status` is
    what `systemctl status` is to show; it is sent when it has changed, once a second at most.
    """

    def __init__(
        self,
        ready: Callable[[], bool],
        status: Callable[[], str],
        *,
        notifier: Notifier | None = None,
        watchdog: float | None = None,
        ready_within: float = _READY_WITHIN,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = ready
        self._status = status
        self._notifier = notifier or Notifier.from_environment()
        self._watchdog = watchdog or watchdog_interval()
        self._ready_until = self._loop.time() + ready_within
        self._announced = False
        self._told: str | None = None
        self._told_at = -_LOOK_EVERY
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to report."""
        if self._notifier.wanted:
            self._look()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the configuration is being reloaded, and that it has been."""
        if self._announced:
            # The manager pairs the two by this time (sd_notify(3), RELOADING=1).
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.send(RELOADING=1, MONOTONIC_USEC=now, STATUS="reloading")
            self._told = None
        try:
            yield
        finally:
            if self._announced:
                self._told = self._status()
                self._notifier.send(READY=1, STATUS=self._told)

    def stop(self) -> None:
        """Tell that the daemon is about to end, and report nothing more."""
        if self._handle is not None:
            self._handle.cancel()
        self._notifier.send(STOPPING=1, STATUS="stopping")
        self._notifier.close()

    def _look(self) -> None:
        try:
            now = self._loop.time()
            self._tell_status(now)
            if not self._announced and (self._ready() or now >= self._ready_until):
                self._announced = self._notifier.send(READY=1)
            if self._watchdog is not None:
                self._notifier.send(WATCHDOG=1)
        finally:
            self._handle = self._loop.call_later(self._pause, self._look)

    def _tell_status(self, now: float) -> None:
        if now - self._told_at < _LOOK_EVERY:
            return
        status = self._status()
        if status != self._told and self._notifier.send(STATUS=status):
            self._told, self._told_at = status, now

    @property
    def _pause(self) -> float:
        longest = _LOOK_EVERY if self._announced else _LOOK_EVERY_AT_START
        return longest if self._watchdog is None else min(longest, self._watchdog / 3)


def status_line(clients: Mapping[State, int], connections: Sequence[ConnectionStatus]) -> str:
    """Clients and connections in one line, such as `systemctl status` shows."""
    shown = [state for state in _SHOWN if clients[state] or state in _ALWAYS_SHOWN]
    counts = ", ".join(f"{clients[state]} {state}" for state in shown)
    return f"clients: {counts}; {_connection_state(connections)}"


def _connection_state(connections: Sequence[ConnectionStatus]) -> str:
    problems = [f"{c.client_id}: {c.problem}" for c in connections if c.problem is not None]
    if not connections:
        return "starting"
    if not problems:
        count = f"by {len(connections)} connections " if len(connections) > 1 else ""
        return f"connected {count}to {connections[0].endpoint}"
    if len(problems) == len(connections):
        return f"not connected: {'; '.join(problems)}"
    up = len(connections) - len(problems)
    return f"{up} of {len(connections)} connections up: {'; '.join(problems)}"
