"""Events of the registry, jobs, certificates and commands.

Fields as in "Registry events", "Jobs events", "Command events" and "Just-in-time registration" of
the AWS IoT developer guide. Job events carry their timestamp in seconds, the others in
milliseconds. `versionNumber` is that of the registry, which is unrelated to that of presence.
"""

from itertools import islice
from typing import Any

import msgspec

from presenced.events.model import (
    REGISTRY_FAMILIES,
    CertificateEvent,
    CommandExecutionEvent,
    Event,
    JobEvent,
    JobExecutionEvent,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)
from presenced.events.payloads import Payload, Version, decode_payload, invalid, is_name, name
from presenced.events.topics import Route, normal_type

# "AWS IoT Core thing resource limits".
_MAX_ATTRIBUTES = 50
_MAX_ATTRIBUTE_NAME = 128
_MAX_ATTRIBUTE_VALUE = 800
# "AWS IoT Core thing group resource limits" has 7 levels; a longer list of ancestors is ignored.
_MAX_ANCESTORS = 32

_ABSENT = msgspec.Raw()

# The families that an eventType may name, without "_": payloads of 2019 say "thingEvent" where
# later ones say "THING_EVENT". The other families do not read it.
_REGISTRY = {f"{family.replace('_', '')}event": family for family in REGISTRY_FAMILIES}
_JOBS = {"job": "job", "jobexecution": "job_execution"}
_EVENT_TYPES = dict.fromkeys(REGISTRY_FAMILIES, _REGISTRY) | dict.fromkeys(_JOBS.values(), _JOBS)


_COUNTED: dict[str, type[Event]] = {
    event.family: event
    for event in (JobEvent, JobExecutionEvent, CertificateEvent, CommandExecutionEvent)
}


class PropagatingAttribute(msgspec.Struct, rename="camel", gc=False):
    """An attribute of a thing type that is added to messages of its things."""

    user_property_key: str | None = None


class Ancestor(msgspec.Struct, rename="camel", gc=False):
    """A group above another one."""

    group_arn: str | None = None
    group_id: str | None = None


class _Payload(Payload, rename="camel"):
    thing_name: str | None = None
    thing_id: str | None = None
    thing_arn: str | None = None
    thing_type_name: str | None = None
    thing_type_id: str | None = None
    version_number: Version | None = None
    attributes: dict[str, str | None] | None = None
    is_deprecated: bool | None = None
    searchable_attributes: list[str] | None = None
    propagating_attributes: list[PropagatingAttribute] | None = None
    thing_group_name: str | None = None
    thing_group_id: str | None = None
    group_arn: str | None = None
    parent_group_name: str | None = None
    child_group_name: str | None = None
    # Not decoded with the rest: one odd ancestor is no reason to reject the event.
    root_to_parent_thing_groups: msgspec.Raw = _ABSENT
    status: str | None = None


_DECODER = msgspec.json.Decoder(_Payload, strict=False)
_NOTHING = _Payload()
_decode_ancestors = msgspec.json.Decoder(list[Ancestor | None]).decode


def decode_resource_event(route: Route, payload: bytes) -> Event:
    """Decode an event of any family but those of clients. Raises `Rejected`.

    A payload without any field of an event is rejected: a topic alone changes nothing.
    """
    fields = decode_payload(_DECODER, payload)
    if msgspec.structs.replace(fields, root_to_parent_thing_groups=_ABSENT) == _NOTHING:
        raise invalid("it has no field of such an event")
    family, names = route.family, route.names
    if fields.event_type is not None and family in _EVENT_TYPES:
        family = _EVENT_TYPES[family].get(fields.event_type.replace("_", "").lower(), "")
        if not family:
            raise invalid(f"eventType does not belong to a {route.family} topic")
        if family != route.family:
            names = ("", "")
    written = fields.status if family == "command_execution" else fields.operation
    kind = route.type if written is None else normal_type(family, written)
    if not kind:
        raise invalid("operation is not one of this family")
    common = {
        "type": kind,
        "timestamp": fields.event_time,
        # The topic of an association may have no type.
        "topic_disagrees": family != route.family or kind != (route.type or kind),
    }
    return _event(family, fields, names, common)


def _event(family: str, fields: _Payload, names: tuple[str, ...], common: dict[str, Any]) -> Event:
    match family:
        case "thing":
            return ThingEvent(
                thing_name=name(fields.thing_name, names[0]),
                thing_id=fields.thing_id or None,
                version=fields.version_number,
                thing_type=_optional(fields.thing_type_name),
                attributes=_attributes(fields),
                **common,
            )
        case "thing_type":
            keys = (each.user_property_key for each in fields.propagating_attributes or ())
            return ThingTypeEvent(
                thing_type=name(fields.thing_type_name, names[0]),
                thing_type_id=fields.thing_type_id or None,
                deprecated=bool(fields.is_deprecated),
                searchable_attributes=fields.searchable_attributes or [],
                propagating_attributes=[key for key in keys if key],
                **common,
            )
        case "thing_type_association":
            return ThingTypeAssociationEvent(
                thing_name=name(fields.thing_name, names[0]),
                thing_type=name(fields.thing_type_name, names[1]),
                **common,
            )
        case "thing_group":
            above = _ancestors(fields)
            return ThingGroupEvent(
                thing_group=name(fields.thing_group_name, names[0]),
                thing_group_id=fields.thing_group_id or None,
                version=fields.version_number,
                parent=_optional(fields.parent_group_name or (above[-1] if above else None)),
                ancestors=above,
                attributes=_attributes(fields),
                **common,
            )
        case "thing_group_membership":
            return ThingGroupMembershipEvent(
                thing_group=name(_name_in_arn(fields.group_arn), names[0]),
                thing_name=name(_name_in_arn(fields.thing_arn), names[1]),
                **common,
            )
        case "thing_group_hierarchy":
            return ThingGroupHierarchyEvent(
                thing_group=name(fields.thing_group_name, names[0]),
                child=name(fields.child_group_name, names[1]),
                **common,
            )
        case _:
            return _COUNTED[family](**common)


def _ancestors(fields: _Payload) -> list[str]:
    """Return the names of the groups above a group; empty where an ARN is missing or has no name.

    The last one is the parent, which has a field of its own.
    """
    try:
        groups = _decode_ancestors(fields.root_to_parent_thing_groups)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    if not 0 < len(groups) <= _MAX_ANCESTORS:
        return []
    names = [_name_in_arn(group.group_arn if group else None) for group in groups]
    names = [each if is_name(each) else "" for each in names]
    return [*names[:-1], names[-1] or _optional(fields.parent_group_name) or ""]


def _optional(text: str | None) -> str | None:
    return name(text) if text else None


def _attributes(fields: _Payload) -> dict[str, str | None]:
    items = (fields.attributes or {}).items()
    return dict(islice(filter(within_limits, items), _MAX_ATTRIBUTES))


def within_limits(attribute: tuple[str, str | None]) -> bool:
    """Return whether AWS allows an attribute, a name and a value. Others are ignored."""
    key, value = attribute
    return len(key) <= _MAX_ATTRIBUTE_NAME and len(value or "") <= _MAX_ATTRIBUTE_VALUE


def _name_in_arn(arn: str | None) -> str:
    return arn.partition("/")[2] if arn else ""
