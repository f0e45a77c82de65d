"""The event messages of the registry: topics and fields.

Pure: moments and randomness are arguments. The fields are those of the page "Registry events" in
the AWS IoT developer guide. `eventId` has no dashes, as in messages that people have published.

An event message, as the embedded broker publishes it.
"""

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """An event message: where it is published and what it says.

    Until it has arrived nobody can be sure of the presence of `clients`, nor of `things`: whether
    they exist, and of which type and in which groups they are.
    """

    topic: str
    fields: dict[str, Any]
    clients: frozenset[str] = frozenset()
    things: frozenset[str] = frozenset()

    @property
    def payload(self) -> bytes:
        """The message body: JSON, the fields in their order."""
        return json.dumps(self.fields).encode()


ACCOUNT = "123456789012"
ARN = f"arn:aws:iot:eu-west-1:{ACCOUNT}"
VERBS = {
    "created": "CREATED",
    "updated": "UPDATED",
    "deleted": "DELETED",
    "added": "ADDED",
    "removed": "REMOVED",
}


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
    """A thing; `kind` is its thing type, empty without one.

    `groups` maps the groups that it is a direct member of to the IDs of the memberships.
    """

    name: str
    thing_id: str
    kind: str
    attributes: dict[str, str]
    version: int = 1
    groups: dict[str, str] = field(default_factory=dict)


def thing_arn(name: str) -> str:
    """The ARN of a thing."""
    return f"{ARN}:thing/{name}"


def group_arn(name: str) -> str:
    """The ARN of a thing group."""
    return f"{ARN}:thinggroup/{name}"


class Writer:
    """Writes the messages; `at` is their event time in milliseconds, `verb` the topic's last level.

    `things` are those of which the message changes type, groups or existence.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def thing_type(self, verb: str, kind: ThingType, at: int) -> Event:
        """A thing type was created, updated or deleted."""
        return self._event(
            "THING_TYPE_EVENT",
            f"thingType/{kind.name}",
            verb,
            at,
            accountId=ACCOUNT,
            thingTypeId=kind.type_id,
            thingTypeName=kind.name,
            isDeprecated=kind.deprecated_at is not None,
            deprecationDate=kind.deprecated_at,
            searchableAttributes=list(kind.searchable),
            propagatingAttributes=[],
            description=None,
        )

    def thing(self, verb: str, thing: Thing, at: int) -> Event:
        """A thing was created, updated or deleted; the misspelt field is AWS's."""
        return self._event(
            "THING_EVENT",
            f"thing/{thing.name}",
            verb,
            at,
            {thing.name},
            accountId=ACCOUNT,
            thingId=thing.thing_id,
            thingName=thing.name,
            versionNumber=thing.version,
            thingTypeName=thing.kind or None,
            billinGroupName=None,
            attributes=dict(thing.attributes),
        )

    def association(self, verb: str, thing: Thing, kind: str, at: int) -> Event:
        """A thing was given a type, or lost it."""
        return self._event(
            "THING_TYPE_ASSOCIATION_EVENT",
            f"thingTypeAssociation/thing/{thing.name}/thingType/{kind}",
            verb,
            at,
            {thing.name},
            thingId=thing.thing_id,
            thingName=thing.name,
            thingTypeName=kind,
        )

    def group(
        self,
        verb: str,
        group: ThingGroup,
        ancestors: Sequence[ThingGroup],
        at: int,
        things: Collection[str],
    ) -> Event:
        """A group was created, updated or deleted; `ancestors` stand in order, the top first."""
        path = [{"groupArn": group_arn(each.name), "groupId": each.group_id} for each in ancestors]
        return self._event(
            "THING_GROUP_EVENT",
            f"thingGroup/{group.name}",
            verb,
            at,
            things,
            accountId=ACCOUNT,
            thingGroupId=group.group_id,
            thingGroupName=group.name,
            versionNumber=group.version,
            parentGroupName=ancestors[-1].name if ancestors else None,
            parentGroupId=ancestors[-1].group_id if ancestors else None,
            description=None,
            rootToParentThingGroups=path or None,
            attributes=dict(group.attributes),
            dynamicGroupMappingId=None,
        )

    def membership(
        self, verb: str, group: ThingGroup, thing: Thing, membership_id: str, at: int
    ) -> Event:
        """A thing was put into a group, or taken out."""
        return self._event(
            "THING_GROUP_MEMBERSHIP_EVENT",
            f"thingGroupMembership/thingGroup/{group.name}/thing/{thing.name}",
            verb,
            at,
            {thing.name},
            accountId=ACCOUNT,
            groupArn=group_arn(group.name),
            groupId=group.group_id,
            thingArn=thing_arn(thing.name),
            thingId=thing.thing_id,
            membershipId=membership_id,
        )

    def hierarchy(
        self, verb: str, parent: ThingGroup, child: ThingGroup, at: int, things: Collection[str]
    ) -> Event:
        """A group was put below another, or taken away from it."""
        return self._event(
            "THING_GROUP_HIERARCHY_EVENT",
            f"thingGroupHierarchy/thingGroup/{parent.name}/childThingGroup/{child.name}",
            verb,
            at,
            things,
            accountId=ACCOUNT,
            thingGroupId=parent.group_id,
            thingGroupName=parent.name,
            childGroupId=child.group_id,
            childGroupName=child.name,
        )

    def _event(
        self,
        event_type: str,
        path: str,
        verb: str,
        at: int,
        things: Collection[str] = (),
        **extra: Any,
    ) -> Event:
        fields = {
            "eventType": event_type,
            "eventId": f"{self._rng.getrandbits(128):032x}",
            "timestamp": at,
            "operation": VERBS[verb],
            **extra,
        }
        return Event(f"$aws/events/{path}/{verb}", fields, things=frozenset(things))
