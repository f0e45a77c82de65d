"""What AWS IoT Core keeps about an account's fleet: registry, connections, and their index.

Pure: times are arguments, in seconds since the epoch.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from presenced_emulator.aws.index import FleetIndex, ThingDocument
from presenced_emulator.connections import ConnectionRecord, ConnectionTable
from presenced_emulator.events import EventMessage
from presenced_emulator.registry import Registry

CONNECTION_MEMORY = 1800.0
"""How long GetConnection knows a client that has disconnected, in seconds."""

INDEX_MEMORY = 3600.0
"""A client that disconnected longer before indexing was enabled counts as never connected."""

EVENT_FAMILIES = (
    "THING",
    "THING_GROUP",
    "THING_TYPE",
    "THING_GROUP_MEMBERSHIP",
    "THING_GROUP_HIERARCHY",
    "THING_TYPE_ASSOCIATION",
    "JOB",
    "JOB_EXECUTION",
    "POLICY",
    "CERTIFICATE",
    "CA_CERTIFICATE",
)


@dataclass(slots=True)
class Indexing:
    """What fleet indexing covers, as GetIndexingConfiguration has it.

    `since` is when connectivity was enabled. `ancestors` decides whether a document names all
    groups above the thing's own, on which AWS's documentation is silent.
    """

    things: bool = True
    connectivity: bool = True
    since: float = -inf
    ancestors: bool = False


@dataclass(slots=True)
class RoleAlias:
    """A role alias: the name of its role, and the validity of its credentials in seconds.

    AWS allows 900 to 43,200 s; here they may be shorter.
    """

    role: str
    validity: float = 3600.0


@dataclass(slots=True)
class EmulatedAccount:
    """An account; `registry` and `connections` are those of the broker or of a simulation.

    After a change to either, call `on_event` or `update` to update the index.
    """

    registry: Registry
    connections: ConnectionTable
    index: FleetIndex = field(default_factory=lambda: FleetIndex(random.Random(0)))  # noqa: S311
    indexing: Indexing = field(default_factory=Indexing)
    events: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(EVENT_FAMILIES, True))
    """Whether the event messages of each family are on, as DescribeEventConfigurations has it."""
    role_aliases: dict[str, RoleAlias] = field(default_factory=dict)
    certificate_things: set[str] = field(default_factory=set)
    """The things that the clients' certificates are attached to."""

    def on_event(self, message: EventMessage, now: float) -> None:
        """Index what an event message is about; it need not have been delivered."""
        self.update(message.clients | message.things, now)

    def update(self, names: Iterable[str], now: float) -> None:
        """Index the present state of things; other names are ignored."""
        for name in names:
            self.index.put(name, self.document(name), now)

    def document(self, name: str) -> ThingDocument | None:
        """Return what the index is to know of a thing, None if there is no such thing."""
        thing = self.registry.things.get(name)
        if thing is None:
            return None
        groups = self.registry.groups_of(name) if self.indexing.ancestors else thing.groups
        billing = (thing.billing_group,) if thing.billing_group else ()
        return ThingDocument(
            name,
            thing.thing_id,
            thing.thing_type,
            (*sorted(groups), *billing),
            dict(thing.attributes),
            self.connectivity(name),
        )

    def connectivity(self, thing_name: str) -> ConnectionRecord | None:
        """Return the connection that AWS associates with a thing, None if there was none.

        Only a client whose ID is the name of the thing counts.
        """
        record = self.connections.get(thing_name)
        if record is None or record.connected:
            return record
        return record if record.since >= self.indexing.since - INDEX_MEMORY else None

    def connection(self, client_id: str, now: float) -> ConnectionRecord | None:
        """Return what GetConnection knows of a client."""
        record = self.connections.get(client_id)
        if record is None or record.connected or now - record.since < CONNECTION_MEMORY:
            return record
        return None
