"""Datagrams to the service manager, as sd_notify(3) describes them."""

import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier", "watchdog_interval"]


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
