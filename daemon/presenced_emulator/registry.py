"""The registry of AWS IoT Core: what calls of its API change, and which event messages they cause.

Pure: the time (`now`, in seconds) and the randomness are arguments. Where the developer guide does
not say which messages a call causes, it causes the fewest: the deletion of a thing has no messages
of its type and memberships, that of a group none of its members.
"""

import random
import uuid
from collections.abc import Mapping

from presenced_emulator.events import (
    EventMessage,
    RegistryEventWriter,
    Thing,
    ThingGroup,
    ThingType,
)


class Registry:
    """Things, thing types and thing groups by name, and the exclusive things of clients.

    AWS's preconditions are not checked, such as that a type is deprecated before it is deleted and
    that a deleted group has no subgroups.
    """

    def __init__(self, rng: random.Random) -> None:
        self.types: dict[str, ThingType] = {}
        self.groups: dict[str, ThingGroup] = {}
        self.things: dict[str, Thing] = {}
        self._exclusive: dict[str, str] = {}
        self._rng = rng
        self._write = RegistryEventWriter(rng)
        self._last = 0

    def create_type(
        self, name: str, now: float, *, searchable: tuple[str, ...]
    ) -> list[EventMessage]:
        """CreateThingType."""
        created = self.types[name] = ThingType(name, self._id(), searchable)
        return [self._write.thing_type("created", created, self._at(now))]

    def deprecate_type(self, name: str, now: float, *, undo: bool = False) -> list[EventMessage]:
        """DeprecateThingType, or with `undo` the call of the same name that reverts it."""
        thing_type, at = self.types[name], self._at(now)
        thing_type.deprecated_at = None if undo else at
        return [self._write.thing_type("updated", thing_type, at)]

    def delete_type(self, name: str, now: float) -> list[EventMessage]:
        """DeleteThingType."""
        return [self._write.thing_type("deleted", self.types.pop(name), self._at(now))]

    def create_group(
        self, name: str, now: float, *, parent: str = "", attributes: Mapping[str, str]
    ) -> list[EventMessage]:
        """CreateThingGroup: the only call that puts a group below another."""
        at = self._at(now)
        group = self.groups[name] = ThingGroup(name, self._id(), parent, dict(attributes))
        messages = [self._write.group("created", group, self._ancestors(group), at, ())]
        if parent:
            messages.append(self._write.hierarchy("added", self.groups[parent], group, at, ()))
        return messages

    def update_group(
        self, name: str, now: float, *, attributes: Mapping[str, str]
    ) -> list[EventMessage]:
        """UpdateThingGroup: AWS IoT Core does not move groups ("Static thing groups")."""
        group = self.groups[name]
        group.attributes |= attributes
        group.version += 1
        return [self._write.group("updated", group, self._ancestors(group), self._at(now), ())]

    def delete_group(self, name: str, now: float) -> list[EventMessage]:
        """DeleteThingGroup; its things leave it without messages of their own."""
        at, members = self._at(now), self.members_of(name)
        group = self.groups.pop(name)
        for member in members:
            del self.things[member].groups[name]
        messages = []
        if group.parent:
            parent = self.groups[group.parent]
            messages.append(self._write.hierarchy("removed", parent, group, at, members))
        return [*messages, self._write.group("deleted", group, self._ancestors(group), at, members)]

    def create_thing(
        self, name: str, now: float, *, thing_type: str = "", attributes: Mapping[str, str]
    ) -> list[EventMessage]:
        """CreateThing."""
        at = self._at(now)
        thing = self.things[name] = Thing(name, self._id(), thing_type, dict(attributes))
        messages = [self._write.thing("created", thing, at)]
        if thing_type:
            messages.append(self._write.association("added", thing, thing_type, at))
        return messages

    def update_thing(
        self,
        name: str,
        now: float,
        *,
        thing_type: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> list[EventMessage]:
        """UpdateThing: change the type if it is not None, and merge the attributes."""
        at, thing = self._at(now), self.things[name]
        before = thing.thing_type
        thing.thing_type = before if thing_type is None else thing_type
        thing.attributes |= attributes or {}
        thing.version += 1
        messages = [self._write.thing("updated", thing, at)]
        if before != thing.thing_type:
            for verb, name_of_type in (("removed", before), ("added", thing.thing_type)):
                if name_of_type:
                    messages.append(self._write.association(verb, thing, name_of_type, at))
        return messages

    def delete_thing(self, name: str, now: float) -> list[EventMessage]:
        """DeleteThing, after DetachThingPrincipal."""
        thing = self.things.pop(name)
        self._exclusive = {c: t for c, t in self._exclusive.items() if t != name}
        return [self._write.thing("deleted", thing, self._at(now))]

    def regroup(
        self, name: str, now: float, *, out_of: str | None = None, into: str | None = None
    ) -> list[EventMessage]:
        """UpdateThingGroupsForThing: remove a thing from a group and add it to another."""
        at, thing = self._at(now), self.things[name]
        messages = []
        if out_of:
            old, group = thing.groups.pop(out_of), self.groups[out_of]
            messages.append(self._write.membership("removed", group, thing, old, at))
        if into:
            new = thing.groups[into] = self._id()
            messages.append(self._write.membership("added", self.groups[into], thing, new, at))
        return messages

    def attach(self, client_id: str, thing_name: str) -> None:
        """AttachThingPrincipal of the type EXCLUSIVE_THING, which causes no message.

        The client ID stands for the principal: here all devices share a certificate.
        """
        self._exclusive[client_id] = thing_name

    def exclusive_thing(self, client_id: str) -> str | None:
        """Return the `thingName` in a client's lifecycle events, None if they have none."""
        return self._exclusive.get(client_id)

    def groups_of(self, name: str) -> frozenset[str]:
        """Return the groups of a thing and all their ancestors."""
        direct = (self.groups[group] for group in self.things[name].groups)
        return frozenset(each.name for group in direct for each in (group, *self._ancestors(group)))

    def members_of(self, group: str) -> list[str]:
        """Return the things that are direct members of a group."""
        return [thing.name for thing in self.things.values() if group in thing.groups]

    def _ancestors(self, group: ThingGroup) -> list[ThingGroup]:
        ancestors: list[ThingGroup] = []
        while group.parent:
            group = self.groups[group.parent]
            ancestors.insert(0, group)
        return ancestors

    def _id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _at(self, now: float) -> int:
        """Return the event time of a call in milliseconds; no two calls share one."""
        self._last = max(round(now * 1000), self._last + 1)
        return self._last
