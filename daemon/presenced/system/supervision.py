"""Reports to the service manager: readiness, a status line, a watchdog for the event loop."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

_STATUS_INTERVAL = 1.0
_CHECK_INTERVAL = 1.0
_CHECK_INTERVAL_AT_START = 0.1
_READY_WITHIN = 60.0


class Unreceived(NamedTuple):
    """Topic filters whose messages do not all come, while those of others do.

    `connects` and `disconnects` are whether such messages are among these. `is_behind` is whether
    the others are still catching up, `holds` whether clients that disconnect stay pending.
    """

    filters: Sequence[str]
    connects: bool
    disconnects: bool
    is_behind: bool = False
    holds: bool = False

    @property
    def is_of_clients(self) -> bool:
        """Whether the states of clients may be wrong for it."""
        return self.connects or self.disconnects


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether events are received and none that had waited is left; `text` is the reason.

    While it is not ready, `catching_up` is whether events are received nevertheless, `unreceived`
    is what is not received if other events are, and `missing_since` is from when on events about
    clients may be missing (wall clock), if the source knows.
    """

    ready: bool
    text: str
    catching_up: bool = False
    missing_since: float | None = None
    unreceived: Unreceived | None = None


class Supervision:
    """Reports to the service manager from a timer of the event loop, so a hung loop is silent.

    READY=1 is sent when `ready` returns True, so that units ordered after this one find it working,
    but at the latest after 60 seconds: a broker that is down must not delay the boot of a
    machine, and the watchdog counts only from READY=1 on. `status` returns the text for
    `systemctl status`; it is sent with READY=1, and when it changes, at most once a second.
    """

    def __init__(self, ready: Callable[[], bool], status: Callable[[], str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = ready
        self._status = status
        self._notifier = Notifier(os.environ.get("NOTIFY_SOCKET"))
        self._watchdog = watchdog_interval()
        self._ready_until = self._loop.time() + _READY_WITHIN
        self._announced = False
        self._sent: str | None = None
        self._sent_at = -_STATUS_INTERVAL
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to report, if there is a service manager."""
        if self._notifier.wanted:
            self._report()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report that the configuration is being reloaded, and then that it has been."""
        if self._announced:
            # The manager pairs the two messages by this time (sd_notify(3), RELOADING=1).
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.send(RELOADING=1, MONOTONIC_USEC=now, STATUS="reloading")
        try:
            yield
        finally:
            if self._announced:
                self._sent = self._status()
                self._notifier.send(READY=1, STATUS=self._sent)

    def stop(self) -> None:
        """Report that the daemon is about to end; send nothing after that."""
        if self._handle is not None:
            self._handle.cancel()
        self._notifier.send(STOPPING=1, STATUS="stopping")
        self._notifier.close()

    def _report(self) -> None:
        interval = _CHECK_INTERVAL if self._announced else _CHECK_INTERVAL_AT_START
        if self._watchdog is not None:
            interval = min(interval, self._watchdog / 3)
        # Set first, so that an error in `status` or `ready` does not end the reports.
        self._handle = self._loop.call_later(interval, self._report)
        now = self._loop.time()
        if not self._announced and (self._ready() or now >= self._ready_until):
            # The status of that moment: people look at it when `systemctl start` returns.
            status = self._status()
            self._announced = self._notifier.send(READY=1, STATUS=status)
            if self._announced:
                self._sent, self._sent_at = status, now
        elif now - self._sent_at >= _STATUS_INTERVAL:
            status = self._status()
            if status != self._sent and self._notifier.send(STATUS=status):
                self._sent, self._sent_at = status, now
        if self._watchdog is not None:
            self._notifier.send(WATCHDOG=1)


class Notifier:
    """Sends datagrams to the service manager, as in sd_notify(3).

    `address` is the value of $NOTIFY_SOCKET: a path, or with a leading @ a name in the abstract
    namespace. Without an address, or with one of another kind, nothing is sent. A failure to send
    is not an error: the daemon works without supervision.
    """

    def __init__(self, address: str | None) -> None:
        self._address: str | None = None
        if address and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address
            # Non-blocking, so that a busy manager does not block the loop.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @property
    def wanted(self) -> bool:
        """Whether there is a service manager to send to."""
        return self._address is not None

    def send(self, **assignments: str | int) -> bool:
        """Send assignments such as `READY=1` in one datagram; return whether it was sent."""
        if self._address is None:
            return False
        # A line end would end the assignment.
        lines = [f"{key}={' '.join(str(value).split())}" for key, value in assignments.items()]
        try:
            self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Send nothing from now on."""
        if self._address is not None:
            self._address = None
            self._socket.close()


def watchdog_interval() -> float | None:
    """Return the seconds within which the manager expects a WATCHDOG=1; None if it expects none.

    As in sd_watchdog_enabled(3), $WATCHDOG_PID must be this process if it is set.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None
