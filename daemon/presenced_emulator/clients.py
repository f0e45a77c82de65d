"""The simulated devices as MQTT 3.1.1 clients.

Client libraries ping in time and disconnect cleanly. A simulated device must be able to fall silent
and to vanish, so it sends the few packets that it needs itself.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple, Never, Self

from amqtt.mqtt.connect import ConnectPacket, ConnectPayload, ConnectVariableHeader
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.subscribe import SubscribePacket

from presenced_emulator.devices import Ending
from presenced_emulator.events import EventMessage
from presenced_emulator.fleet import Connect, Disconnect, FleetLife, Remove

KEEP_ALIVE = 6
RETRY_AFTER = 1.0
SETUP_TIMEOUT = 20.0
CLOSE_TIMEOUT = 2.0

# CONNACK without a session, as the connections have a clean one (MQTT 3.1.1 section 3.2).
_ACCEPTED = bytes([0x20, 2, 0, 0])


class Server(NamedTuple):
    """The broker's address, and how to authenticate."""

    host: str
    port: int
    tls: ssl.SSLContext


class DeviceConnection:
    """One MQTT connection, which pings twice per keep-alive.

    Made by `open`; ended by `disconnect` or `drop`.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep_alive: int
    ) -> None:
        self._writer = writer
        self._receiving = asyncio.create_task(self._receive(reader))
        self._pinging = asyncio.create_task(self._ping(keep_alive / 2))

    @classmethod
    async def open(cls, server: Server, client_id: str, *, keep_alive: int) -> Self:
        """Connect and wait for acceptance. Raises OSError or EOFError."""
        async with asyncio.timeout(SETUP_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                server.host, server.port, ssl=server.tls, ssl_shutdown_timeout=CLOSE_TIMEOUT
            )
            header = ConnectVariableHeader(ConnectVariableHeader.CLEAN_SESSION_FLAG, keep_alive)
            packet = ConnectPacket(None, header, ConnectPayload(client_id))
            answer = b""
            try:
                writer.write(packet.to_bytes())
                answer = await reader.readexactly(len(_ACCEPTED))
            finally:
                if answer != _ACCEPTED:
                    writer.transport.abort()
        if answer != _ACCEPTED:
            raise ConnectionRefusedError("the broker refused the connection")
        return cls(reader, writer, keep_alive)

    @property
    def lost(self) -> bool:
        """Whether the broker or the network ended the connection."""
        return self._receiving.done()

    def on_lost(self, report: Callable[[Self], None]) -> None:
        """Call `report` with the link when it is lost or has been ended."""
        self._receiving.add_done_callback(lambda _: report(self))

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe to one topic filter at QoS 0; call it once."""
        self._writer.write(SubscribePacket.build([(topic_filter, 0)], 1).to_bytes())

    async def fall_silent(self, seconds: float) -> None:
        """Send nothing, not even pings, until the broker ends the link or the time is over."""
        self._pinging.cancel()
        await asyncio.wait({self._receiving}, timeout=seconds)

    async def disconnect(self) -> None:
        """Send DISCONNECT and close."""
        if not self.lost:
            self._writer.write(DisconnectPacket().to_bytes())
        self._pinging.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        self.drop()

    def drop(self) -> None:
        """Close the socket without DISCONNECT."""
        self._writer.transport.abort()
        self._pinging.cancel()
        self._receiving.cancel()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(2**16):
                pass
        self._pinging.cancel()

    async def _ping(self, interval: float) -> Never:
        while True:
            await asyncio.sleep(interval)
            self._writer.write(PingReqPacket().to_bytes())


class DeviceClient:
    """Performs the steps of one device, and reconnects when the broker ends its connection."""

    def __init__(self, client_id: str, server: Server, *, keep_alive: int = KEEP_ALIVE) -> None:
        self._client_id = client_id
        self._server = server
        self._keep_alive = keep_alive
        self._link: DeviceConnection | None = None
        self._queue: asyncio.Queue[Connect | Disconnect | Remove | DeviceConnection] = (
            asyncio.Queue()
        )

    def perform(self, step: Connect | Disconnect | Remove) -> None:
        """Perform a step after those before it."""
        self._queue.put_nowait(step)

    async def run(self) -> None:
        """Perform the steps until the device is removed; when cancelled, disconnect cleanly."""
        try:
            while True:
                step = await self._queue.get()
                if isinstance(step, Remove):
                    return
                if isinstance(step, Disconnect):
                    await self._end(step.ending)
                # A link that is lost but no longer the present one was ended on purpose.
                elif isinstance(step, Connect) or step is self._link:
                    await self._connect()
        finally:
            if self._link:
                await self._link.disconnect()

    async def _connect(self) -> None:
        while True:
            try:
                link = await DeviceConnection.open(
                    self._server, self._client_id, keep_alive=self._keep_alive
                )
                break
            except (OSError, EOFError):
                await asyncio.sleep(RETRY_AFTER)
        before, self._link = self._link, link
        if before:
            before.drop()
        link.on_lost(self._queue.put_nowait)
        link.subscribe(f"devices/{self._client_id}/commands")

    async def _end(self, ending: Ending) -> None:
        if (link := self._link) is None:
            return
        if ending is Ending.SLEEP:
            await link.disconnect()
        elif ending is Ending.SILENCE:
            await link.fall_silent(3.0 * self._keep_alive)
        link.drop()
        self._link = None


async def run_fleet(
    life: FleetLife,
    publish: Callable[[EventMessage], None],
    server: Server,
    *,
    pause_at: float = 0.0,
    resume: asyncio.Event | None = None,
) -> None:
    """Perform the steps of a fleet's life in real time; `publish` takes those of the registry.

    The life stands still at `pause_at`, in seconds after its start, until `resume` is set.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time()
    clients: dict[str, DeviceClient] = {}
    async with asyncio.TaskGroup() as group:
        while (at := life.next_at) is not None:
            if resume is not None and at >= pause_at:
                await resume.wait()
            await asyncio.sleep(begin + at - loop.time())
            # A fleet that is late slows down: to catch up would overload the machine even more.
            begin = max(begin, loop.time() - at)
            for step in life.advance(time.time()):
                if isinstance(step, EventMessage):
                    publish(step)
                    continue
                if step.client_id not in clients:
                    client = clients[step.client_id] = DeviceClient(step.client_id, server)
                    group.create_task(client.run())
                clients[step.client_id].perform(step)
                if isinstance(step, Remove):
                    del clients[step.client_id]
