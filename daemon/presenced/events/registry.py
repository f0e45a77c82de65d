"""Events of the registry: things, types, groups, and how they hang together.

Fields as in "Registry events" of the AWS IoT developer guide. `versionNumber` is the registry's
own here and has nothing to do with presence.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from presenced.events.model import (
    Event,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)
from presenced.events.topics import Route, normal_type
from presenced.events.wire import (
    Number,
    Payload,
    decode_payload,
    event_time,
    invalid,
    name,
    version,
)

Attributes = dict[str, str | None]

# "AWS IoT Core thing resource limits": what is beyond them is no attribute of AWS's.
_MOST_ATTRIBUTES = 50
_LONGEST_ATTRIBUTE_NAME = 128
_LONGEST_ATTRIBUTE_VALUE = 800

# Payloads of 2019 say "thingEvent" where later ones say "THING_EVENT"; without underscores and
# case both are the same.
_FAMILIES = {
    "thingevent": "thing",
    "thingtypeevent": "thing_type",
    "thingtypeassociationevent": "thing_type_association",
    "thinggroupevent": "thing_group",
    "thinggroupmembershipevent": "thing_group_membership",
    "thinggrouphierarchyevent": "thing_group_hierarchy",
}


class _PropagatingAttribute(msgspec.Struct, rename="camel", gc=False):
    user_property_key: str | None = None


class _RegistryPayload(Payload, rename="camel"):
    thing_name: str | None = None
    thing_id: str | None = None
    thing_arn: str | None = None
    thing_type_name: str | None = None
    thing_type_id: str | None = None
    version_number: Number = None
    attributes: Attributes | None = None
    is_deprecated: bool | None = None
    searchable_attributes: list[str] | None = None
    propagating_attributes: list[_PropagatingAttribute] | None = None
    thing_group_name: str | None = None
    thing_group_id: str | None = None
    group_arn: str | None = None
    parent_group_name: str | None = None
    child_group_name: str | None = None


_DECODER = msgspec.json.Decoder(_RegistryPayload)


def _decode_registry_event(route: Route, payload: bytes, _received: float) -> Event:
    fields = decode_payload(_DECODER, payload)
    family, names = route.family, route.names
    if fields.event_type is not None:
        family = _FAMILIES.get(fields.event_type.replace("_", "").lower(), "")
        if not family:
            raise invalid("eventType is none of the registry's")
        if family != route.family:
            names = ("", "")
    event_type: str | None = route.type
    if fields.operation is not None:
        event_type = normal_type(family, fields.operation)
    if not event_type:
        raise invalid("operation is none of this family's")
    disagrees = family != route.family or event_type != (route.type or event_type)
    return _BUILDERS[family](
        fields,
        names,
        type=event_type,
        timestamp=event_time(fields.timestamp),
        topic_disagrees=disagrees,
    )


def _thing(fields: _RegistryPayload, names: tuple[str, ...], **common: Any) -> Event:
    return ThingEvent(
        thing_name=name(fields.thing_name, names[0]),
        thing_id=fields.thing_id or None,
        version=version(fields.version_number),
        thing_type=fields.thing_type_name or None,
        attributes=_attributes(fields.attributes),
        **common,
    )


def _thing_type(fields: _RegistryPayload, names: tuple[str, ...], **common: Any) -> Event:
    propagating = [a.user_property_key for a in fields.propagating_attributes or ()]
    return ThingTypeEvent(
        thing_type=name(fields.thing_type_name, names[0]),
        thing_type_id=fields.thing_type_id or None,
        deprecated=bool(fields.is_deprecated),
        searchable_attributes=fields.searchable_attributes or [],
        propagating_attributes=[key for key in propagating if key],
        **common,
    )


def _association(fields: _RegistryPayload, names: tuple[str, ...], **common: Any) -> Event:
    return ThingTypeAssociationEvent(
        thing_name=name(fields.thing_name, names[0]),
        thing_type=name(fields.thing_type_name, names[1]),
        **common,
    )


def _thing_group(fields: _RegistryPayload, names: tuple[str, ...], **common: Any) -> Event:
    return ThingGroupEvent(
        thing_group=name(fields.thing_group_name, names[0]),
        thing_group_id=fields.thing_group_id or None,
        version=version(fields.version_number),
        parent=fields.parent_group_name or None,
        attributes=_attributes(fields.attributes),
        **common,
    )


def _membership(fields: _RegistryPayload, names: tuple[str, ...], **common: Any) -> Event:
    return ThingGroupMembershipEvent(
        thing_group=name(_name_of_arn(fields.group_arn), names[0]),
        thing_name=name(_name_of_arn(fields.thing_arn), names[1]),
        **common,
    )


def _hierarchy(fields: _RegistryPayload, names: tuple[str, ...], **common: Any) -> Event:
    return ThingGroupHierarchyEvent(
        thing_group=name(fields.thing_group_name, names[0]),
        child=name(fields.child_group_name, names[1]),
        **common,
    )


def _attributes(told: Attributes | None) -> Attributes:
    return dict(islice(filter(within_limits, (told or {}).items()), _MOST_ATTRIBUTES))


def within_limits(attribute: tuple[str, str | None]) -> bool:
    """Whether a thing may have such an attribute, a name and a value; others are left out."""
    key, value = attribute
    return len(key) <= _LONGEST_ATTRIBUTE_NAME and len(value or "") <= _LONGEST_ATTRIBUTE_VALUE


def _name_of_arn(arn: str | None) -> str | None:
    return arn.partition("/")[2] if arn else None


_BUILDERS: dict[str, Callable[..., Event]] = {
    "thing": _thing,
    "thing_type": _thing_type,
    "thing_type_association": _association,
    "thing_group": _thing_group,
    "thing_group_membership": _membership,
    "thing_group_hierarchy": _hierarchy,
}

DECODERS = dict.fromkeys(_BUILDERS, _decode_registry_event)
