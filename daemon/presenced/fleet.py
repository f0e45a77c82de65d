"""Presence and the registry side by side, and what follows from both.

A thing is its client when their names are equal, or when the client's lifecycle events name it
(`thingName`). A thing whose client never connected is an unknown client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from presenced.events.model import LifecycleEvent, RegistryEvent, SubscriptionEvent
from presenced.presence import Client, Presence, PresenceRules, State, Transition
from presenced.presence.client import ConnectionKey
from presenced.presence.counts import StateCounts
from presenced.presence.ordering import Ordering
from presenced.registry import Inventory, Outcome, Thing
from presenced.registry.objects import NO_ATTRIBUTES, Attributes
from presenced.touched import Touched


class Description(NamedTuple):
    """What the registry says about a client; empty where it says nothing."""

    thing_type: str
    attributes: Attributes


_NOTHING = Description("", NO_ATTRIBUTES)


def _no_one(*_: object) -> None:
    """Nobody listens."""


def _everybody(_: str) -> bool:
    return True


class Fleet:
    """Every client's presence, what the registry holds, and how many clients each part of it has.

    `on_transition`, `on_count`, `on_enter` and `on_forget` are as those of `Presence`;
    `on_describe` is told each client of which the registry may say something else now, and
    `on_restore` each that `take_on` took on. `admits` tells whether a client ID is one of the
    fleet's: for others no thing makes a client.
    """

    def __init__(
        self,
        rules: PresenceRules,
        *,
        on_transition: Callable[[Client, Transition], None] = _no_one,
        on_count: Callable[[Client, State, int], None] | None = None,
        on_enter: Callable[[Client], None] = _no_one,
        on_forget: Callable[[Client], None] = _no_one,
        on_describe: Callable[[Client], None] = _no_one,
        on_restore: Callable[[Client], None] = _no_one,
    ) -> None:
        self.presence = Presence(
            rules,
            on_transition=self._transition,
            on_enter=on_enter,
            on_forget=self._forgotten,
        )
        self.inventory = Inventory(
            on_leave=self._leave, on_enter=self._enter, on_change=self._changed
        )
        self.thing_types = StateCounts()
        self.thing_groups = StateCounts()
        self.admits: Callable[[str], bool] = _everybody
        self._named: dict[str, set[str]] = {}
        self._on_transition = on_transition
        self._on_forget = on_forget
        self._on_describe = on_describe
        self._on_restore = on_restore
        self.use_count(on_count)

    def use_count(self, on_count: Callable[[Client, State, int], None] | None) -> None:
        """Tell another one from now on what `on_count` is told; None is no one."""
        self._on_count = on_count
        self._count_moves()

    def _count_moves(self) -> None:
        """Be told of clients that change their state where somebody counts them; it costs 1 µs."""
        counts = self._on_count is not None or bool(self.inventory.things.live)
        self.presence.on_count = self._count if counts else None

    def track(self, touched: Touched) -> None:
        """Have everything that changes from now on noted."""
        self.presence.on_change = touched.clients.add
        self.presence.disconnects.on_change = touched.disconnects.__setitem__
        self.inventory.things.on_change = touched.things.add
        self.inventory.types.on_change = touched.thing_types.add
        self.inventory.groups.on_change = touched.thing_groups.add

    def untrack(self) -> None:
        """Have nothing noted that changes from now on."""
        presence, inventory = self.presence, self.inventory
        presence.on_change, presence.disconnects.on_change = _no_one, None
        for shelf in (inventory.things, inventory.types, inventory.groups):
            shelf.on_change = _no_one

    def restore(
        self,
        client: Client,
        deadline: float | None,
        awaited: Iterable[tuple[ConnectionKey, float]],
    ) -> None:
        """Take on a client as `Presence.restore` does; `recount` is to follow."""
        self.presence.restore(client, deadline, awaited)
        if client.thing_name:
            self._named.setdefault(client.thing_name, set()).add(client.client_id)

    def take_on(
        self,
        client: Client,
        deadline: float | None,
        awaited: Iterable[tuple[ConnectionKey, float]],
    ) -> None:
        """Take on a client as `Presence.restore` does, beside others that are known already.

        It counts at once, and `on_restore` is told. No other but an unknown one of its ID may be
        known.
        """
        if client.state is State.UNKNOWN and not self.admits(client.client_id):
            self.presence.on_change(client.client_id)  # let it be dropped from the file, too
            return
        unknown = self.presence.clients.get(client.client_id)
        if unknown is not None:
            self._count(unknown, State.UNKNOWN, -1)
        self.restore(client, deadline, awaited)
        self._count(client, client.state, 1)
        for name in {client.thing, client.client_id}:
            self._stand_for(name)
        if client.state is State.OFFLINE and self._is_deleted(client.thing):
            self.presence.forget(client.client_id, "thing_deleted")
        else:
            self._on_restore(client)

    def recount(self) -> None:
        """Count every client anew, and see to it that each thing has one."""
        self.thing_types.clear()
        self.thing_groups.clear()
        self._count_moves()
        # Most things have their type and groups in common with many: those are looked at once.
        alike: Counter[tuple[str, tuple[str, ...], State]] = Counter()
        for client in self.presence.clients.values():
            thing = self.inventory.things.live.get(client.thing)
            if thing is not None:
                alike[thing.type, tuple(thing.groups), client.state] += 1
        for (kind, groups, state), number in alike.items():
            if kind:
                self.thing_types.count(kind, state, number)
            for group in self.inventory.and_above(groups):
                self.thing_groups.count(group, state, number)
        self.reconsider()

    def apply(self, event: LifecycleEvent, received: float, now: float) -> Ordering:
        """Take a lifecycle event into account; the clocks are those of `Presence.apply`."""
        ordering = self.presence.apply(event, received, now)
        thing_name = event.thing_name
        if not self._named and (thing_name is None or thing_name == event.client_id):
            return ordering  # the client is, as all are, the thing of its own name
        client = self.presence.clients.get(event.client_id)
        # A disconnect that names no thing leaves it at the one that the connect named.
        # One that was forgotten on the way may be there anew, for the thing of its own name.
        is_there = client is not None and client.state is not State.UNKNOWN
        if client and is_there and ordering.is_later and (event.connected or event.thing_name):
            self._rename(client, event.thing_name)
        return ordering

    def hear_subscription(self, event: SubscriptionEvent, received: float) -> None:
        """Take a subscription for a sign of life.

        Of a client of which nothing else is known it shows that it is online, and of one that is
        taken for online after a gap that it is so still.
        """
        if event.type != "subscribed":
            return
        if self.presence.suppose_online(event.client_id, received):
            self._rename(self.presence.clients[event.client_id], event.thing_name)
        else:
            at = received if event.timestamp is None else event.timestamp / 1000
            self.presence.confirm_online(event.client_id, at)

    def learn(self, event: RegistryEvent, received: float) -> Outcome:
        """Take an event of the registry into account; without event time it counts as just now."""
        at = round(received * 1000) if event.timestamp is None else event.timestamp
        return self.inventory.apply(event, at)

    def describe(self, client: Client) -> Description:
        """What the registry says about a client."""
        thing = self.inventory.things.live.get(client.thing)
        return Description(thing.type, thing.attributes) if thing else _NOTHING

    def is_in_group(self, client: Client, group: str) -> bool:
        """Whether a client is in a group, or in one below it; with no name, whether in none."""
        thing = self.inventory.things.live.get(client.thing)
        if not group:
            return thing is None or not thing.groups
        return thing is not None and self.inventory.is_in(thing, group)

    def reconsider(self) -> None:
        """Make and drop unknown clients after `admits` has changed."""
        clients = self.presence.clients.values()
        unknown = [client.client_id for client in clients if client.state is State.UNKNOWN]
        for client_id in unknown:
            if not self.admits(client_id):
                self.presence.disown(client_id)
        for name in self.inventory.things.live:
            self._stand_for(name)

    def _transition(self, client: Client, transition: Transition) -> None:
        self._on_transition(client, transition)
        if transition.state is State.OFFLINE and self._is_deleted(client.thing):
            self.presence.forget(client.client_id, "thing_deleted")

    def _forgotten(self, client: Client) -> None:
        if client.thing_name:
            self._unname(client.thing_name, client.client_id)
        self._on_forget(client)
        for name in {client.thing, client.client_id}:
            self._stand_for(name)

    def _count(self, client: Client, state: State, change: int) -> None:
        if self._on_count is not None:
            self._on_count(client, state, change)
        thing = self.inventory.things.live.get(client.thing)
        if thing is not None:
            self._count_in(thing, state, change)

    def _count_in(self, thing: Thing, state: State, change: int) -> None:
        if kind := thing.type:
            self.thing_types.count(kind, state, change)
        for group in self.inventory.groups_of(thing):
            self.thing_groups.count(group, state, change)

    def _leave(self, thing: Thing) -> None:
        for client in self._clients_of(thing.name):
            self._count_in(thing, client.state, -1)

    def _enter(self, thing: Thing) -> None:
        self._count_moves()
        for client in self._clients_of(thing.name):
            self._count_in(thing, client.state, 1)

    def _changed(self, thing: Thing) -> None:
        """See to a thing's clients; whatever follows for others finds all things counted."""
        if thing.exists:
            self._stand_for(thing.name)
        else:
            self._release(thing)
        for client in self._clients_of(thing.name):
            self._on_describe(client)

    def _release(self, thing: Thing) -> None:
        """Let go of the clients of a thing that is no more, but for those that are online."""
        for client in list(self._clients_of(thing.name)):
            if thing.deleted and client.state in (State.OFFLINE, State.UNKNOWN):
                self.presence.forget(client.client_id, "thing_deleted")
            else:
                self.presence.disown(client.client_id)

    def _is_deleted(self, name: str) -> bool:
        thing = self.inventory.things.get(name)
        return thing is not None and thing.deleted and not thing.exists

    def _stand_for(self, name: str) -> None:
        """See to it that a thing has a client: an unknown one, until one of its own connects."""
        client = self.presence.clients.get(name)
        if client is not None and client.thing == name and name not in self._named:
            return
        if name in self.inventory.things.live and self.admits(name):
            if next(self._clients_of(name), None) is None:
                self.presence.know(name)
            elif name in self._named:
                self.presence.disown(name)

    def _clients_of(self, name: str) -> Iterator[Client]:
        client = self.presence.clients.get(name)
        if client is not None and client.thing == name:
            yield client
        for client_id in self._named.get(name, ()):
            yield self.presence.clients[client_id]

    def _rename(self, client: Client, thing_name: str | None) -> None:
        """Let a client be another thing's."""
        named = thing_name if thing_name != client.client_id else None
        if named == client.thing_name:
            return
        before = client.thing
        self._count_for(client, -1)
        if client.thing_name:
            self._unname(client.thing_name, client.client_id)
        client.thing_name = named
        if named:
            self._named.setdefault(named, set()).add(client.client_id)
        self._count_for(client, 1)
        for name in (before, client.thing):
            self._stand_for(name)
        self.presence.on_change(client.client_id)
        self._on_describe(client)

    def _count_for(self, client: Client, change: int) -> None:
        thing = self.inventory.things.live.get(client.thing)
        if thing is not None:
            self._count_in(thing, client.state, change)

    def _unname(self, thing_name: str, client_id: str) -> None:
        clients = self._named[thing_name]
        clients.discard(client_id)
        if not clients:
            del self._named[thing_name]
