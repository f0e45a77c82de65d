"""The interface to the two MQTT libraries: one connection, from its CONNECT to its end."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from presenced.events.message import Message
from presenced.settings.files import FileSnapshot
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.faults import Fault
from presenced.sources.mqtt.status import ConnectionStatus

# As many unacknowledged QoS 1 messages as AWS IoT Core keeps on a connection.
RECEIVE_MAXIMUM = 100
_LONGEST_PING_TIMEOUT = 10.0


def ping_timeout(keep_alive: float) -> float:
    """Return how long to wait for a PINGRESP, in seconds.

    At most half the keep-alive: a connection on which nothing arrives any more is noticed within
    one and a half times the keep-alive, which is what the documentation of `mqtt.keep_alive` says.
    """
    return min(_LONGEST_PING_TIMEOUT, keep_alive / 2)


class ConnectError(Exception):
    """An attempt to connect failed because of `fault`.

    If it is not `certain`, the fault is a symptom, and a diagnosis may find the cause.
    """

    def __init__(self, fault: Fault, *, certain: bool = True) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.certain = certain


class Link(ABC):
    """One connection, used once: `open`, `subscribe` and `unsubscribe`, and always `close`.

    All methods are called on the event loop. `tls` is the result of `load_tls`. Messages go to the
    inbox. The accepted connection, refused messages and failing callbacks are reported to `status`.
    """

    def __init__(
        self, options: ConnectionOptions, tls: Any, inbox: Inbox, status: ConnectionStatus
    ) -> None:
        self._options = options
        self._tls = tls
        self._inbox = inbox
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._muted = False
        self._connected = False
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._end: asyncio.Future[Fault] = self._loop.create_future()

    @staticmethod
    @abstractmethod
    def load_tls(options: ConnectionOptions, snapshot: FileSnapshot) -> Any:
        """Read the certificate files into the TLS context of the library; blocks.

        Raises SettingsError if they cannot be read, and an exception of the library or OSError if
        they cannot be used.
        """

    @abstractmethod
    async def open(self) -> None:
        """Connect and wait until the broker accepts. Raises ConnectError."""

    @abstractmethod
    async def subscribe(self, filters: list[str]) -> Sequence[int]:
        """Send one SUBSCRIBE and return the reason codes of its SUBACK.

        Raises an exception of the library if none comes.
        """

    @abstractmethod
    async def unsubscribe(self, filters: list[str]) -> Sequence[int]:
        """Send one UNSUBSCRIBE and return the reason codes of its UNSUBACK.

        Raises an exception of the library if none comes.
        """

    @abstractmethod
    async def close(self) -> None:
        """Send what waits to be sent and DISCONNECT, within 3 seconds."""

    @property
    def ended(self) -> bool:
        """Whether the connection has ended."""
        return self._end.done()

    async def lost(self) -> Fault:
        """Wait for the end of the connection and return its cause."""
        return await asyncio.shield(self._end)

    def mute(self) -> None:
        """Stop reporting messages and changes, before `close`."""
        self._muted = True

    def fail(self, error: ConnectError) -> None:
        """Make `open` raise this error, unless the attempt is over."""
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # else asyncio reports it if `open` was cancelled

    def _accepted(self, *, resumed: bool) -> None:
        """Report the CONNACK at once, before any message."""
        if not self._opened.done() and not self._muted:
            self._connected = True
            self._status.up(resumed=resumed)
            self._opened.set_result(None)

    def _ended(self, fault: Fault) -> None:
        self._connected = False
        if not self._end.done():
            self._end.set_result(fault)

    def _receive(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        acknowledge: Callable[[], None] | None,
        *,
        retained: bool,
    ) -> None:
        message = Message(
            topic=topic,
            payload=payload,
            qos=qos,
            received=time.time(),
            moment=time.monotonic(),
            connection=self._options.client_id,
            acknowledge=acknowledge,
            retained=retained,
        )
        if not self._inbox.put(message):
            self._status.refused(message)
