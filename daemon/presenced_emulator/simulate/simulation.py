"""A simulated fleet on a virtual clock: what AWS would publish about it, and its true state.

Pure: the same plan gives the same messages, byte for byte. The truth follows from the steps of the
fleet and does not depend on the messages.
"""

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from presenced_emulator.connections import ConnectionTable
from presenced_emulator.events import EventMessage
from presenced_emulator.fleet import Connect, Disconnect, FleetLife, FleetPlan, Refuse, Step
from presenced_emulator.lifecycle import Connection, ConnectionLedger, DisconnectReason
from presenced_emulator.registry import Registry

_HOSTS = 254
_LISTED = 10


class ScheduledMessage(NamedTuple):
    """A message to publish `at` seconds after the start."""

    at: float
    topic: str
    payload: bytes


class ClientTruth(NamedTuple):
    """The true state of a client, and since when, in seconds after the start.

    `connection` is the present or the last one; `reason` is why it ended, None while it lasts.
    """

    connection: Connection
    since: float
    reason: DisconnectReason | None = None


class Simulation:
    """One simulation from `start`, in seconds since the epoch; iterate over `messages` once.

    When a message is generated, `truth`, `registry` and `connections` are as at its time.
    """

    def __init__(self, plan: FleetPlan, start: float) -> None:
        self.registry = Registry(plan.random("registry"))
        self.connections = ConnectionTable()
        self.truth: dict[str, ClientTruth] = {}
        """Each client that has connected, as it is at the time of the last message."""
        self._delivery = plan.delivery
        self._start = start
        self._observers: list[Callable[[EventMessage, float], None]] = []
        self._life = FleetLife(plan, self.registry)
        self._delivery_rng = plan.random("delivery")
        # Versions continue those of an earlier simulation, as AWS's do: lower ones would be stale.
        first_version = round(start * 1000)
        self._ledger = ConnectionLedger(plan.random("ledger"), first_version=first_version)
        self._order = count()
        self._pending: list[tuple[float, int, ScheduledMessage]] = []
        self._ended = False

    def on_event(self, observer: Callable[[EventMessage, float], None]) -> None:
        """Call `observer` with each event message and the time of what it reports.

        The message may be delivered later or be lost.
        """
        self._observers.append(observer)

    def messages(self) -> Iterator[ScheduledMessage]:
        """Generate the messages in the order in which they are to be published."""
        while (at := self._life.next_at) is not None:
            while self._pending and self._pending[0][0] < at:
                yield heapq.heappop(self._pending)[2]
            if self._ended:
                break
            for step in self._life.advance(self._start + at):
                self._schedule(self._perform(step, at), at)
        while self._pending:
            yield heapq.heappop(self._pending)[2]

    def end(self) -> None:
        """End the fleet's life; only messages of what has happened are still to be published."""
        self._ended = True

    def _perform(self, step: Step, at: float) -> Iterator[EventMessage]:
        if isinstance(step, EventMessage):
            yield step
        elif isinstance(step, Connect):
            yield from self._connect(step.client_id, at)
        elif isinstance(step, Disconnect):
            connection, reason = self.truth[step.client_id].connection, step.ending.reason
            self.truth[step.client_id] = ClientTruth(connection, at, reason)
            self.connections.close(connection, reason, self._start + at)
            yield self._ledger.disconnected(connection, reason, self._start + at)

        elif isinstance(step, Refuse):
            last = self.truth[step.client_id].connection
            yield self._ledger.connect_failed(last, self._start + at)

    def _connect(self, client_id: str, at: float) -> Iterator[EventMessage]:
        before = self.truth.get(client_id)
        connection = self._ledger.open(
            client_id,
            principal=hashlib.sha256(client_id.encode()).hexdigest(),
            ip_address=f"198.51.100.{len(self.truth) % _HOSTS + 1}",
            thing_name=self.registry.exclusive_thing(client_id),
        )
        self.truth[client_id] = ClientTruth(connection, at)
        now = self._start + at
        self.connections.open(connection, now)
        yield self._ledger.connected(connection, now)
        commands = f"devices/{client_id}/commands"
        yield self._ledger.subscription(connection, "subscribed", commands, now)
        if before is not None and before.reason is None:
            taken_over = DisconnectReason.DUPLICATE_CLIENTID
            yield self._ledger.disconnected(before.connection, taken_over, now)

    def _schedule(self, messages: Iterable[EventMessage], at: float) -> None:
        for message in messages:
            for observer in self._observers:
                observer(message, self._start + at)
            for delay in self._delivery.delays(message, self._delivery_rng):
                scheduled = ScheduledMessage(at + delay, message.topic, message.payload)
                heapq.heappush(self._pending, (scheduled.at, next(self._order), scheduled))


def truth_lines(truth: Mapping[str, ClientTruth], start: float) -> Iterator[str]:
    """Generate a JSON line for each client, by client ID, with keys as `replay --print clients`.

    `since` is when the present connection began or the last one ended, in seconds since the epoch.
    """
    for client_id, client in sorted(truth.items()):
        fields = {
            "client_id": client_id,
            "state": "online" if client.reason is None else "offline",
            "since": round(start + client.since, 3),
            "version": client.connection.version,
            "session": client.connection.session,
            "reason": client.reason,
        }
        yield json.dumps(fields) + "\n"


def summary(truth: Mapping[str, ClientTruth]) -> Iterator[str]:
    """Generate the lines that say which clients are online and which are offline."""
    online = sorted(name for name, client in truth.items() if client.reason is None)
    for state, names in (("online", online), ("offline", sorted(truth.keys() - set(online)))):
        listed = f": {', '.join(names[:_LISTED])}" if names else ""
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        yield f"{len(names)} {state}{listed}{more}."
