"""One client's network connection as the embedded broker sees it."""

import asyncio
import hashlib

from presenced.emulator.lifecycle import Connection, DisconnectReason

__all__ = ["Peer"]

KEEP_ALIVE_PATIENCE = 1.5
NOTICE_WITHIN = 1.0


class Peer:
    """Knows who is at the other end, ends the connection if need be, and knows why it ended.

    `client_id` is set when the client says CONNECT, `connection` when it has been accepted.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.client_id: str | None = None
        self.connection: Connection | None = None
        self.gone = asyncio.Event()
        self._writer = writer
        self._closed = asyncio.Event()
        self._reason: DisconnectReason | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._patience = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> DisconnectReason:
        """Why the connection ended: the first cause named, else it was lost."""
        return self._reason or DisconnectReason.CONNECTION_LOST

    @property
    def ip_address(self) -> str:
        """Where the client connects from."""
        return str(self._writer.get_extra_info("peername")[0])

    @property
    def principal(self) -> str:
        """The ID of the client's certificate: its SHA-256 fingerprint, as in AWS IoT Core."""
        certificate = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hashlib.sha256(certificate).hexdigest()

    def expect(self, keep_alive: int) -> None:
        """End the connection when nothing is heard for one and a half times the keep-alive.

        0 means to wait for ever (MQTT 3.1.1 section 3.1.2.10).
        """
        self._patience = keep_alive * KEEP_ALIVE_PATIENCE
        if keep_alive:
            self._check()

    def heard(self) -> None:
        """Note that the client has sent something."""
        self._heard = self._loop.time()

    def ending(self, reason: DisconnectReason) -> None:
        """Note why the connection is about to end; later causes are consequences."""
        self._reason = self._reason or reason

    def end(self, reason: DisconnectReason) -> None:
        """End the connection at once, for this reason unless the client was quicker."""
        if not self._closed.is_set():
            self.ending(reason)
        self._writer.transport.abort()
        self._closed.set()

    def closed(self) -> None:
        """Note that nothing more will be heard."""
        self._closed.set()

    async def abandoned(self) -> None:
        """Wait until the connection is closed and whoever serves it should have noticed."""
        await self._closed.wait()
        await asyncio.sleep(NOTICE_WITHIN)

    def leave(self) -> None:
        """Note that the connection has ended."""
        if self._alarm:
            self._alarm.cancel()
        self._writer.close()
        self.gone.set()

    def _check(self) -> None:
        left = self._heard + self._patience - self._loop.time()
        if left <= 0:
            self.end(DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT)
        else:
            self._alarm = self._loop.call_later(left, self._check)
