"""The registry of AWS IoT Core: what calls of its API change, and which event messages they cause.

The fields of the messages are those of the page "Registry events" in the AWS IoT developer guide;
`eventId` has no dashes, as in messages that people have published. If the guide does not say which
messages a call causes, it causes the fewest: the deletion of a thing has no messages of its type
and memberships, that of a group none of its members.

Pure: the time (`now`, in seconds) and the randomness are arguments.
"""

import random
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from presenced.events.topics import Route, topic_of
from presenced_emulator.events import EventMessage

ACCOUNT = "123456789012"
REGION = "eu-west-1"
ARN = f"arn:aws:iot:{REGION}:{ACCOUNT}"


@dataclass(slots=True)
class ThingType:
    """A thing type; `deprecated_at` is in milliseconds, None while it is in use."""

    name: str
    type_id: str
    searchable: tuple[str, ...]
    deprecated_at: int | None = None


@dataclass(slots=True)
class ThingGroup:
    """A thing group; `parent` is empty at the top, `created_at` in milliseconds."""

    name: str
    group_id: str
    parent: str
    attributes: dict[str, str]
    created_at: int
    version: int = 1


@dataclass(slots=True)
class Thing:
    """A thing; `thing_type` and `billing_group` are empty without one.

    `groups` maps the groups that it is a direct member of to the IDs of the memberships.
    """

    name: str
    thing_id: str
    thing_type: str
    attributes: dict[str, str]
    billing_group: str = ""
    version: int = 1
    groups: dict[str, str] = field(default_factory=dict)


class Registry:
    """Things, thing types, thing groups and billing groups, and the exclusive things of clients.

    AWS's preconditions are not checked, such as that a type is deprecated before it is deleted and
    that a deleted group has no subgroups.
    """

    def __init__(self, rng: random.Random) -> None:
        self.types: dict[str, ThingType] = {}
        self.groups: dict[str, ThingGroup] = {}
        self.things: dict[str, Thing] = {}
        self.billing_groups: set[str] = set()
        self._exclusive: dict[str, str] = {}
        self._rng = rng
        self._last = 0

    def create_type(
        self, name: str, now: float, *, searchable: tuple[str, ...]
    ) -> list[EventMessage]:
        """CreateThingType."""
        created = self.types[name] = ThingType(name, self._id(), searchable)
        return [self._type_event("created", created, self._at(now))]

    def create_group(
        self, name: str, now: float, *, parent: str = "", attributes: Mapping[str, str]
    ) -> list[EventMessage]:
        """CreateThingGroup: the only call that puts a group below another."""
        at = self._at(now)
        group = self.groups[name] = ThingGroup(name, self._id(), parent, dict(attributes), at)
        messages = [self._group_event("created", group, at)]
        if parent:
            messages.append(self._hierarchy_event("added", group, at))
        return messages

    def delete_group(self, name: str, now: float) -> list[EventMessage]:
        """DeleteThingGroup; its things leave it without messages of their own."""
        at, members = self._at(now), self.members_of(name)
        group = self.groups.pop(name)
        for member in members:
            del self.things[member].groups[name]
        unlinked = [self._hierarchy_event("removed", group, at, members)] if group.parent else []
        return [*unlinked, self._group_event("deleted", group, at, members)]

    def create_thing(
        self,
        name: str,
        now: float,
        *,
        thing_type: str = "",
        attributes: Mapping[str, str],
        billing_group: str = "",
    ) -> list[EventMessage]:
        """CreateThing; a billing group is created with its first thing."""
        at = self._at(now)
        thing = self.things[name] = Thing(
            name, self._id(), thing_type, dict(attributes), billing_group
        )
        if billing_group:
            self.billing_groups.add(billing_group)
        messages = [self._thing_event("created", thing, at)]
        if thing_type:
            messages.append(self._association_event("added", thing, thing_type, at))
        return messages

    def update_thing(
        self, name: str, now: float, *, attributes: Mapping[str, str]
    ) -> list[EventMessage]:
        """UpdateThing: merge the attributes."""
        at, thing = self._at(now), self.things[name]
        thing.attributes |= attributes
        thing.version += 1
        return [self._thing_event("updated", thing, at)]

    def delete_thing(self, name: str, now: float) -> list[EventMessage]:
        """DeleteThing, after DetachThingPrincipal."""
        thing = self.things.pop(name)
        self._exclusive = {c: t for c, t in self._exclusive.items() if t != name}
        return [self._thing_event("deleted", thing, self._at(now))]

    def regroup(
        self, name: str, now: float, *, out_of: str | None = None, into: str | None = None
    ) -> list[EventMessage]:
        """UpdateThingGroupsForThing: remove a thing from a group and add it to another."""
        at, thing = self._at(now), self.things[name]
        messages = []
        if out_of:
            old = thing.groups.pop(out_of)
            messages.append(self._membership_event("removed", out_of, thing, old, at))
        if into:
            new = thing.groups[into] = self._id()
            messages.append(self._membership_event("added", into, thing, new, at))
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
        return frozenset(each.name for group in direct for each in (group, *self.ancestors(group)))

    def members_of(self, group: str) -> list[str]:
        """Return the things that are direct members of a group."""
        return [thing.name for thing in self.things.values() if group in thing.groups]

    def ancestors(self, group: ThingGroup) -> list[ThingGroup]:
        """Return the groups above a group, the one at the top first."""
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

    def _type_event(self, verb: str, thing_type: ThingType, at: int) -> EventMessage:
        return self._event(
            Route("thing_type", verb, (thing_type.name,)),
            at,
            accountId=ACCOUNT,
            thingTypeId=thing_type.type_id,
            thingTypeName=thing_type.name,
            isDeprecated=thing_type.deprecated_at is not None,
            deprecationDate=thing_type.deprecated_at,
            searchableAttributes=list(thing_type.searchable),
            propagatingAttributes=[],
            description=None,
        )

    def _thing_event(self, verb: str, thing: Thing, at: int) -> EventMessage:
        return self._event(
            Route("thing", verb, (thing.name,)),
            at,
            {thing.name},
            accountId=ACCOUNT,
            thingId=thing.thing_id,
            thingName=thing.name,
            versionNumber=thing.version,
            thingTypeName=thing.thing_type or None,
            billinGroupName=thing.billing_group or None,  # AWS's spelling
            attributes=dict(thing.attributes),
        )

    def _association_event(self, verb: str, thing: Thing, thing_type: str, at: int) -> EventMessage:
        return self._event(
            Route("thing_type_association", verb, (thing.name, thing_type)),
            at,
            {thing.name},
            thingId=thing.thing_id,
            thingName=thing.name,
            thingTypeName=thing_type,
        )

    def _group_event(
        self, verb: str, group: ThingGroup, at: int, things: Collection[str] = ()
    ) -> EventMessage:
        ancestors = self.ancestors(group)
        path = [
            {"groupArn": f"{ARN}:thinggroup/{each.name}", "groupId": each.group_id}
            for each in ancestors
        ]
        return self._event(
            Route("thing_group", verb, (group.name,)),
            at,
            things,
            accountId=ACCOUNT,
            thingGroupId=group.group_id,
            thingGroupName=group.name,
            versionNumber=group.version,
            parentGroupName=group.parent or None,
            parentGroupId=ancestors[-1].group_id if ancestors else None,
            description=None,
            rootToParentThingGroups=path or None,
            attributes=dict(group.attributes),
            dynamicGroupMappingId=None,
        )

    def _membership_event(
        self, verb: str, group: str, thing: Thing, membership_id: str, at: int
    ) -> EventMessage:
        return self._event(
            Route("thing_group_membership", verb, (group, thing.name)),
            at,
            {thing.name},
            accountId=ACCOUNT,
            groupArn=f"{ARN}:thinggroup/{group}",
            groupId=self.groups[group].group_id,
            thingArn=f"{ARN}:thing/{thing.name}",
            thingId=thing.thing_id,
            membershipId=membership_id,
        )

    def _hierarchy_event(
        self, verb: str, child: ThingGroup, at: int, things: Collection[str] = ()
    ) -> EventMessage:
        return self._event(
            Route("thing_group_hierarchy", verb, (child.parent, child.name)),
            at,
            things,
            accountId=ACCOUNT,
            thingGroupId=self.groups[child.parent].group_id,
            thingGroupName=child.parent,
            childGroupId=child.group_id,
            childGroupName=child.name,
        )

    def _event(
        self, route: Route, at: int, things: Collection[str] = (), **extra: Any
    ) -> EventMessage:
        """Return a message; `things` are those whose type, groups or existence it changes."""
        fields = {
            "eventType": f"{route.family.upper()}_EVENT",
            "eventId": f"{self._rng.getrandbits(128):032x}",
            "timestamp": at,
            "operation": route.type.upper(),
            **extra,
        }
        return EventMessage(topic_of(route), fields, things=frozenset(things))
