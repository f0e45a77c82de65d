"""Between amqtt and the embedded broker: what amqtt tells, and how it reads and writes.

amqtt calls plugins from the task that serves a connection, or from tasks which that one started;
so a context variable tells a plugin whose connection it is called for.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, Protocol

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from presenced.emulator.lifecycle import DisconnectReason
from presenced.emulator.peer import Peer

__all__ = ["Host", "LifecyclePlugin", "PeerReader", "PeerWriter", "serving"]


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
