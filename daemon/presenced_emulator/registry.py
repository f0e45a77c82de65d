"""A registry as AWS IoT Core keeps it: what the calls of its API change, and what it tells of that.

Pure: the moment (`now`, in seconds) and the randomness are arguments. Every call returns the event
messages that it causes. Where the developer guide is silent, the fewest messages are told: the
deletion of a thing does not tell its type and memberships, nor that of a group its members'.
"""

import random
import uuid
from collections.abc import Iterator, Mapping

from presenced_emulator.events import Event, Thing, ThingGroup, ThingType, Writer


class Registry:
    """Things, thing types and thing groups by name, and which client is which thing exclusively.

    It refuses nothing: AWS's own preconditions, such as that a type is deprecated before it is
    deleted and that a group has no subgroups then, are the caller's business.
    """

    def __init__(self, rng: random.Random) -> None:
        self.types: dict[str, ThingType] = {}
        self.groups: dict[str, ThingGroup] = {}
        self.things: dict[str, Thing] = {}
        self._exclusive: dict[str, str] = {}
        self._rng = rng
        self._write = Writer(rng)
        self._last = 0

    def create_type(self, name: str, now: float, *, searchable: tuple[str, ...]) -> list[Event]:
        """CreateThingType."""
        kind = self.types[name] = ThingType(name, self._id(), searchable)
        return [self._write.thing_type("created", kind, self._at(now))]

    def deprecate_type(self, name: str, now: float, *, undo: bool = False) -> list[Event]:
        """DeprecateThingType; to `undo` it is a call of the same name."""
        kind, at = self.types[name], self._at(now)
        kind.deprecated_at = None if undo else at
        return [self._write.thing_type("updated", kind, at)]

    def delete_type(self, name: str, now: float) -> list[Event]:
        """DeleteThingType."""
        return [self._write.thing_type("deleted", self.types.pop(name), self._at(now))]

    def create_group(
        self, name: str, now: float, *, parent: str = "", attributes: Mapping[str, str]
    ) -> list[Event]:
        """CreateThingGroup: the only call that puts a group below another."""
        at = self._at(now)
        group = self.groups[name] = ThingGroup(name, self._id(), parent, dict(attributes))
        events = [self._write.group("created", group, self._ancestors(group), at, ())]
        if parent:
            events.append(self._write.hierarchy("added", self.groups[parent], group, at, ()))
        return events

    def update_group(self, name: str, now: float, *, attributes: Mapping[str, str]) -> list[Event]:
        """UpdateThingGroup: AWS IoT Core does not move groups ("Static thing groups")."""
        group = self.groups[name]
        group.attributes |= attributes
        group.version += 1
        return [self._write.group("updated", group, self._ancestors(group), self._at(now), ())]

    def delete_group(self, name: str, now: float) -> list[Event]:
        """DeleteThingGroup; its members are without it then."""
        at, members = self._at(now), self.members_of(name)
        group = self.groups.pop(name)
        for member in members:
            del self.things[member].groups[name]
        events = []
        if group.parent:
            parent = self.groups[group.parent]
            events.append(self._write.hierarchy("removed", parent, group, at, members))
        return [*events, self._write.group("deleted", group, self._ancestors(group), at, members)]

    def create_thing(
        self, name: str, now: float, *, kind: str = "", attributes: Mapping[str, str]
    ) -> list[Event]:
        """CreateThing."""
        at = self._at(now)
        thing = self.things[name] = Thing(name, self._id(), kind, dict(attributes))
        events = [self._write.thing("created", thing, at)]
        if kind:
            events.append(self._write.association("added", thing, kind, at))
        return events

    def update_thing(
        self,
        name: str,
        now: float,
        *,
        kind: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> list[Event]:
        """UpdateThing: another type, where it is not None, and attributes that are merged."""
        at, thing = self._at(now), self.things[name]
        before = thing.kind
        thing.kind = before if kind is None else kind
        thing.attributes |= attributes or {}
        thing.version += 1
        events = [self._write.thing("updated", thing, at)]
        if before != thing.kind:
            if before:
                events.append(self._write.association("removed", thing, before, at))
            if thing.kind:
                events.append(self._write.association("added", thing, thing.kind, at))
        return events

    def delete_thing(self, name: str, now: float) -> list[Event]:
        """DeleteThing, after DetachThingPrincipal."""
        thing = self.things.pop(name)
        self._exclusive = {c: t for c, t in self._exclusive.items() if t != name}
        return [self._write.thing("deleted", thing, self._at(now))]

    def regroup(
        self, name: str, now: float, *, out_of: str | None = None, into: str | None = None
    ) -> list[Event]:
        """UpdateThingGroupsForThing: take a thing out of one group and put it into another."""
        at, thing = self._at(now), self.things[name]
        events = []
        if out_of:
            old, group = thing.groups.pop(out_of), self.groups[out_of]
            events.append(self._write.membership("removed", group, thing, old, at))
        if into:
            new = thing.groups[into] = self._id()
            events.append(self._write.membership("added", self.groups[into], thing, new, at))
        return events

    def attach(self, client_id: str, thing_name: str) -> None:
        """AttachThingPrincipal of the type EXCLUSIVE_THING, of which no event tells.

        It takes the client ID for the principal: here all devices share a certificate.
        """
        self._exclusive[client_id] = thing_name

    def exclusive_thing(self, client_id: str) -> str | None:
        """The `thingName` in the lifecycle events of a client, None where they have none."""
        return self._exclusive.get(client_id)

    def groups_of(self, name: str) -> frozenset[str]:
        """The groups of a thing, and all above them."""
        direct = (self.groups[group] for group in self.things[name].groups)
        return frozenset(each.name for group in direct for each in (group, *self._ancestors(group)))

    def members_of(self, group: str) -> list[str]:
        """The things that are direct members of a group."""
        return [thing.name for thing in self.things.values() if group in thing.groups]

    def _ancestors(self, group: ThingGroup) -> list[ThingGroup]:
        return list(self._upwards(group))[::-1]

    def _upwards(self, group: ThingGroup) -> Iterator[ThingGroup]:
        while group.parent:
            group = self.groups[group.parent]
            yield group

    def _id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _at(self, now: float) -> int:
        """The event time of a call: calls take their time, and no two share a millisecond."""
        self._last = max(round(now * 1000), self._last + 1)
        return self._last
