"""Event messages, and how those of the registry are written.

The fields are those of the page "Registry events" in the AWS IoT developer guide. `eventId` has no
dashes, as in messages that people have published. Pure: times and randomness are arguments.
"""

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

ACCOUNT = "123456789012"
ARN = f"arn:aws:iot:eu-west-1:{ACCOUNT}"


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event message of AWS IoT Core.

    Until it has arrived, a subscriber cannot know the presence of `clients` for sure, nor of
    `things` whether they exist, their types and their groups.
    """

    topic: str
    fields: dict[str, Any]
    clients: frozenset[str] = frozenset()
    things: frozenset[str] = frozenset()

    @property
    def payload(self) -> bytes:
        """The message body: JSON, the fields in their order."""
        return json.dumps(self.fields).encode()


@dataclass(slots=True)
class ThingType:
    """A thing type; `deprecated_at` is in milliseconds, None while it is in use."""

    name: str
    type_id: str
    searchable: tuple[str, ...]
    deprecated_at: int | None = None


@dataclass(slots=True)
class ThingGroup:
    """A thing group; `parent` is empty at the top."""

    name: str
    group_id: str
    parent: str
    attributes: dict[str, str]
    version: int = 1


@dataclass(slots=True)
class Thing:
    """A thing; `thing_type` is empty without one.

    `groups` maps the groups that it is a direct member of to the IDs of the memberships.
    """

    name: str
    thing_id: str
    thing_type: str
    attributes: dict[str, str]
    version: int = 1
    groups: dict[str, str] = field(default_factory=dict)


def thing_arn(name: str) -> str:
    """Return the ARN of a thing."""
    return f"{ARN}:thing/{name}"


class RegistryEventWriter:
    """Writes the messages of the registry.

    `verb` is the last level of the topic, such as created or removed; `at` is the event time in
    milliseconds; `things` are those of which the message changes type, groups or existence.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def thing_type(self, verb: str, thing_type: ThingType, at: int) -> EventMessage:
        """Return the message that a thing type was created, updated or deleted."""
        return self._message(
            "THING_TYPE_EVENT",
            f"thingType/{thing_type.name}/{verb}",
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

    def thing(self, verb: str, thing: Thing, at: int) -> EventMessage:
        """Return the message that a thing was created, updated or deleted."""
        return self._message(
            "THING_EVENT",
            f"thing/{thing.name}/{verb}",
            at,
            {thing.name},
            accountId=ACCOUNT,
            thingId=thing.thing_id,
            thingName=thing.name,
            versionNumber=thing.version,
            thingTypeName=thing.thing_type or None,
            billinGroupName=None,  # AWS's spelling
            attributes=dict(thing.attributes),
        )

    def association(self, verb: str, thing: Thing, thing_type: str, at: int) -> EventMessage:
        """Return the message that a type was added to a thing or removed from it."""
        return self._message(
            "THING_TYPE_ASSOCIATION_EVENT",
            f"thingTypeAssociation/thing/{thing.name}/thingType/{thing_type}/{verb}",
            at,
            {thing.name},
            thingId=thing.thing_id,
            thingName=thing.name,
            thingTypeName=thing_type,
        )

    def group(
        self,
        verb: str,
        group: ThingGroup,
        ancestors: Sequence[ThingGroup],
        at: int,
        things: Collection[str],
    ) -> EventMessage:
        """Return the message that a group was created, updated or deleted.

        `ancestors` begin with the group at the top.
        """
        parent = ancestors[-1] if ancestors else None
        path = [
            {"groupArn": f"{ARN}:thinggroup/{each.name}", "groupId": each.group_id}
            for each in ancestors
        ]
        return self._message(
            "THING_GROUP_EVENT",
            f"thingGroup/{group.name}/{verb}",
            at,
            things,
            accountId=ACCOUNT,
            thingGroupId=group.group_id,
            thingGroupName=group.name,
            versionNumber=group.version,
            parentGroupName=parent.name if parent else None,
            parentGroupId=parent.group_id if parent else None,
            description=None,
            rootToParentThingGroups=path or None,
            attributes=dict(group.attributes),
            dynamicGroupMappingId=None,
        )

    def membership(
        self, verb: str, group: ThingGroup, thing: Thing, membership_id: str, at: int
    ) -> EventMessage:
        """Return the message that a thing was added to a group or removed from it."""
        return self._message(
            "THING_GROUP_MEMBERSHIP_EVENT",
            f"thingGroupMembership/thingGroup/{group.name}/thing/{thing.name}/{verb}",
            at,
            {thing.name},
            accountId=ACCOUNT,
            groupArn=f"{ARN}:thinggroup/{group.name}",
            groupId=group.group_id,
            thingArn=thing_arn(thing.name),
            thingId=thing.thing_id,
            membershipId=membership_id,
        )

    def hierarchy(
        self, verb: str, parent: ThingGroup, child: ThingGroup, at: int, things: Collection[str]
    ) -> EventMessage:
        """Return the message that a group was added to a parent or removed from it."""
        return self._message(
            "THING_GROUP_HIERARCHY_EVENT",
            f"thingGroupHierarchy/thingGroup/{parent.name}/childThingGroup/{child.name}/{verb}",
            at,
            things,
            accountId=ACCOUNT,
            thingGroupId=parent.group_id,
            thingGroupName=parent.name,
            childGroupId=child.group_id,
            childGroupName=child.name,
        )

    def _message(
        self, event_type: str, path: str, at: int, things: Collection[str] = (), **extra: Any
    ) -> EventMessage:
        fields = {
            "eventType": event_type,
            "eventId": f"{self._rng.getrandbits(128):032x}",
            "timestamp": at,
            "operation": path.rpartition("/")[2].upper(),
            **extra,
        }
        return EventMessage(f"$aws/events/{path}", fields, things=frozenset(things))
