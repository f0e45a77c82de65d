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
from amqtt.mqtt.packet import PUBACK
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.subscribe import SubscribePacket

from presenced_emulator.devices import OFFLINE, ONLINE, Ending, status_topic
from presenced_emulator.events import EventMessage
from presenced_emulator.fleet import Connect, Disconnect, FleetLife, Refuse, Remove

KEEP_ALIVE = 6
RETRY_AFTER = 1.0
SETUP_TIMEOUT = 20.0
CLOSE_TIMEOUT = 2.0

# CONNACK without a session, as the connections have a clean one (MQTT 3.1.1 section 3.2).
_ACCEPTED = bytes([0x20, 2, 0, 0])
# The packet IDs of a connection.
_ONLINE_ID, _OFFLINE_ID = 1, 2


class Server(NamedTuple):
    """The broker's address, and how to authenticate."""

    host: str
    port: int
    tls: ssl.SSLContext


class DeviceConnection:
    """One MQTT connection, which pings twice per keep-alive.

    Made by `open`; ended by `disconnect` or `drop`. With a `status_topic`, "online" is published
    there, and "offline" by `disconnect`, else as the Last Will; both are retained.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        keep_alive: int,
        status_topic: str | None,
    ) -> None:
        self._writer = writer
        self._status_topic = status_topic
        self._offline_acknowledged = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive(reader))
        self._pinging = asyncio.create_task(self._ping(keep_alive / 2))

    @classmethod
    async def open(
        cls, server: Server, client_id: str, *, keep_alive: int, status_topic: str | None = None
    ) -> Self:
        """Connect and wait for acceptance. Raises OSError or EOFError."""
        async with asyncio.timeout(SETUP_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                server.host, server.port, ssl=server.tls, ssl_shutdown_timeout=CLOSE_TIMEOUT
            )
            header = ConnectVariableHeader(ConnectVariableHeader.CLEAN_SESSION_FLAG, keep_alive)
            payload = ConnectPayload(client_id)
            if status_topic is not None:
                header.will_flag, header.will_qos, header.will_retain_flag = True, 1, True
                payload.will_topic, payload.will_message = status_topic, OFFLINE
            packet = ConnectPacket(None, header, payload)
            answer = b""
            try:
                writer.write(packet.to_bytes())
                answer = await reader.readexactly(len(_ACCEPTED))
            finally:
                if answer != _ACCEPTED:
                    writer.transport.abort()
        if answer != _ACCEPTED:
            raise ConnectionRefusedError("the broker refused the connection")
        connection = cls(reader, writer, keep_alive, status_topic)
        connection._publish(ONLINE, _ONLINE_ID)
        return connection

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
            await self._publish_offline()
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
        with contextlib.suppress(OSError, EOFError):
            while True:
                # Acknowledgements and ping responses only, whose length is one byte.
                kind, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                if kind >> 4 == PUBACK and int.from_bytes(body) == _OFFLINE_ID:
                    self._offline_acknowledged.set()
        self._offline_acknowledged.set()  # or never will be
        self._pinging.cancel()

    def _publish(self, status: bytes, packet_id: int) -> None:
        if (topic := self._status_topic) is not None:
            packet = PublishPacket.build(topic, status, packet_id, False, 1, True)  # noqa: FBT003
            self._writer.write(packet.to_bytes())

    async def _publish_offline(self) -> None:
        """Report that the device is offline, and wait until the broker has received it.

        amqtt drops messages that it has not yet handled when DISCONNECT arrives.
        """
        if self._status_topic is not None:
            self._publish(OFFLINE, _OFFLINE_ID)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._offline_acknowledged.wait()

    async def _ping(self, interval: float) -> Never:
        while True:
            await asyncio.sleep(interval)
            self._writer.write(PingReqPacket().to_bytes())


class DeviceClient:
    """Performs the steps of one device, and reconnects when the broker ends its connection.

    The device subscribes to its commands, or with `reports_status` publishes whether it is online.
    """

    def __init__(
        self,
        client_id: str,
        server: Server,
        *,
        keep_alive: int = KEEP_ALIVE,
        reports_status: bool = False,
    ) -> None:
        self._client_id = client_id
        self._server = server
        self._status_topic = status_topic(client_id) if reports_status else None
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
                    self._server,
                    self._client_id,
                    keep_alive=self._keep_alive,
                    status_topic=self._status_topic,
                )
                break
            except (OSError, EOFError):
                await asyncio.sleep(RETRY_AFTER)
        before, self._link = self._link, link
        if before:
            before.drop()
        link.on_lost(self._queue.put_nowait)
        if self._status_topic is None:
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
    reports_status: bool = False,
) -> None:
    """Perform the steps of a fleet's life in real time; `publish` takes those of the registry.

    The life stands still at `pause_at`, in seconds after its start, until `resume` is set. Whether
    devices report their status is as in `DeviceClient`.
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
                if isinstance(step, Refuse):
                    continue  # the broker of the demo refuses no device
                if step.client_id not in clients:
                    client = clients[step.client_id] = DeviceClient(
                        step.client_id, server, reports_status=reports_status
                    )
                    group.create_task(client.run())
                clients[step.client_id].perform(step)
                if isinstance(step, Remove):
                    del clients[step.client_id]
