"""Presence and the registry together, and what follows from both.

A thing and a client belong together if their names are equal, or if the client's lifecycle events
name the thing (`thingName`). A thing whose client never connected is an unknown client.
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from presenced.events.model import (
    ConnectFailedEvent,
    LifecycleEvent,
    RegistryEvent,
    SubscriptionEvent,
)
from presenced.presence import (
    Client,
    ClientChange,
    Effect,
    ForgetReason,
    Presence,
    PresenceRules,
    State,
    Transition,
)
from presenced.presence.client import EventStamp, PackedSession, pack
from presenced.presence.counts import StateCounts
from presenced.presence.record import Row
from presenced.registry import Inventory, Outcome, Thing, ThingGroup, ThingType
from presenced.registry.inventory import ThingChange
from presenced.registry.objects import NO_ATTRIBUTES, Attributes

_PREFIX_PATTERN = re.compile(r"[^*?[]*\*", re.DOTALL)


class Partition(NamedTuple):
    """A partition of a topic of Kafka that holds a part of the fleet: its number, of how many."""

    number: int
    of: int


class Description(NamedTuple):
    """What the registry says about a client; empty if it says nothing."""

    thing_type: str
    attributes: Attributes


_NO_DESCRIPTION = Description("", NO_ATTRIBUTES)


class Changes(NamedTuple):
    """What has changed: clients in order, and the names of objects of the registry."""

    clients: list[ClientChange]
    things: set[str]
    thing_types: set[str]
    thing_groups: set[str]

    @property
    def transitions(self) -> list[Transition]:
        """The transitions of the clients, in order."""
        return [each.transition for each in self.clients if each.transition is not None]


class NamePatterns:
    """Shell-style patterns, as in `fnmatch`, case-sensitive."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # Most patterns are a prefix and "*", which need no regular expression.
        self._prefixes = tuple(p[:-1] for p in patterns if _PREFIX_PATTERN.fullmatch(p))
        others = [p for p in patterns if not _PREFIX_PATTERN.fullmatch(p)]
        expression = "|".join(fnmatch.translate(pattern) for pattern in others)
        self._matches = re.compile(expression).match if others else None

    def match(self, name: str) -> bool:
        """Return whether a name matches one of the patterns."""
        if name.startswith(self._prefixes):
            return True
        return self._matches is not None and self._matches(name) is not None


class ClientFilter:
    """The clients that are left out of presence: the daemon's own, and those of patterns."""

    def __init__(self, own: Collection[str] = (), patterns: Sequence[str] = ()) -> None:
        self._own = frozenset(own)
        self._ignored = NamePatterns(patterns)

    def why_ignored(self, client_id: str) -> str | None:
        """Return `own_client`, `ignored_client`, or None for a client of the fleet."""
        if client_id in self._own:
            return "own_client"
        return "ignored_client" if self._ignored.match(client_id) else None


class Fleet:
    """Every client's presence, the registry, and how many clients each part of it has.

    What methods change is collected until `take_changes`. No thing creates a client that the filter
    leaves out; ignoring the events of such clients is up to the caller.
    """

    def __init__(
        self, rules: PresenceRules, client_filter: ClientFilter | None = None, parts: int = 1
    ) -> None:
        self.presence = Presence(rules, parts)
        self.inventory = Inventory(parts)
        self.thing_types = StateCounts()
        self.thing_groups = StateCounts()
        self.client_filter = client_filter or ClientFilter()
        # The clients whose events name another thing than their client ID does, by that name.
        self._named: dict[str, set[str]] = {}
        self._changes: list[ClientChange] = []

    def take_changes(self) -> Changes:
        """Return what has changed since the last call."""
        clients, self._changes = self._changes, []
        return Changes(clients, *self.inventory.take_changed())

    def apply(self, event: LifecycleEvent, received: float, now: float) -> ClientChange:
        """Apply a lifecycle event and return what it did; clocks as in `Presence.apply`."""
        change = self.presence.apply(event, received, now)
        self._record(change)
        thing_name = event.thing_name
        # By default a client belongs to the thing of its own name; a disconnect that names no thing
        # leaves the client at the one that its connect named.
        if (
            (self._named or (thing_name is not None and thing_name != event.client_id))
            and (event.connected or thing_name)
            and change.against is None
            and change.client is self.presence.clients.get(event.client_id)
        ):
            self._rename(change.client, thing_name)
        return change

    def apply_subscription(self, event: SubscriptionEvent, received: float) -> None:
        """Take a subscription for a sign of life; an unsubscription only shows in the history.

        A client without any other known event is online then, and a client that is unverified after
        a gap is still online.
        """
        subscribed = event.type == "subscribed"
        at = round(received * 1000) if event.timestamp is None else event.timestamp
        change = None
        if subscribed:
            change = self.presence.suppose_online(event.client_id, at, received)
        if change is not None:
            change.event, change.received, change.session = event, received, pack(event.session)
            self._record(change)
            self._rename(change.client, event.thing_name)
        elif (client := self.presence.clients.get(event.client_id)) is not None:
            verified = subscribed and self.presence.confirm_online(client, at / 1000)
            self._note(event, client, received, pack(event.session), changed=verified)

    def note_connect_failure(self, event: ConnectFailedEvent, received: float) -> None:
        """Note that a client was refused; this says nothing about its presence."""
        client = self.presence.clients.get(event.client_id)
        if client is not None:
            self._note(event, client, received)

    def merge(self, row: Row, now: float, event: LifecycleEvent | None = None) -> None:
        """Merge what AWS's record says about a client, as `RecordMerger.merge` does.

        That a thing never connected says nothing if its client has another ID.
        """
        is_known = row.client_id in self.presence.clients
        tells = row.has_presence(self.presence.rules.forget_offline_after)
        if not (is_known or tells) and row.client_id in self._named:
            return
        self._record(self.presence.record.merge(row, now, event))

    def apply_registry(self, event: RegistryEvent, received: float) -> Outcome:
        """Apply an event of the registry; without event time it counts as just now."""
        at = round(received * 1000) if event.timestamp is None else event.timestamp
        outcome, changes = self.inventory.apply(event, at)
        self._settle_things(changes)
        return outcome

    def replace_registry(self, item: ThingGroup | ThingType) -> None:
        """Take over a group or type, as the fleet of another partition has it."""
        if isinstance(item, ThingType):
            self.inventory.replace_type(item)
        else:
            self._settle_things(self.inventory.replace_group(item))

    def _settle_things(self, changes: Sequence[ThingChange]) -> None:
        for change in changes:
            self._recount_thing(change)
        for change in changes:
            self._settle_clients(change.thing)

    def fire(self, now: float, offset: float, limit: int | None = None) -> int:
        """Fire the deadlines due at `now`, at most `limit`; return how many fired.

        `offset` is what turns monotonic into wall-clock time.
        """
        fired = 0
        for change in islice(self.presence.fire(now, offset), limit):
            fired += 1
            self._record(change)
        return fired

    def forget(self, client_id: str, reason: ForgetReason) -> None:
        """Drop a client, if it is known."""
        self._record(self.presence.forget(client_id, reason))

    def use_filter(self, client_filter: ClientFilter) -> None:
        """Leave out other clients from now on; those that have been counted stay.

        Unknown clients are added and dropped accordingly.
        """
        self.client_filter = client_filter
        clients = self.presence.clients.values()
        unknown = [client.client_id for client in clients if client.state is State.UNKNOWN]
        for client_id in unknown:
            if client_filter.why_ignored(client_id) is not None:
                self._record(self.presence.drop_unknown(client_id))
        for name in self.inventory.things.live:
            self._ensure_client(name)

    def restore(
        self,
        client: Client,
        deadline: float | None,
        awaited: Iterable[tuple[EventStamp, float]],
    ) -> None:
        """Take over a client as `Presence.restore` does; `recount` must follow."""
        self.presence.restore(client, deadline, awaited)
        if client.thing_name:
            self._named.setdefault(client.thing_name, set()).add(client.client_id)

    def recount(self) -> None:
        """Recount all clients by type and group, and add the missing clients of things."""
        self.thing_types.clear()
        self.thing_groups.clear()
        # Many things share their type and groups: each combination is looked up once.
        alike: Counter[tuple[str, tuple[str, ...], State]] = Counter()
        for client in self.presence.clients.values():
            thing = self.inventory.things.live.get(client.thing)
            if thing is not None:
                alike[thing.type, tuple(thing.groups), client.state] += 1
        for (kind, groups, state), number in alike.items():
            self._count(kind, self.inventory.with_ancestors(groups), state, number)
        self.use_filter(self.client_filter)

    def describe(self, client: Client) -> Description:
        """Return what the registry says about a client."""
        thing = self.inventory.things.live.get(client.thing)
        return Description(thing.type, thing.attributes) if thing else _NO_DESCRIPTION

    def is_in_group(self, client: Client, group: str) -> bool:
        """Return whether a client is in a group or its subgroups; without a name, in none."""
        thing = self.inventory.things.live.get(client.thing)
        if not group:
            return thing is None or not thing.groups
        return thing is not None and self.inventory.is_in(thing, group)

    def _record(self, change: ClientChange | None) -> None:
        """Collect a change, count it by type and group, and apply what follows from it."""
        if change is None:
            return
        self._changes.append(change)
        client, before, after = change.client, change.before, change.after
        if before is after:
            return
        if self.inventory.things.live:
            self._count_client(client, (before, -1), (after, 1))
        if after is None:
            if client.thing_name:
                self._remove_name(client.thing_name, client.client_id)
            for name in {client.thing, client.client_id}:
                self._ensure_client(name)
        elif after is State.OFFLINE and self._is_deleted(client.thing):
            self.forget(client.client_id, "thing_deleted")

    def _note(
        self,
        event: ConnectFailedEvent | SubscriptionEvent,
        client: Client,
        received: float,
        session: PackedSession = None,
        *,
        changed: bool = False,
    ) -> None:
        state, effect = client.state, Effect.NOTED
        change = ClientChange(client, state, state, None, event, effect, received, session)
        change.changed = changed
        self._changes.append(change)

    def _count(self, thing_type: str, groups: Iterable[str], state: State, step: int) -> None:
        if thing_type:
            self.thing_types.count(thing_type, state, step)
        for group in groups:
            self.thing_groups.count(group, state, step)

    def _recount_thing(self, change: ThingChange) -> None:
        thing = change.thing
        groups = self.inventory.groups_of(thing)
        if (thing.type, groups) == (change.type, change.groups):
            return
        for client in self._clients_of(thing.name):
            self._count(change.type, change.groups, client.state, -1)
            self._count(thing.type, groups, client.state, 1)

    def _settle_clients(self, thing: Thing) -> None:
        """Add or drop the clients of a thing that may have changed, and mark them as described."""
        if thing.exists:
            self._ensure_client(thing.name)
        else:
            # Clients that are online stay, without their thing.
            for client in list(self._clients_of(thing.name)):
                if thing.deleted and client.state in (State.OFFLINE, State.UNKNOWN):
                    self.forget(client.client_id, "thing_deleted")
                else:
                    self._record(self.presence.drop_unknown(client.client_id))
        for client in self._clients_of(thing.name):
            self._changes.append(
                ClientChange(client, client.state, client.state, described=True, changed=False)
            )

    def _is_deleted(self, name: str) -> bool:
        thing = self.inventory.things.get(name)
        return thing is not None and thing.deleted and not thing.exists

    def _ensure_client(self, name: str) -> None:
        """Give a thing an unknown client, until one of its own connects."""
        client = self.presence.clients.get(name)
        if client is not None and client.thing == name and name not in self._named:
            return
        if name in self.inventory.things.live and self.client_filter.why_ignored(name) is None:
            if next(self._clients_of(name), None) is None:
                self._record(self.presence.add(name))
            elif name in self._named:
                self._record(self.presence.drop_unknown(name))

    def _clients_of(self, name: str) -> Iterator[Client]:
        client = self.presence.clients.get(name)
        if client is not None and client.thing == name:
            yield client
        for client_id in self._named.get(name, ()):
            yield self.presence.clients[client_id]

    def _rename(self, client: Client, thing_name: str | None) -> None:
        """Assign a client to another thing."""
        named = thing_name if thing_name != client.client_id else None
        if named == client.thing_name:
            return
        before = client.thing
        self._count_client(client, (client.state, -1))
        if client.thing_name:
            self._remove_name(client.thing_name, client.client_id)
        client.thing_name = named
        if named:
            self._named.setdefault(named, set()).add(client.client_id)
        self._count_client(client, (client.state, 1))
        for name in (before, client.thing):
            self._ensure_client(name)
        self._changes.append(ClientChange(client, client.state, client.state, described=True))

    def _count_client(self, client: Client, *steps: tuple[State | None, int]) -> None:
        """Count a client as entering (1) or leaving (-1) states, by its type and groups."""
        thing = self.inventory.things.live.get(client.thing)
        if thing is not None:
            groups = self.inventory.groups_of(thing)
            for state, step in steps:
                if state is not None:
                    self._count(thing.type, groups, state, step)

    def _remove_name(self, thing_name: str, client_id: str) -> None:
        clients = self._named[thing_name]
        clients.discard(client_id)
        if not clients:
            del self._named[thing_name]
