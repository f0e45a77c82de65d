"""An MQTT broker on loopback that publishes event messages as AWS IoT Core does.

amqtt speaks MQTT (3.1.1 only). This module adds what AWS does beyond it: client certificates are
required, a silent client is disconnected, a connection takes over the client ID of an older one,
and event messages under `$aws/events/` report all of this and the changes of the registry. Messages
can be lost, as on AWS.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Self

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from presenced.system.loop import race
from presenced_emulator.certificates import Certificates
from presenced_emulator.connections import ConnectionTable
from presenced_emulator.delivery import DeliveryModel, EventPublisher
from presenced_emulator.events import EventMessage
from presenced_emulator.lifecycle import Connection, ConnectionLedger, DisconnectReason
from presenced_emulator.message_limit import MessageLimitPlugin
from presenced_emulator.peer import Peer, PeerWriter
from presenced_emulator.registry import Registry
from presenced_emulator.truth import OFFLINE_DELAY, ThingState, Truth

ADDRESS = "127.0.0.1"
LISTENER = "default"
HANDSHAKE_TIMEOUT = 20.0
SHUTDOWN_TIMEOUT = 1.0


class EmulatedBroker:
    """An async context manager: the broker runs inside it, on a free port of the loopback.

    `seed` decides how messages are delayed, duplicated, lost and misdated; `delivery` which share
    of them is. With `message_limit` a connection loses the messages beyond so many a second. The
    caller that changes `registry` publishes the messages of the change.
    """

    def __init__(
        self,
        certificates: Certificates,
        *,
        seed: int,
        delivery: DeliveryModel | None = None,
        message_limit: float | None = None,
    ) -> None:
        rng = random.Random(f"{seed}/events")  # noqa: S311  # repeatable, not secret
        self.connections = ConnectionTable()
        self.registry = Registry(random.Random(f"{seed}/registry"))  # noqa: S311  # repeatable
        self._certificates = certificates
        self._ledger = ConnectionLedger(rng)
        self._publisher = EventPublisher(rng, self._broadcast, delivery or DeliveryModel())
        self._message_limit = message_limit
        self._observers: list[Callable[[EventMessage], None]] = []
        self._serving: dict[asyncio.Task[None], Peer] = {}
        self._holders: dict[str, Peer] = {}
        """The connection that has each client ID."""
        self._thing_of: dict[str, str] = {}

    @property
    def port(self) -> int:
        """The TCP port that the broker listens on."""
        return int(self._server.sockets[0].getsockname()[1])

    def truth(self) -> Truth:
        """Return which clients are connected and what is in the registry now."""
        things = {
            thing.name: ThingState(
                thing.thing_type, self.registry.groups_of(thing.name), dict(thing.attributes)
            )
            for thing in self.registry.things.values()
        }
        in_flight = self._publisher.in_flight
        return Truth(
            self.connections.connected,
            frozenset(name for message in in_flight for name in message.clients),
            things,
            dict(self._thing_of),
            frozenset(name for message in in_flight for name in message.things),
            self.connections.ended_since(time.time() - OFFLINE_DELAY),
        )

    @property
    def lost(self) -> int:
        """How many event messages have been lost before they were sent to any subscriber."""
        return self._publisher.lost

    @property
    def discarded(self) -> int:
        """How many messages have been discarded because of `message_limit`."""
        plugin = self._amqtt.plugins_manager.get_plugin(MessageLimitPlugin.__name__)
        return plugin.discarded if isinstance(plugin, MessageLimitPlugin) else 0

    def on_event(self, observer: Callable[[EventMessage], None]) -> None:
        """Call `observer` with each event message when what it reports has happened."""
        self._observers.append(observer)

    def publish(self, message: EventMessage) -> None:
        """Publish an event message; from outside one of the registry."""
        for observer in self._observers:
            observer(message)
        self._publisher.send(message)

    async def __aenter__(self) -> Self:
        """Start to listen."""
        # amqtt logs every packet, and as errors what clients do here on purpose.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        plugins: dict[str, dict[str, Any]] = {_path(LifecyclePlugin): {}}
        if self._message_limit is not None:
            plugins[_path(MessageLimitPlugin)] = {"rate": self._message_limit}
        listeners = {LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)}
        self._amqtt = _Broker(BrokerConfig(listeners=listeners, plugins=plugins))
        await self._amqtt.start()
        self._server = await asyncio.start_server(
            self._serve,
            ADDRESS,
            0,
            ssl=self._certificates.broker,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        self._publishing = asyncio.create_task(self._publisher.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect the clients that are left and stop."""
        self._server.close()
        for peer in self._serving.values():
            peer.end(DisconnectReason.SERVER_INITIATED_DISCONNECT)
        if self._serving:
            await asyncio.wait(self._serving)
        self._publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._publishing
        await self._amqtt.shutdown()

    async def admit(self, peer: Peer, client_id: str, keep_alive: int) -> None:
        """Give the client ID to this connection and end the one that has it.

        Waits for the end of the old connection: amqtt may share one session object between both.
        """
        peer.client_id = client_id
        peer.start_keep_alive(keep_alive)
        rival = self._holders.get(client_id)
        self._holders[client_id] = peer
        if rival:
            rival.end(DisconnectReason.DUPLICATE_CLIENTID)
            await rival.gone.wait()

    def connected(self, peer: Peer, *, clean_session: bool) -> None:
        """Open a new version for the connection and publish that the client connected."""
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
        now = time.time()
        self.connections.open(
            peer.connection, now, keep_alive=peer.keep_alive, clean_session=clean_session
        )
        self._send(peer.client_id, self._ledger.connected(peer.connection, now))

    def subscribed(self, peer: Peer, topic_filter: str, qos: int) -> None:
        """Publish that the client has subscribed."""
        if (connection := peer.connection) is not None:
            self.connections.subscribe(connection.client_id, topic_filter, qos)
            self._report_subscription(connection, "subscribed", topic_filter)

    def unsubscribed(self, peer: Peer, topic_filter: str) -> None:
        """Publish that the client has unsubscribed."""
        if (connection := peer.connection) is not None:
            self.connections.unsubscribe(connection.client_id, topic_filter)
            self._report_subscription(connection, "unsubscribed", topic_filter)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        peer = self._serving[task] = Peer(reader, writer)
        _serving.set((self, peer))
        session = self._amqtt.external_connected(peer, PeerWriter(writer), LISTENER)
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
            now = time.time()
            self.connections.close(connection, peer.reason, now)
            message = self._ledger.disconnected(connection, peer.reason, now)
            self._send(connection.client_id, message)
        peer.leave()

    def _report_subscription(self, connection: Connection, verb: str, topic_filter: str) -> None:
        message = self._ledger.subscription(connection, verb, topic_filter, time.time())
        self._send(connection.client_id, message)

    def _send(self, client_id: str, message: EventMessage) -> None:
        # AWS publishes no lifecycle events of a client ID with wildcards.
        if not {"#", "+"} & set(client_id):
            self.publish(message)

    async def _broadcast(self, topic: str, payload: bytes) -> None:
        await self._amqtt.internal_message_broadcast(topic, payload)


class _Broker(Broker):
    """amqtt without a fault of 0.12: a client got what is retained for others' subscriptions.

    It got all of that at each connect: in a fleet, the status of every other device.
    """

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        subscribers = self.subscriptions.get(subscription[0], ())
        if any(subscriber is session for subscriber, _ in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)


def _path(plugin: type) -> str:
    """Return the name by which amqtt imports a plugin."""
    return f"{plugin.__module__}.{plugin.__qualname__}"


# amqtt calls plugins from the task that serves a connection, or from tasks that it started.
_serving: ContextVar[tuple[EmulatedBroker, Peer]] = ContextVar("serving")


class LifecyclePlugin(BaseAuthPlugin):
    """Reports to the broker what happens to a connection.

    It is an authentication plugin because amqtt waits for no other hook before it accepts a client.
    The TLS handshake has authenticated the client already.
    """

    async def authenticate(self, *, session: Session) -> bool:
        """Accept the client after the broker has admitted it."""
        broker, peer = _serving.get()
        await broker.admit(peer, str(session.client_id), session.keep_alive)
        return True

    async def on_broker_client_connected(self, *, client_session: Session, **_: Any) -> None:
        """Report that CONNACK is sent."""
        broker, peer = _serving.get()
        broker.connected(peer, clean_session=bool(client_session.clean_session))

    async def on_broker_client_subscribed(self, *, topic: str, qos: int, **_: Any) -> None:
        """Report a granted subscription."""
        broker, peer = _serving.get()
        broker.subscribed(peer, topic, qos)

    async def on_broker_client_unsubscribed(self, *, topic: str, **_: Any) -> None:
        """Report the end of a subscription."""
        broker, peer = _serving.get()
        broker.unsubscribed(peer, topic)

    async def on_mqtt_packet_received(self, *, packet: object, **_: Any) -> None:
        """Note a DISCONNECT, because amqtt does not tell plugins how a connection ended."""
        if isinstance(packet, DisconnectPacket):
            _serving.get()[1].ending(DisconnectReason.CLIENT_INITIATED_DISCONNECT)
