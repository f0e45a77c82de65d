"""A fleet on a virtual clock, the recording of its event messages, and its true state.

The truth follows from what was done to the fleet and does not depend on the messages.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from full_registry import FullRegistry
from presenced_emulator.delivery import DeliveryModel
from presenced_emulator.events import EventMessage
from presenced_emulator.lifecycle import Connection, ConnectionLedger, DisconnectReason

__all__ = ["RecordedFleet"]

Counts = dict[str, Counter[str]]
"""Clients by a name that they share, and by state."""


class RecordedFleet:
    """What happens, in order; `wait` lets time go by.

    `missing` are clients of which no connect and disconnect gets into the recording.
    """

    def __init__(self, seed: int, start: float) -> None:
        self.now = start
        self.registry = FullRegistry(random.Random(f"{seed}/registry"))
        self.tallies: Counter[tuple[str, str]] = Counter()
        self.missing: set[str] = set()
        self._rng = random.Random(f"{seed}/delivery")
        self._ledger = ConnectionLedger(random.Random(f"{seed}/ledger"))
        self._told: list[tuple[float, EventMessage]] = []
        self._connections: dict[str, Connection] = {}
        self._states: dict[str, str] = {}
        self._thing_of: dict[str, str] = {}
        self._deleted: set[str] = set()

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds

    def tell(
        self, events: Iterable[EventMessage], *, late: float = 0.0, again: float = 0.0
    ) -> None:
        """Have events delivered with AWS's manners, `late` seconds later than otherwise.

        With `again`, once more that many seconds after now.
        """
        for event in events:
            moments = [late + delay for delay in DeliveryModel().delays(event, self._rng)]
            for delay in moments + [again] * bool(again):
                self._told.append((self.now + delay, event))

    def delete_thing(self, name: str, *, late: float = 0.0, again: float = 0.0) -> None:
        """Delete a thing; its clients are forgotten where they are not connected."""
        self.tell(self.registry.delete_thing(name, self.now), late=late, again=again)
        self._deleted.add(name)
        for client_id in [each for each, thing in self._thing_of.items() if thing == name]:
            if client_id not in self._connections:
                self._forget(client_id)

    def connect(self, client_id: str) -> None:
        """Let a client connect; it takes over from its earlier connection, if it has one."""
        if client_id in self._connections:
            self.disconnect(client_id, DisconnectReason.DUPLICATE_CLIENTID)
        thing_name = self.registry.exclusive_thing(client_id)
        connection = self._connections[client_id] = self._ledger.open(
            client_id, principal="ab" * 32, ip_address="192.0.2.7", thing_name=thing_name
        )
        self._states[client_id] = "online"
        self._thing_of[client_id] = thing_name or client_id
        self._tell_presence(self._ledger.connected(connection, self.now), client_id)
        self.tell(
            [self._ledger.subscription(connection, "subscribed", f"to/{client_id}", self.now)]
        )

    def disconnect(
        self, client_id: str, reason: DisconnectReason = DisconnectReason.CONNECTION_LOST
    ) -> None:
        """End a client's connection; it is forgotten where its thing was deleted meanwhile."""
        connection = self._connections.pop(client_id)
        self._states[client_id] = "offline"
        self._tell_presence(self._ledger.disconnected(connection, reason, self.now), client_id)
        name = self._thing_of[client_id]
        if name in self._deleted and name not in self.registry.things:
            self._forget(client_id)

    def refuse(self, client_id: str) -> None:
        """Let a client be refused, which makes nobody a client."""
        fields = {
            "clientId": client_id,
            "timestamp": round(self.now * 1000),
            "eventType": "connect_failed",
            "connectFailureReason": "AUTHORIZATION_FAILED",
            "ipAddress": "192.0.2.8",
        }
        self.tell([EventMessage(f"$aws/events/presence/connect_failed/{client_id}", fields)])

    def happen(self, family: str, kind: str, topic: str, fields: dict[str, Any]) -> None:
        """Tell an event that is counted and has no other effect, and tell it twice."""
        self.tallies[family, kind] += 1
        self.tell([EventMessage(f"$aws/events/{topic}", fields)], again=1.0)

    def by_type(self) -> Counts:
        """Clients by thing type and state; a thing without a client counts as an unknown one."""
        counts: Counts = {name: Counter() for name in self.registry.types}
        for name, thing in self.registry.things.items():
            if thing.thing_type:
                counts[thing.thing_type].update(self._states_of(name))
        return counts

    def by_group(self) -> Counts:
        """Clients by thing group and state, subgroups included."""
        counts: Counts = {name: Counter() for name in self.registry.groups}
        for name in self.registry.things:
            for group in self.registry.groups_of(name):
                counts[group].update(self._states_of(name))
        return counts

    def by_state(self) -> Counter[str]:
        """All clients by state, those that are no thing included."""
        counts = Counter(self._states.values())
        things = self.registry.things
        counts["unknown"] = sum(self._states_of(name) == ["unknown"] for name in things)
        return counts

    def infos(self, attributes: Iterable[str]) -> dict[str, dict[str, str]]:
        """What the registry says of each client that ever connected."""
        said: dict[str, dict[str, str]] = defaultdict(dict)
        for client_id in self._states:
            thing = self.registry.things.get(self._thing_of[client_id])
            said[client_id] = {"thing_type": thing.thing_type if thing else ""} | {
                each: thing.attributes.get(each, "") if thing else "" for each in attributes
            }
        return said

    def recording(self) -> Iterator[str]:
        """The lines of the recording, in the order in which messages are received."""
        for received, event in sorted(self._told, key=lambda told: told[0]):
            fields = {"received": round(received, 3), "topic": event.topic, "payload": event.fields}
            yield json.dumps(fields) + "\n"

    def _tell_presence(self, event: EventMessage, client_id: str) -> None:
        if client_id not in self.missing:
            self.tell([event])

    def _states_of(self, thing: str) -> list[str]:
        clients = (each for each, name in self._thing_of.items() if name == thing)
        return [self._states[client_id] for client_id in clients] or ["unknown"]

    def _forget(self, client_id: str) -> None:
        del self._states[client_id], self._thing_of[client_id]
