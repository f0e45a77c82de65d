"""Which clients belong to each thing, and the presence of a thing that has several.

A thing is online if any of its clients is; else pending, offline or unknown, the first of these
that one of them is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from presenced.presence.client import Client, State

MAX_MATCHED = 128
"""How long a client ID may be for `thing_pattern`, in bytes of UTF-8; AWS IoT Core allows no more.

It bounds the time that matching takes."""


_PLACES = {state: place for place, state in enumerate(State)}


def match_thing(pattern: re.Pattern[str] | None, client_id: str) -> str | None:
    """Return the thing that a pattern with the group `thing` names for a client, None for none.

    The pattern must match the whole client ID.
    """
    if pattern is None or len(client_id.encode()) > MAX_MATCHED:
        return None
    match = pattern.fullmatch(client_id)
    return (match["thing"] or None) if match else None


class ThingPresence(NamedTuple):
    """The presence of a thing, None without clients.

    It is `named` if a client belongs to it by `thing_pattern` or by the `thingName` of its events,
    so that it is a thing even if the registry does not have it.
    """

    state: State | None
    named: bool


class _SharedThing(msgspec.Struct, gc=False):
    """A thing with clients whose IDs are not its name: `others`.

    `counts` is how many clients, including that of its own name, are in each state, in the order
    of `State`.
    """

    others: set[str]
    counts: list[int]

    def move(self, before: State | None, after: State | None) -> None:
        if before is not None:
            self.counts[_PLACES[before]] -= 1
        if after is not None:
            self.counts[_PLACES[after]] += 1

    @property
    def presence(self) -> ThingPresence:
        for state, place in _PLACES.items():
            if self.counts[place]:
                return ThingPresence(state, named=True)
        return ThingPresence(None, named=True)


class ThingClients:
    """The clients of each thing.

    Only things with clients of other names take memory; any other thing has the client of its own
    name, which is in `clients`. `shared` are the things that take memory.
    """

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self.shared: dict[str, _SharedThing] = {}
        self._clients = clients

    def clients(self, thing: str) -> Iterator[Client]:
        """Yield the clients of a thing."""
        own = self._own(thing)
        if own is not None:
            yield own
        if thing in self.shared:
            for client_id in self.shared[thing].others:
                yield self._clients[client_id]

    def all(self) -> Iterator[tuple[str, ThingPresence]]:
        """Yield every thing that has clients, and its presence."""
        for name, shared in self.shared.items():
            yield name, shared.presence
        for client in self._clients.values():
            name = client.thing
            if name == client.client_id and name not in self.shared:
                yield name, ThingPresence(client.state, client.names_thing)

    def join(self, client: Client) -> tuple[ThingPresence, ThingPresence]:
        """Add a client to its thing; return the presence of the thing before and after."""
        name = client.thing
        shared = self.shared.get(name)
        if shared is None and name == client.client_id:
            return ThingPresence(None, named=False), _presence(client)
        before = _presence(self._own(name)) if shared is None else shared.presence
        if shared is None:
            shared = self.shared[name] = _SharedThing(set(), [0] * len(_PLACES))
            shared.move(None, before.state)
        shared.move(None, client.state)
        if name != client.client_id:
            shared.others.add(client.client_id)
        return before, shared.presence

    def leave(self, client: Client, state: State) -> tuple[ThingPresence, ThingPresence]:
        """Remove a client, which counts in `state`, from its thing, as `join` added it."""
        name = client.thing
        shared = self.shared.get(name)
        if shared is None:
            return ThingPresence(state, client.names_thing), ThingPresence(None, named=False)
        before = shared.presence
        shared.move(state, None)
        shared.others.discard(client.client_id)
        if shared.others:
            return before, shared.presence
        del self.shared[name]
        return before, _presence(self._own(name))

    def move(
        self, client: Client, before: State, after: State
    ) -> tuple[ThingPresence, ThingPresence]:
        """Note that a client changed its state; return the presence of its thing as `join` does."""
        shared = self.shared.get(client.thing)
        if shared is None:
            named = client.names_thing
            return ThingPresence(before, named), ThingPresence(after, named)
        earlier = shared.presence
        shared.move(before, after)
        return earlier, shared.presence

    def presence(self, thing: str) -> ThingPresence:
        """Return the presence of a thing."""
        shared = self.shared.get(thing)
        return _presence(self._own(thing)) if shared is None else shared.presence

    def is_thing(self, client: Client) -> bool:
        """Return whether a client is known to belong to a thing, even without the registry."""
        return client.names_thing or client.thing in self.shared

    def rebuild(self) -> None:
        """Assign all clients again, after the things that they name have changed."""
        self.shared.clear()
        for client in self._clients.values():
            if client.thing != client.client_id:
                self.join(client)

    def _own(self, thing: str) -> Client | None:
        """Return the client that has the name of a thing and belongs to it."""
        client = self._clients.get(thing)
        return client if client is not None and client.thing == thing else None


def _presence(client: Client | None) -> ThingPresence:
    if client is None:
        return ThingPresence(None, named=False)
    return ThingPresence(client.state, client.names_thing)
