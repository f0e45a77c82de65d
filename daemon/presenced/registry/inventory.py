"""The registry as its events describe it: the same inventory in any order of arrival."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from presenced.events.model import (
    RegistryEvent,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)
from presenced.registry.hierarchy import GroupStore
from presenced.registry.objects import (
    MAX_TOMBSTONES,
    NO_ATTRIBUTES,
    ObjectStamp,
    ObjectStore,
    Outcome,
    Relation,
    Thing,
    ThingGroup,
    ThingType,
    add_relation,
    compare,
    find_relation,
    relations_since,
)


class ThingChange(NamedTuple):
    """A thing that may have changed, with its type and all its groups before.

    `existed` is whether there was such a thing.
    """

    thing: Thing
    type: str
    groups: set[str]
    existed: bool


class Inventory:
    """Things, thing types and thing groups, and how they relate.

    Event times, `at`, are in milliseconds since the epoch. With `parts` the inventory has the
    things of one of so many partitions of a fleet, and remembers as many times fewer deleted ones.
    """

    def __init__(self, parts: int = 1) -> None:
        self.things = ObjectStore(Thing, limit=-(-MAX_TOMBSTONES // parts))
        self.types = ObjectStore(ThingType)
        self.groups = GroupStore(ThingGroup)
        self._changes: dict[str, ThingChange] = {}

    def apply(self, event: RegistryEvent, at: int) -> tuple[Outcome, Sequence[ThingChange]]:
        """Apply an event; `at` is its event time, or the received time in place of that."""
        outcome = _HANDLERS[type(event)](self, event, at)
        return outcome, self._take_changes()

    def note_listed(self, name: str, snapshot: int) -> None:
        """Note that a snapshot, by its number, has a thing."""
        # In the things: a set of a million names would hold the event loop whenever it grows.
        if (thing := self.things.live.get(name)) is not None:
            thing.listed_in = snapshot

    def replace_group(self, group: ThingGroup) -> Sequence[ThingChange]:
        """Take over all that events say of a group, as another inventory has it.

        Which things are its members, this inventory says. The other one must have applied all
        events of groups; what `apply` made of such events here is replaced.
        """
        own = self.groups.get_or_create(group.name)
        if _stated_of_group(own) != _stated_of_group(group):
            own.stamp, own.own_parent = group.stamp, group.own_parent
            own.attributes, own.parent_relations = group.attributes, group.parent_relations
            if group.deleted_at > own.deleted_at:
                self._end_group(own, group.deleted_at)
            else:
                self._move(own)
        return self._take_changes()

    def replace_type(self, kind: ThingType) -> None:
        """Take over all that events say of a thing type, as `replace_group` does."""
        own = self.types.get_or_create(kind.name)
        if _stated_of_type(own) != _stated_of_type(kind):
            own.stamp, own.deleted_at, own.deprecated = kind.stamp, kind.deleted_at, kind.deprecated
            own.searchable, own.propagating = kind.searchable, kind.propagating
            self.types.put(own)

    def restore(
        self, things: Iterable[Thing], types: Iterable[ThingType], groups: Iterable[ThingGroup]
    ) -> None:
        """Take over what an earlier process kept, before any event; nothing counts as changed.

        Members, children and the number of things of a type are derived here.
        """
        by_name = {group.name: group for group in groups}
        types_by_name = {kind.name: kind for kind in types}
        for thing in list(things):
            self.things.put(thing)
            for name in thing.groups:
                if name not in by_name:
                    by_name[name] = self.groups.get_or_create(name)
                by_name[name].members.add(thing.name)
            if name := thing.type:
                if name not in types_by_name:
                    types_by_name[name] = self.types.get_or_create(name)
                types_by_name[name].things += 1
        for kind in types_by_name.values():
            self.types.put(kind)
        for group in by_name.values():
            self.groups.put(group)
        for group in by_name.values():
            if group.parent_relations or group.own_parent:
                self.groups.relink(group)
        self.take_changed()

    def take_changed(self) -> tuple[set[str], set[str], set[str]]:
        """Return the names of things, types and groups that may have changed since last time."""
        return self.things.take_changed(), self.types.take_changed(), self.groups.take_changed()

    def groups_of(self, thing: Thing) -> set[str]:
        """Return the groups of a thing: those it is a direct member of, and their ancestors."""
        return self.with_ancestors(thing.groups)

    def with_ancestors(self, groups: Iterable[str]) -> set[str]:
        """Return these groups and all their ancestors."""
        return {each for group in groups for each in self.groups.lineage(group)}

    def is_in(self, thing: Thing, group: str) -> bool:
        """Return whether a thing is a member of a group or of one of its subgroups."""
        return any(group in self.groups.lineage(each) for each in thing.groups)

    def _take_changes(self) -> list[ThingChange]:
        changes, self._changes = self._changes, {}
        return list(changes.values())

    def _apply_thing(self, event: ThingEvent, at: int) -> Outcome:
        thing = self.things.get_or_create(event.thing_name)
        stamp = ObjectStamp(event.thing_id, event.version, at, deleted=event.type == "deleted")
        outcome = compare(stamp, thing.stamp)
        ends = stamp.deleted and at > thing.deleted_at
        if outcome is Outcome.APPLIED or ends:
            with self._changing([thing]):
                if outcome is Outcome.APPLIED:
                    thing.stamp = stamp
                    thing.own_type = None if stamp.deleted else event.thing_type
                    thing.attributes = NO_ATTRIBUTES if stamp.deleted else event.attributes
                    thing.type_relations = relations_since(thing.type_relations, at)
                if ends:
                    thing.deleted_at = at
                    thing.type_relations = relations_since(thing.type_relations, at + 1)
                    for name in thing.groups:
                        self._update_member(thing, self.groups.get_or_create(name))
                    thing.memberships = relations_since(thing.memberships, at + 1)
        return outcome

    def _apply_type(self, event: ThingTypeEvent, at: int) -> Outcome:
        kind = self.types.get_or_create(event.thing_type)
        stamp = ObjectStamp(event.thing_type_id, None, at, deleted=event.type == "deleted")
        before = (kind.deprecated, kind.searchable, kind.propagating)
        stated = (
            event.deprecated,
            tuple(event.searchable_attributes),
            tuple(event.propagating_attributes),
        )
        outcome = compare(stamp, kind.stamp)
        if outcome is Outcome.DUPLICATE and not stamp.deleted and stated != before:
            outcome = Outcome.APPLIED  # two of one moment: the one received later counts
        if outcome is Outcome.APPLIED:
            kind.stamp = stamp
            kind.deprecated, kind.searchable, kind.propagating = stated
            self.types.put(kind)
        return outcome

    def _apply_association(self, event: ThingTypeAssociationEvent, at: int) -> Outcome:
        thing = self.things.get_or_create(event.thing_name)
        if at < thing.changed_at or at <= thing.deleted_at:
            return Outcome.STALE
        relation = Relation(event.thing_type, at, present=event.type == "added")
        outcome, relations = add_relation(thing.type_relations, relation)
        if outcome is Outcome.APPLIED:
            with self._changing([thing]):
                thing.type_relations = relations
        return outcome

    def _apply_membership(self, event: ThingGroupMembershipEvent, at: int) -> Outcome:
        thing = self.things.get_or_create(event.thing_name)
        group = self.groups.get_or_create(event.thing_group)
        if at <= thing.deleted_at or at <= group.deleted_at:
            return Outcome.STALE
        relation = Relation(group.name, at, present=event.type == "added")
        outcome, relations = add_relation(thing.memberships, relation)
        if outcome is Outcome.APPLIED:
            with self._changing([thing]):
                thing.memberships = relations
                self._update_member(thing, group)
        return outcome

    def _apply_group(self, event: ThingGroupEvent, at: int) -> Outcome:
        group = self.groups.get_or_create(event.thing_group)
        stamp = ObjectStamp(
            event.thing_group_id, event.version, at, deleted=event.type == "deleted"
        )
        outcome = compare(stamp, group.stamp)
        if outcome is Outcome.APPLIED:
            group.stamp = stamp
            group.own_parent = None if stamp.deleted else event.parent
            group.attributes = NO_ATTRIBUTES if stamp.deleted else event.attributes
            group.parent_relations = relations_since(group.parent_relations, at)
        if stamp.deleted and at > group.deleted_at:
            self._end_group(group, at)
        elif outcome is Outcome.APPLIED:
            self._move(group)
        if not stamp.deleted and self._apply_ancestors(event.ancestors, at):
            return Outcome.APPLIED
        return outcome

    def _apply_ancestors(self, names: Sequence[str], at: int) -> bool:
        """Apply what a group's event states about the groups above it; return if that was new.

        It is true of its moment, whether or not the event is the latest of its own group.
        """
        applied = False
        for level, name in enumerate(names):
            parent = names[level - 1] if level else ""
            if name and (parent or not level):  # an empty name is not known
                outcome = self._place(name, Relation(parent, at, present=True))
                applied |= outcome is Outcome.APPLIED
        return applied

    def _end_group(self, group: ThingGroup, at: int) -> None:
        group.deleted_at = at
        group.parent_relations = relations_since(group.parent_relations, at + 1)
        with self._changing(self._things_below(group)):
            for name in list(group.members):
                self._update_member(self.things.get_or_create(name), group)
            for name in list(group.children):
                self.groups.relink(self.groups.get_or_create(name))
            self.groups.relink(group)

    def _apply_link(self, event: ThingGroupHierarchyEvent, at: int) -> Outcome:
        relation = Relation(event.thing_group, at, present=event.type == "added")
        return self._place(event.child, relation)

    def _place(self, name: str, relation: Relation) -> Outcome:
        """Apply a relation of a group to its parent, whose name is empty at the top."""
        child = self.groups.get_or_create(name)
        # A link to a parent deleted later is void, but shows that older links are not valid either.
        if relation.at < child.changed_at or relation.at <= child.deleted_at:
            return Outcome.STALE
        outcome, relations = add_relation(child.parent_relations, relation)
        if outcome is Outcome.APPLIED:
            child.parent_relations = relations
            self._move(child)
        return outcome

    def _move(self, group: ThingGroup) -> None:
        """Link a group to its present parent; this costs something only if that has changed."""
        moved = self.groups.parent_of(group) != group.parent
        with self._changing(self._things_below(group) if moved else []):
            self.groups.relink(group)

    def _update_member(self, thing: Thing, group: ThingGroup) -> None:
        """Drop a membership that a deletion made void, and update the group's members."""
        membership = find_relation(thing.memberships, group.name)
        if membership is not None and membership.at <= max(thing.deleted_at, group.deleted_at):
            thing.memberships = tuple(r for r in thing.memberships if r is not membership)
            membership = None
        if membership is not None and membership.present:
            group.members.add(thing.name)
        else:
            group.members.discard(thing.name)
        self.groups.put(group)

    def _things_below(self, group: ThingGroup) -> list[Thing]:
        members = self.groups.members_below(group)
        return [self.things.get_or_create(name) for name in members]

    @contextmanager
    def _changing(self, things: list[Thing]) -> Iterator[None]:
        """Note the things that the block changes, and update how many things their types have."""
        changes = [
            ThingChange(thing, thing.type, self.groups_of(thing), thing.exists) for thing in things
        ]
        try:
            yield
        finally:
            for change in changes:
                thing, type_before, *_ = change
                if type_before != thing.type:
                    for name, step in ((type_before, -1), (thing.type, 1)):
                        if name:
                            kind = self.types.get_or_create(name)
                            kind.things += step
                            self.types.put(kind)
                self.things.put(thing)
                # An event that moves several groups changes a thing in steps.
                self._changes.setdefault(thing.name, change)


def _stated_of_group(group: ThingGroup) -> tuple[object, ...]:
    return (
        group.stamp,
        group.deleted_at,
        group.own_parent,
        group.attributes,
        group.parent_relations,
    )


def _stated_of_type(kind: ThingType) -> tuple[object, ...]:
    return kind.stamp, kind.deleted_at, kind.deprecated, kind.searchable, kind.propagating


_HANDLERS: Mapping[type[RegistryEvent], Callable[..., Outcome]] = {
    ThingEvent: Inventory._apply_thing,  # noqa: SLF001
    ThingTypeEvent: Inventory._apply_type,  # noqa: SLF001
    ThingTypeAssociationEvent: Inventory._apply_association,  # noqa: SLF001
    ThingGroupEvent: Inventory._apply_group,  # noqa: SLF001
    ThingGroupMembershipEvent: Inventory._apply_membership,  # noqa: SLF001
    ThingGroupHierarchyEvent: Inventory._apply_link,  # noqa: SLF001
}
