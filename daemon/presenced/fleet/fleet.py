"""Presence and the registry together, and what follows from both.

A client belongs to the thing that its lifecycle events name (`thingName`), else to the one that
`thing_pattern` finds in its client ID, else to the one of its client ID. A thing of the registry
none of whose clients ever connected is an unknown client.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from presenced.events.model import (
    ConnectFailedEvent,
    LifecycleEvent,
    RegistryEvent,
    StatusEvent,
    SubscriptionEvent,
)
from presenced.fleet.thing_counts import ThingCounts
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
from presenced.presence.name_patterns import ClientFilter
from presenced.presence.record import Row
from presenced.presence.things import ThingClients, match_thing
from presenced.registry import Inventory, Outcome, Thing, ThingGroup, ThingType
from presenced.registry.inventory import ThingChange
from presenced.registry.objects import NO_ATTRIBUTES, Attributes

# As globals: see `State`.
_OFFLINE, _UNKNOWN = State.OFFLINE, State.UNKNOWN


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


class Fleet:
    """Every client's presence, the registry, and the presence of things.

    What methods change is collected until `take_changes`. No thing creates a client that the filter
    leaves out; ignoring the events of such clients is up to the caller. `thing_pattern` is a
    regular expression with the group `thing`, which matches whole client IDs.
    """

    def __init__(
        self,
        rules: PresenceRules,
        client_filter: ClientFilter | None = None,
        thing_pattern: re.Pattern[str] | None = None,
        parts: int = 1,
    ) -> None:
        self.presence = Presence(rules, parts)
        self.inventory = Inventory(parts)
        self.thing_counts = ThingCounts(self.inventory)
        self.client_filter = client_filter or ClientFilter()
        self._thing_pattern = thing_pattern
        self._thing_clients = ThingClients(self.presence.clients)
        self._things, self._shared = self.inventory.things.live, self._thing_clients.shared
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
        # Without a pattern, only another name than the client ID says something; a disconnect that
        # names no thing leaves the client at the one that its connect named.
        if (
            (
                self._thing_pattern is not None
                or self._shared
                or (thing_name is not None and thing_name != event.client_id)
            )
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

    def apply_status(self, event: StatusEvent, received: float, now: float) -> None:
        """Apply a status message; clocks as in `Presence.apply`."""
        self._record(self.presence.status.apply(event, received, now))

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
        tells = row.has_presence(self.presence.forget_after(row.client_id))
        if not (is_known or tells) and row.client_id in self._shared:
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
            self.thing_counts.change(change, self._thing_clients.presence(change.thing.name))
        for change in changes:
            self._settle_clients(change.thing)

    def use_thing_pattern(self, thing_pattern: re.Pattern[str] | None) -> None:
        """Find things in client IDs by another pattern, also for the clients that are known."""
        self._thing_pattern = thing_pattern
        moved = []
        for client in self.presence.clients.values():
            before = client.thing
            if client.state is not _UNKNOWN:
                client.matched_thing = match_thing(thing_pattern, client.client_id)
            renamed = self._drop_default_name(client)
            if renamed or client.thing != before:
                moved.append((client, renamed))
        self._thing_clients.rebuild()
        self.recount()
        for client, renamed in moved:
            self._note_described(client, changed=renamed)

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
        unknown = [client.client_id for client in clients if client.state is _UNKNOWN]
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
        if client.state is not _UNKNOWN:
            client.matched_thing = match_thing(self._thing_pattern, client.client_id)
        self._drop_default_name(client)
        self._thing_clients.join(client)

    def recount(self) -> None:
        """Recount all things by type and group, and add the missing clients of things."""
        self.thing_counts.recount(self._thing_clients.all())
        self.use_filter(self.client_filter)

    def describe(self, client: Client) -> Description:
        """Return what the registry says about a client."""
        thing = self.inventory.things.live.get(client.thing)
        return Description(thing.type, thing.attributes) if thing else _NO_DESCRIPTION

    def thing_of(self, client: Client) -> str | None:
        """Return the thing of a client; None if neither the registry nor a client names it."""
        name = client.thing
        is_thing = name in self.inventory.things.live or self._thing_clients.is_thing(client)
        return name if is_thing else None

    def thing_state(self, client: Client) -> State | None:
        """Return the presence of a client's thing, None if `thing_of` returns None."""
        thing = self.thing_of(client)
        return None if thing is None else self._thing_clients.presence(thing).state

    def is_in_group(self, client: Client, group: str) -> bool:
        """Return whether a client is in a group or its subgroups; without a name, in none."""
        thing = self.inventory.things.live.get(client.thing)
        if not group:
            return thing is None or not thing.groups
        return thing is not None and self.inventory.is_in(thing, group)

    def clients_in_group(self, name: str, limit: int) -> Iterator[Client]:
        """Yield the clients of at most `limit` members of a group and its subgroups.

        A thing that is a member of several of them counts as several.
        """
        groups = self.inventory.groups
        if (group := groups.live.get(name)) is not None:
            members = (thing for each in groups.below(group) for thing in each.members)
            for thing in islice(members, limit):
                yield from self._thing_clients.clients(thing)

    def _record(self, change: ClientChange | None) -> None:
        """Collect a change, count it by type and group, and apply what follows from it."""
        if change is None:
            return
        self._changes.append(change)
        client, before, after = change.client, change.before, change.after
        if before is after:
            return
        if self._thing_pattern is None:
            if self._things or self._shared:
                self._count_client(client, before, after)
        elif _has_first_event(before, after):
            self._find_thing(client, before)
        else:
            self._count_client(client, before, after)
        if after is None:
            for name in {client.thing, client.client_id}:
                self._ensure_client(name)
        elif after is _OFFLINE and self._is_deleted(client.thing):
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

    def _settle_clients(self, thing: Thing) -> None:
        """Add or drop the clients of a thing that may have changed, and mark them as described."""
        clients = self._thing_clients.clients
        if thing.exists:
            self._ensure_client(thing.name)
        else:
            # Clients that are online stay, without their thing.
            for client in list(clients(thing.name)):
                if thing.deleted and client.state in (_OFFLINE, _UNKNOWN):
                    self.forget(client.client_id, "thing_deleted")
                else:
                    self._record(self.presence.drop_unknown(client.client_id))
        for client in clients(thing.name):
            self._note_described(client, changed=False)

    def _note_described(self, client: Client, *, changed: bool) -> None:
        self._changes.append(
            ClientChange(client, client.state, client.state, described=True, changed=changed)
        )

    def _is_deleted(self, name: str) -> bool:
        thing = self.inventory.things.get(name)
        return thing is not None and thing.deleted and not thing.exists

    def _ensure_client(self, name: str) -> None:
        """Give a thing an unknown client, until one of its own connects."""
        client = self.presence.clients.get(name)
        is_shared = name in self._shared
        if client is not None and client.thing == name and not is_shared:
            return
        if name in self.inventory.things.live and self.client_filter.why_ignored(name) is None:
            if is_shared:
                self._record(self.presence.drop_unknown(name))
            else:
                self._record(self.presence.add(name))

    def _rename(self, client: Client, thing_name: str | None) -> None:
        """Assign a client to the thing that its events name."""
        named = None if self._is_default(thing_name, client) else thing_name
        if named == client.thing_name:
            return
        self._move(client, client.state, named, client.matched_thing)
        self._note_described(client, changed=True)

    def _is_default(self, thing_name: str | None, client: Client) -> bool:
        """Return whether a name is that of the thing which the client belongs to without it."""
        return self._thing_pattern is None and thing_name == client.client_id

    def _drop_default_name(self, client: Client) -> bool:
        """Drop a name that was kept because of an earlier pattern; return whether there was one."""
        if not self._is_default(client.thing_name, client):
            return False
        client.thing_name = None
        return True

    def _find_thing(self, client: Client, before: State | None) -> None:
        """Assign a client, which has its first event, to the thing that the pattern finds."""
        matched = match_thing(self._thing_pattern, client.client_id)
        self._move(client, before, client.thing_name, matched)

    def _move(
        self, client: Client, state: State | None, thing_name: str | None, matched: str | None
    ) -> None:
        """Assign a client, which counts in `state`, to another thing; None if it counts nowhere."""
        before = client.thing
        if state is not None:
            self.thing_counts.count(before, *self._thing_clients.leave(client, state))
        client.thing_name, client.matched_thing = thing_name, matched
        self.thing_counts.count(client.thing, *self._thing_clients.join(client))
        for name in {before, client.thing}:
            self._ensure_client(name)

    def _count_client(self, client: Client, before: State | None, after: State | None) -> None:
        """Count a client's change of state for its thing."""
        if before is None:
            changed = self._thing_clients.join(client)
        elif after is None:
            changed = self._thing_clients.leave(client, before)
        else:
            changed = self._thing_clients.move(client, before, after)
        self.thing_counts.count(client.thing, *changed)


def _has_first_event(before: State | None, after: State | None) -> bool:
    """Return whether a client is known by itself now, and not only by its thing."""
    return (before is None or before is _UNKNOWN) and not (after is None or after is _UNKNOWN)
