"""A small MQTT 3.1.1 client that can also be rude.

Client libraries do their best to ping in time and to say goodbye. A simulated device must be able
to fall silent and to vanish, so it speaks the few packets it needs itself.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Self

CONNACK = 0x20
PINGREQ = bytes([0xC0, 0])
DISCONNECT = bytes([0xE0, 0])
SETUP_TIMEOUT = 20.0
CLOSE_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the broker is and how to speak to it safely."""

    host: str
    port: int
    tls: ssl.SSLContext


def encode_packet(head: int, body: bytes) -> bytes:
    """Prefix a packet's body with its first byte and its length (MQTT 3.1.1 section 2.2)."""
    length = bytearray()
    rest = len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([head, *length]) + body


def connect_packet(client_id: str, keep_alive: int) -> bytes:
    """CONNECT with a clean session; `keep_alive` is in seconds."""
    options = bytes([4, 0b10]) + keep_alive.to_bytes(2, "big")
    return encode_packet(0x10, _string("MQTT") + options + _string(client_id))


def subscribe_packet(topic_filter: str) -> bytes:
    """SUBSCRIBE to one topic filter at QoS 0, with packet identifier 1."""
    return encode_packet(0x82, bytes([0, 1]) + _string(topic_filter) + bytes([0]))


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one packet: its first byte and its body."""
    head = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        if digit < 0x80:
            return head, await reader.readexactly(length)
        shift += 7


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


class Link:
    """One MQTT connection of a device. Made by `open`; ended by `disconnect` or `drop`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep_alive: int
    ) -> None:
        self._writer = writer
        self._keep_alive = keep_alive
        self._lost = asyncio.create_task(self._discard(reader))

    @classmethod
    async def open(cls, server: Server, client_id: str, *, keep_alive: int) -> Self:
        """Connect and be accepted, or raise OSError."""
        async with asyncio.timeout(SETUP_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                server.host, server.port, ssl=server.tls, ssl_shutdown_timeout=CLOSE_TIMEOUT
            )
            try:
                writer.write(connect_packet(client_id, keep_alive))
                await _accepted(reader)
            except BaseException:
                writer.transport.abort()
                raise
        return cls(reader, writer, keep_alive)

    @property
    def lost(self) -> bool:
        """Whether the broker or the network ended the connection."""
        return self._lost.done()

    def subscribe(self, topic_filter: str) -> None:
        """Ask for the messages of one topic filter."""
        self._writer.write(subscribe_packet(topic_filter))

    async def stay(self, seconds: float) -> None:
        """Stay connected, pinging twice per keep-alive; return early when the link is lost."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0 and not self.lost:
            self._writer.write(PINGREQ)
            await asyncio.wait({self._lost}, timeout=min(left, self._keep_alive / 2))

    async def fall_silent(self, seconds: float) -> None:
        """Send nothing, not even pings, until the broker ends the link or the time is over."""
        await asyncio.wait({self._lost}, timeout=seconds)

    async def disconnect(self) -> None:
        """Say goodbye and close."""
        if not self.lost:
            self._writer.write(DISCONNECT)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        self.drop()

    def drop(self) -> None:
        """Vanish: close the socket without a word."""
        self._writer.transport.abort()
        self._lost.cancel()

    @staticmethod
    async def _discard(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await read_packet(reader)


async def _accepted(reader: asyncio.StreamReader) -> None:
    try:
        head, body = await read_packet(reader)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the broker closed the connection") from error
    if head != CONNACK or body[1] != 0:
        raise ConnectionRefusedError("the broker refused the connection")
