"""One client's network connection, as the embedded broker sees it."""

import asyncio
import hashlib

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter

from presenced.system.loop import abort_transport
from presenced_emulator.lifecycle import Connection, DisconnectReason

# A silent client is disconnected after this many keep-alive times (MQTT 3.1.1 section 3.1.2.10).
KEEP_ALIVE_FACTOR = 1.5

_NOTICE_WITHIN = 1.0


class Peer(StreamReaderAdapter):
    """Reads for amqtt, ends the connection if necessary, and keeps why it ended.

    `client_id` and `keep_alive` are set by CONNECT, `connection` when the client has been accepted.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader)
        self.client_id: str | None = None
        self.keep_alive = 0
        """In seconds; 0 is none."""
        self.connection: Connection | None = None
        self.gone = asyncio.Event()
        self._writer = writer
        self._closed = asyncio.Event()
        self._reason: DisconnectReason | None = None
        self._loop = asyncio.get_running_loop()
        self._last_received = self._loop.time()
        self._timeout = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> DisconnectReason:
        """Why the connection ended: the first cause noted, else it was lost."""
        return self._reason or DisconnectReason.CONNECTION_LOST

    @property
    def ip_address(self) -> str:
        """The address that the client connects from; empty if it was gone when accepted."""
        address = self._writer.get_extra_info("peername")
        return str(address[0]) if address else ""

    @property
    def principal(self) -> str:
        """The ID of the client's certificate: its SHA-256 fingerprint, as in AWS IoT Core."""
        certificate = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hashlib.sha256(certificate).hexdigest()

    async def read(self, n: int = -1) -> bytes:
        """Read exactly n bytes, or to the end with -1."""
        try:
            data = await super().read(n)
        except (EOFError, OSError):
            self._closed.set()
            raise
        self._last_received = self._loop.time()
        return data

    def start_keep_alive(self, seconds: int) -> None:
        """End the connection when nothing arrives for 1.5 times the keep-alive; 0 is no limit."""
        self.keep_alive = seconds
        self._timeout = seconds * KEEP_ALIVE_FACTOR
        if seconds:
            self._check_keep_alive()

    def ending(self, reason: DisconnectReason) -> None:
        """Note why the connection is about to end; later causes are consequences."""
        self._reason = self._reason or reason

    def end(self, reason: DisconnectReason) -> None:
        """End the connection at once, for this reason unless it has ended already."""
        if not self._closed.is_set():
            self.ending(reason)
        abort_transport(self._writer.transport)
        self._closed.set()

    async def abandoned(self) -> None:
        """Wait until the connection is closed and amqtt has had time to notice."""
        await self._closed.wait()
        await asyncio.sleep(_NOTICE_WITHIN)

    def leave(self) -> None:
        """Note that the connection has ended."""
        if self._timer:
            self._timer.cancel()
        self._writer.close()
        self.gone.set()

    def _check_keep_alive(self) -> None:
        left = self._last_received + self._timeout - self._loop.time()
        if left <= 0:
            self.end(DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT)
        else:
            self._timer = self._loop.call_later(left, self._check_keep_alive)


class PeerWriter(StreamWriterAdapter):
    """Writes for amqtt, except to a connection that is gone, about which asyncio would complain.

    Closing does not wait for a client that has stopped reading.
    """

    def write(self, data: bytes) -> None:
        """Write, unless the connection is gone."""
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough, unless the connection is gone."""
        if not self._writer.is_closing():
            await self._writer.drain()

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
