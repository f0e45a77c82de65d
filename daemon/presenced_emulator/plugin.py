"""Between amqtt and the embedded broker: what amqtt tells, and how it reads and writes.

amqtt calls plugins from the task that serves a connection, or from tasks which that one started;
so a context variable tells a plugin whose connection it is called for.

One client's network connection as the embedded broker sees it.
"""

import asyncio
import hashlib
from contextvars import ContextVar
from typing import Any, Protocol

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from presenced_emulator.lifecycle import Connection, DisconnectReason

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


class Host(Protocol):
    """Who is told of what clients do."""

    async def admit(self, peer: Peer, client_id: str, keep_alive: int) -> None:
        """Make room for a client that said CONNECT, before it is accepted."""

    def connected(self, peer: Peer, *, clean_session: bool) -> None:
        """Note that the client has been accepted."""

    def subscribed(self, peer: Peer, topic: str) -> None:
        """Note that the client subscribed to a topic filter."""

    def unsubscribed(self, peer: Peer, topic: str) -> None:
        """Note that the client unsubscribed from a topic filter."""


serving: ContextVar[tuple[Host, Peer]] = ContextVar("serving")


class LifecyclePlugin(BaseAuthPlugin):
    """Passes what happens to a connection on to the host.

    It is an authentication plugin because that hook is the only one that amqtt waits for before it
    accepts a client. The TLS handshake has authenticated the client already.
    """

    async def authenticate(self, *, session: Session) -> bool:
        """Accept the client once the host has made room for it."""
        host, peer = serving.get()
        await host.admit(peer, str(session.client_id), session.keep_alive)
        return True

    async def on_broker_client_connected(self, *, client_session: Session, **_: Any) -> None:
        """Tell the host that CONNACK is sent."""
        host, peer = serving.get()
        host.connected(peer, clean_session=bool(client_session.clean_session))

    async def on_broker_client_subscribed(self, *, topic: str, **_: Any) -> None:
        """Tell the host that a topic filter is granted."""
        host, peer = serving.get()
        host.subscribed(peer, topic)

    async def on_broker_client_unsubscribed(self, *, topic: str, **_: Any) -> None:
        """Tell the host that a topic filter is given up."""
        host, peer = serving.get()
        host.unsubscribed(peer, topic)

    async def on_mqtt_packet_received(self, *, packet: object, **_: Any) -> None:
        """Note a DISCONNECT, because amqtt does not tell plugins how a connection ended."""
        if isinstance(packet, DisconnectPacket):
            peer = serving.get()[1]
            peer.ending(DisconnectReason.CLIENT_INITIATED_DISCONNECT)


class PeerReader(StreamReaderAdapter):
    """Reads for amqtt and notes what is heard, or that nothing more will be."""

    def __init__(self, reader: asyncio.StreamReader, peer: Peer) -> None:
        super().__init__(reader)
        self._peer = peer

    async def read(self, n: int = -1) -> bytes:
        """Read exactly n bytes, or to the end with -1."""
        try:
            data = await super().read(n)
        except (EOFError, OSError):
            self._peer.closed()
            raise
        self._peer.heard()
        return data


class PeerWriter(StreamWriterAdapter):
    """Writes for amqtt; neither waits for a client that has stopped reading nor writes to nobody.

    asyncio complains of writes to a connection that is already gone.
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
