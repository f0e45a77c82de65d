"""A broker that follows a script, for what no real one does on request."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
UNSUBSCRIBE, UNSUBACK = 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14


class Peer:
    """One client's connection, seen from the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.version = 5
        self.received: list[int] = []
        secured = writer.get_extra_info("ssl_object")
        self.alpn = secured.selected_alpn_protocol() if secured else None
        self.tls_version = secured.version() if secured else None

    async def packet(self) -> tuple[int, bytes]:
        """The next packet's type and body; asyncio.IncompleteReadError at the end."""
        first = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        body = await self._reader.readexactly(length)
        if first >> 4 == CONNECT:
            if body[2:6] != b"MQTT":  # a TLS ClientHello begins like a CONNECT
                raise ConnectionError("this is no MQTT")
            self.version = body[6]
        self.received.append(first >> 4)
        return first >> 4, body

    async def expect(self, kind: int) -> bytes:
        """The body of the next packet of this type; others are passed over."""
        while True:
            got, body = await self.packet()
            if got == kind:
                return body

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    def send(self, first: int, body: bytes) -> None:
        """Send a packet shorter than 128 bytes."""
        self.write(bytes([first, len(body)]) + body)

    def connack(self, code: int = 0, *, session_present: bool = False, said: str = "") -> None:
        """Answer CONNECT with a code of the client's own MQTT version."""
        head = bytes([session_present, code])
        if self.version == 5:
            text = said.encode()
            properties = b"\x1f" + struct.pack("!H", len(text)) + text if said else b""
            head += bytes([len(properties)]) + properties
        self.send(CONNACK << 4, head)

    def suback(self, subscribe: bytes, *codes: int) -> None:
        """Answer a SUBSCRIBE."""
        self.send(SUBACK << 4, subscribe[:2] + (b"\0" if self.version == 5 else b"") + bytes(codes))

    def unsuback(self, unsubscribe: bytes, *codes: int) -> None:
        """Answer an UNSUBSCRIBE; the answer of MQTT 3.1.1 has no codes."""
        more = b"\0" + bytes(codes) if self.version == 5 else b""
        self.send(UNSUBACK << 4, unsubscribe[:2] + more)

    def disconnect(self, code: int) -> None:
        """Send the DISCONNECT of MQTT 5."""
        self.send(DISCONNECT << 4, bytes([code, 0]))

    async def until_closed(self) -> None:
        """Read on until the client goes away."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self.packet()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted_broker(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run the script on each connection; gives the port. A connection ends with its script."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        tasks.add(asyncio.current_task())
        # Cancelled tasks too end quietly: asyncio's streams would log a traceback of each.
        endings = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*endings):
            await script(peer)
        peer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
