"""An MQTT broker on loopback that publishes event messages as AWS IoT Core does.

amqtt does the MQTT (3.1.1 only). What AWS does beyond it stands here: client certificates are
required, a silent client is dropped, a client ID that connects again takes over from its old
connection, and each of these is told in an event message under `$aws/events/`. So is what changes
in the registry.

Publishes event messages with AWS's manners and knows which are still under way.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Self

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType

from presenced.system.loop import race
from presenced_emulator.certificates import Certificates, server_context
from presenced_emulator.events import Event
from presenced_emulator.lifecycle import DisconnectReason, Ledger, delays, has_lifecycle_events
from presenced_emulator.plugin import LifecyclePlugin, Peer, PeerReader, PeerWriter, serving
from presenced_emulator.registry import Registry
from presenced_emulator.truth import Roll, Standing, Truth

# A subscriber is given this long to act on a message before it counts as arrived.
GRACE = 0.5


class Post:
    """Takes events and publishes each once or twice, some of them late."""

    def __init__(
        self, rng: random.Random, publish: Callable[[str, bytes], Awaitable[None]]
    ) -> None:
        self._rng = rng
        self._publish = publish
        self._due: asyncio.Queue[Event] = asyncio.Queue()
        self._clients: Counter[str] = Counter()
        self._things: Counter[str] = Counter()

    @property
    def clients_in_flight(self) -> frozenset[str]:
        """The clients of which a connect or disconnect is not, or only just, delivered.

        Second copies do not count: they must not change what anyone knows.
        """
        return frozenset(self._clients)

    @property
    def things_in_flight(self) -> frozenset[str]:
        """The things of which a change is not, or only just, delivered."""
        return frozenset(self._things)

    def send(self, event: Event) -> None:
        """Publish an event, as soon as it is its turn."""
        loop = asyncio.get_running_loop()
        first, *copies = delays(event, self._rng)
        for delay in copies:
            loop.call_later(delay, self._due.put_nowait, event)
        loop.call_later(first, self._due.put_nowait, event)
        self._clients.update(event.clients)
        self._things.update(event.things)
        loop.call_later(first + GRACE, self._arrived, event)

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            event = await self._due.get()
            await self._publish(event.topic, event.payload)

    def _arrived(self, event: Event) -> None:
        for names, under_way in ((event.clients, self._clients), (event.things, self._things)):
            for name in names:
                under_way[name] -= 1
                if not under_way[name]:
                    del under_way[name]


ADDRESS = "127.0.0.1"
LISTENER = "default"
HANDSHAKE_TIMEOUT = 20.0
SHUTDOWN_TIMEOUT = 1.0


class EmulatedBroker:
    """An async context manager: the broker runs inside it, on a free port of the loopback.

    `seed` decides how messages are delayed, doubled and misdated. Events of `registry` are told by
    whoever changes it.
    """

    def __init__(self, certificates: Certificates, *, seed: int) -> None:
        rng = random.Random(f"{seed}/events")  # noqa: S311  # repeatable, not secret
        self.registry = Registry(random.Random(f"{seed}/registry"))  # noqa: S311  # repeatable
        self._certificates = certificates
        self._ledger = Ledger(rng)
        self._post = Post(rng, self._publish)
        self._serving: dict[asyncio.Task[None], Peer] = {}
        self._holders: dict[str, Peer] = {}
        self._thing_of: dict[str, str] = {}

    @property
    def port(self) -> int:
        """The TCP port that the broker listens on."""
        return int(self._server.sockets[0].getsockname()[1])

    def truth(self) -> Truth:
        """Say who is connected and what is in the registry right now."""
        things = {
            thing.name: Standing(
                thing.kind, self.registry.groups_of(thing.name), dict(thing.attributes)
            )
            for thing in self.registry.things.values()
        }
        roll = Roll(things, dict(self._thing_of), self._post.things_in_flight)
        return Truth(self.connected_clients, self._post.clients_in_flight, roll)

    @property
    def connected_clients(self) -> frozenset[str]:
        """The clients that are connected right now."""
        return frozenset(name for name, peer in self._holders.items() if peer.connection)

    def publish(self, events: Iterable[Event]) -> None:
        """Tell events of the registry."""
        for event in events:
            self._post.send(event)

    async def __aenter__(self) -> Self:
        """Start to listen."""
        # amqtt reports on every packet, and as errors what clients do here on purpose.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        self._amqtt = Broker(_amqtt_config())
        await self._amqtt.start()
        self._server = await asyncio.start_server(
            self._serve,
            ADDRESS,
            0,
            ssl=server_context(self._certificates),
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        self._postman = asyncio.create_task(self._post.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the clients that are left and stop."""
        self._server.close()
        for peer in self._serving.values():
            peer.end(DisconnectReason.SERVER_INITIATED_DISCONNECT)
        if self._serving:
            await asyncio.wait(self._serving)
        self._postman.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._postman
        await self._amqtt.shutdown()

    async def admit(self, peer: Peer, client_id: str, keep_alive: int) -> None:
        """Give the client ID to this connection and drop the one that has it.

        Waits for the old connection's end: amqtt may share one session object between both.
        """
        peer.client_id = client_id
        peer.expect(keep_alive)
        rival = self._holders.get(client_id)
        self._holders[client_id] = peer
        if rival:
            rival.end(DisconnectReason.DUPLICATE_CLIENTID)
            await rival.gone.wait()

    def connected(self, peer: Peer, *, clean_session: bool) -> None:
        """Open a new version for the connection and tell that the client connected."""
        if not peer.client_id or peer.gone.is_set():
            return
        thing_name = self.registry.exclusive_thing(peer.client_id)
        self._thing_of[peer.client_id] = thing_name or peer.client_id
        peer.connection = self._ledger.open(
            peer.client_id,
            principal=peer.principal,
            ip_address=peer.ip_address,
            clean_session=clean_session,
            thing_name=thing_name,
        )
        self._tell(peer.client_id, self._ledger.connected(peer.connection, time.time()))

    def subscribed(self, peer: Peer, topic: str) -> None:
        """Tell that the client subscribed."""
        if (connection := peer.connection) is not None:
            event = self._ledger.subscribed(connection, [topic], time.time())
            self._tell(connection.client_id, event)

    def unsubscribed(self, peer: Peer, topic: str) -> None:
        """Tell that the client unsubscribed."""
        if (connection := peer.connection) is not None:
            event = self._ledger.unsubscribed(connection, [topic], time.time())
            self._tell(connection.client_id, event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        peer = self._serving[task] = Peer(writer)
        serving.set((self, peer))
        session = self._amqtt.external_connected(
            PeerReader(reader, peer), PeerWriter(writer), LISTENER
        )
        try:
            # amqtt can miss the end of a connection that is lost just when it begins.
            await race(session, peer.abandoned())
        finally:
            del self._serving[task]
            self._left(peer)

    def _left(self, peer: Peer) -> None:
        if peer.client_id and self._holders.get(peer.client_id) is peer:
            del self._holders[peer.client_id]
        if (connection := peer.connection) is not None:
            event = self._ledger.disconnected(connection, peer.reason, time.time())
            self._tell(connection.client_id, event)
        peer.leave()

    def _tell(self, client_id: str, event: Event) -> None:
        if has_lifecycle_events(client_id):
            self._post.send(event)

    async def _publish(self, topic: str, payload: bytes) -> None:
        await self._amqtt.internal_message_broadcast(topic, payload)


def _amqtt_config() -> BrokerConfig:
    plugin = f"{LifecyclePlugin.__module__}.{LifecyclePlugin.__qualname__}"
    return BrokerConfig(
        listeners={LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)}, plugins={plugin: {}}
    )
