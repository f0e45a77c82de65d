"""Registry events with only the fields that tests need. Times are in milliseconds."""

from typing import Any

from presenced.events.model import (
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)

__all__ = ["association", "group", "link", "member", "thing", "thing_type"]


def thing(name: str, kind: str | None = None, at: int = 0, **fields: Any) -> ThingEvent:
    """A thing was created, unless `type` says otherwise; its ID is of its name."""
    fields = {"type": "created", "version": 1, "thing_id": f"id of {name}"} | fields
    return ThingEvent(thing_name=name, thing_type=kind, timestamp=at, **fields)


def thing_type(name: str, at: int = 0, **fields: Any) -> ThingTypeEvent:
    """A thing type was created, unless `type` says otherwise."""
    fields = {"type": "created", "thing_type_id": f"id of {name}"} | fields
    return ThingTypeEvent(thing_type=name, timestamp=at, **fields)


def group(name: str, parent: str | None = None, at: int = 0, **fields: Any) -> ThingGroupEvent:
    """A thing group was created, unless `type` says otherwise."""
    fields = {"type": "created", "version": 1, "thing_group_id": f"id of {name}"} | fields
    return ThingGroupEvent(thing_group=name, parent=parent, timestamp=at, **fields)


def association(
    thing_name: str, kind: str, at: int = 0, *, added: bool = True
) -> ThingTypeAssociationEvent:
    """A thing was given a type, or lost it."""
    return ThingTypeAssociationEvent(
        type=_word(added), thing_name=thing_name, thing_type=kind, timestamp=at
    )


def member(
    group_name: str, thing_name: str, at: int = 0, *, added: bool = True
) -> ThingGroupMembershipEvent:
    """A thing was put into a group, or taken out."""
    return ThingGroupMembershipEvent(
        type=_word(added), thing_group=group_name, thing_name=thing_name, timestamp=at
    )


def link(parent: str, child: str, at: int = 0, *, added: bool = True) -> ThingGroupHierarchyEvent:
    """A group was put below another, or taken away from it."""
    return ThingGroupHierarchyEvent(
        type=_word(added), thing_group=parent, child=child, timestamp=at
    )


def _word(added: bool) -> str:
    return "added" if added else "removed"
