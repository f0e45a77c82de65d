"""The registry as its events tell it: the same inventory, in whatever order they arrive.

One object as two processes have heard of it: what both know together.

Whatever order events come in, they end in the same. So it is as if the `later` process had begun
with what the `earlier` one knew.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from presenced.events.model import (
    RegistryEvent,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)
from presenced.registry.hierarchy import Hierarchy, Shelf
from presenced.registry.objects import (
    NO_ATTRIBUTES,
    Fact,
    Mark,
    Outcome,
    Thing,
    ThingGroup,
    ThingType,
    known,
    learn,
    merged,
    since,
    stand,
)

T = TypeVar("T", Thing, ThingGroup, ThingType)


def merge_thing(earlier: Thing, later: Thing) -> None:
    """Let `later` know what `earlier` does, too; memberships of deleted groups are kept."""
    own = _own(earlier, later)
    later.mark, later.told_type, later.attributes = own.mark, own.told_type, own.attributes
    later.ended = max(earlier.ended, later.ended)
    later.type_facts = since(
        merged(earlier.type_facts, later.type_facts), max(later.told_at, later.ended + 1)
    )
    later.memberships = since(merged(earlier.memberships, later.memberships), later.ended + 1)


def merge_group(earlier: ThingGroup, later: ThingGroup) -> None:
    """Let `later` know what `earlier` was told, too; not who is in it and below it."""
    own = _own(earlier, later)
    later.mark, later.told_parent, later.attributes = own.mark, own.told_parent, own.attributes
    later.ended = max(earlier.ended, later.ended)
    later.parent_facts = since(
        merged(earlier.parent_facts, later.parent_facts), max(later.told_at, later.ended + 1)
    )


def merge_type(earlier: ThingType, later: ThingType) -> None:
    """Let `later` know what `earlier` was told, too; not how many things are of it."""
    of_one_moment = later.mark is not None and later.mark == earlier.mark and not later.deleted
    own = later if of_one_moment else _own(earlier, later)
    later.mark = own.mark
    later.deprecated, later.searchable, later.propagating = own.told


def _own(earlier: T, later: T) -> T:
    """The one of both whose own last event stands."""
    if later.mark is None:
        return earlier
    if earlier.mark is None or stand(later.mark, earlier.mark) is Outcome.APPLIED:
        return later
    return earlier


def _no_one(_: Thing) -> None:
    """Nobody listens."""


class Inventory:
    """Things, thing types and thing groups, and how they hang together.

    Whatever changes a thing's existence, type, attributes or groups is told in two steps, before
    to `on_leave` and afterwards to `on_enter`, so that who counts things takes them out and puts
    them back. `on_change` follows, once all that changed at a time is told. Event times, `at`, are
    in milliseconds since the epoch.
    """

    def __init__(
        self,
        *,
        on_leave: Callable[[Thing], None] = _no_one,
        on_enter: Callable[[Thing], None] = _no_one,
        on_change: Callable[[Thing], None] = _no_one,
    ) -> None:
        self.things = Shelf(Thing)
        self.types = Shelf(ThingType)
        self.groups = Shelf(ThingGroup)
        self._hierarchy = Hierarchy(self.groups)
        self._on_leave = on_leave
        self._on_enter = on_enter
        self._on_change = on_change
        self._appliers: dict[type[RegistryEvent], Callable[..., Outcome]] = {
            ThingEvent: self._thing,
            ThingTypeEvent: self._type,
            ThingTypeAssociationEvent: self._association,
            ThingGroupEvent: self._group,
            ThingGroupMembershipEvent: self._membership,
            ThingGroupHierarchyEvent: self._link,
        }

    def apply(self, event: RegistryEvent, at: int) -> Outcome:
        """Take an event into account. `at` is its event time, or what stands in for it."""
        return self._appliers[type(event)](event, at)

    def restore(
        self, things: Iterable[Thing], types: Iterable[ThingType], groups: Iterable[ThingGroup]
    ) -> None:
        """Take on what an earlier process kept, without telling anybody; nothing must be known yet.

        What follows from it (who is in a group, below it, of a type) is worked out here. What the
        iterables raise leaves everything as it is.
        """
        known = {group.name: group for group in groups}
        kinds = {kind.name: kind for kind in types}
        for thing in list(things):
            self.things.place(thing)
            for name in thing.groups:
                if name not in known:
                    known[name] = self.groups.take(name)
                known[name].members.add(thing.name)
            if name := thing.type:
                if name not in kinds:
                    kinds[name] = self.types.take(name)
                kinds[name].things += 1
        for kind in kinds.values():
            self.types.place(kind)
        for group in known.values():
            self.groups.place(group)
        for group in known.values():
            if group.parent_facts or group.told_parent:
                self._hierarchy.relink(group)

    def merge_thing(self, stored: Thing) -> None:
        """Take on what an earlier process kept of a thing, beside what is known of it by now.

        It is told as any change is, but that `things.on_change` is told only where more follows
        than was stored. Groups are to be merged first.
        """
        thing = self.things.take(stored.name)
        named = {fact.name for fact in (*stored.memberships, *thing.memberships)}
        with self._changing([thing], settle=self.things.place):
            merge_thing(stored, thing)
            for name in named:
                self._keep_member(thing, self.groups.take(name))
        if thing.told != stored.told:
            self.things.on_change(thing.name)

    def merge_group(self, stored: ThingGroup) -> None:
        """Take on what an earlier process kept of a group, beside what is known of it by now."""
        group = self.groups.take(stored.name)
        ended = group.ended
        merge_group(stored, group)
        if group.ended > ended:
            self._end_group(group, group.ended)
        else:
            self._move(group)

    def merge_type(self, stored: ThingType) -> None:
        """Take on what an earlier process kept of a type, beside what is known of it by now."""
        kind = self.types.take(stored.name)
        merge_type(stored, kind)
        self.types.settle(kind)

    def groups_of(self, thing: Thing) -> set[str]:
        """The groups of a thing: those that it is a direct member of, and all above them."""
        return self.and_above(thing.groups)

    def and_above(self, groups: Iterable[str]) -> set[str]:
        """These groups and all above them."""
        return {each for group in groups for each in self._hierarchy.lineage(group)}

    def is_in(self, thing: Thing, group: str) -> bool:
        """Whether a thing is a member of a group, or of one below it."""
        return any(group in self._hierarchy.lineage(each) for each in thing.groups)

    def _thing(self, event: ThingEvent, at: int) -> Outcome:
        thing = self.things.take(event.thing_name)
        mark = Mark(event.thing_id, event.version, at, deleted=event.type == "deleted")
        outcome = stand(mark, thing.mark)
        ended = mark.deleted and at > thing.ended
        if outcome is Outcome.APPLIED or ended:
            with self._changing([thing]):
                if outcome is Outcome.APPLIED:
                    thing.mark = mark
                    thing.told_type = None if mark.deleted else event.thing_type
                    thing.attributes = NO_ATTRIBUTES if mark.deleted else event.attributes
                    thing.type_facts = since(thing.type_facts, at)
                if ended:
                    self._end_thing(thing, at)
        return outcome

    def _end_thing(self, thing: Thing, at: int) -> None:
        thing.ended = at
        thing.type_facts = since(thing.type_facts, at + 1)
        for name in thing.groups:
            self._keep_member(thing, self.groups.take(name))
        thing.memberships = since(thing.memberships, at + 1)

    def _type(self, event: ThingTypeEvent, at: int) -> Outcome:
        kind = self.types.take(event.thing_type)
        mark = Mark(event.thing_type_id, None, at, deleted=event.type == "deleted")
        told = (
            event.deprecated,
            tuple(event.searchable_attributes),
            tuple(event.propagating_attributes),
        )
        outcome = stand(mark, kind.mark)
        if outcome is Outcome.DUPLICATE and not mark.deleted and told != kind.told:
            outcome = Outcome.APPLIED  # of one moment: the later received
        if outcome is Outcome.APPLIED:
            kind.mark = mark
            kind.deprecated, kind.searchable, kind.propagating = told
            self.types.settle(kind)
        return outcome

    def _association(self, event: ThingTypeAssociationEvent, at: int) -> Outcome:
        thing = self.things.take(event.thing_name)
        if at < thing.told_at or at <= thing.ended:
            return Outcome.STALE
        fact = Fact(event.thing_type, at, present=event.type == "added")
        outcome, facts = learn(thing.type_facts, fact)
        if outcome is Outcome.APPLIED:
            with self._changing([thing]):
                thing.type_facts = facts
        return outcome

    def _membership(self, event: ThingGroupMembershipEvent, at: int) -> Outcome:
        thing, group = self.things.take(event.thing_name), self.groups.take(event.thing_group)
        if at <= thing.ended or at <= group.ended:
            return Outcome.STALE
        fact = Fact(group.name, at, present=event.type == "added")
        outcome, facts = learn(thing.memberships, fact)
        if outcome is Outcome.APPLIED:
            with self._changing([thing]):
                thing.memberships = facts
                self._keep_member(thing, group)
        return outcome

    def _group(self, event: ThingGroupEvent, at: int) -> Outcome:
        group = self.groups.take(event.thing_group)
        mark = Mark(event.thing_group_id, event.version, at, deleted=event.type == "deleted")
        outcome = stand(mark, group.mark)
        if outcome is Outcome.APPLIED:
            group.mark = mark
            group.told_parent = None if mark.deleted else event.parent
            group.attributes = NO_ATTRIBUTES if mark.deleted else event.attributes
            group.parent_facts = since(group.parent_facts, at)
        if mark.deleted and at > group.ended:
            self._end_group(group, at)
        elif outcome is Outcome.APPLIED:
            self._move(group)
        return outcome

    def _end_group(self, group: ThingGroup, at: int) -> None:
        group.ended = at
        group.parent_facts = since(group.parent_facts, at + 1)
        with self._changing(self._below(group)):
            for name in list(group.members):
                self._keep_member(self.things.take(name), group)
            for name in list(group.children):
                self._hierarchy.relink(self.groups.take(name))
            self._hierarchy.relink(group)

    def _link(self, event: ThingGroupHierarchyEvent, at: int) -> Outcome:
        parent, child = self.groups.take(event.thing_group), self.groups.take(event.child)
        # A link to a parent deleted since is void, but shows that older ones are not valid either.
        if at < child.told_at or at <= child.ended:
            return Outcome.STALE
        fact = Fact(parent.name, at, present=event.type == "added")
        outcome, facts = learn(child.parent_facts, fact)
        if outcome is Outcome.APPLIED:
            child.parent_facts = facts
            self._move(child)
        return outcome

    def _move(self, group: ThingGroup) -> None:
        """Put a group where it belongs now; only where that is elsewhere does it cost."""
        moved = self._hierarchy.parent_of(group) != group.parent
        with self._changing(self._below(group) if moved else []):
            self._hierarchy.relink(group)

    def _keep_member(self, thing: Thing, group: ThingGroup) -> None:
        """Let a group's members, and a thing's memberships, be what is still valid of them."""
        membership = known(thing.memberships, group.name)
        if membership is not None and membership.at <= max(thing.ended, group.ended):
            thing.memberships = tuple(f for f in thing.memberships if f is not membership)
            membership = None
        if membership is not None and membership.present:
            group.members.add(thing.name)
        else:
            group.members.discard(thing.name)
        self.groups.settle(group)

    def _below(self, group: ThingGroup) -> list[Thing]:
        return [self.things.take(name) for name in self._hierarchy.members_below(group)]

    @contextmanager
    def _changing(
        self, things: list[Thing], settle: Callable[[Thing], None] | None = None
    ) -> Iterator[None]:
        """Tell of things before and after they change, and see to their types and shelves."""
        types = [thing.type for thing in things]
        for thing in things:
            self._on_leave(thing)
        try:
            yield
        finally:
            for thing, before in zip(things, types, strict=True):
                self._retype(before, thing.type)
                (settle or self.things.settle)(thing)
            for thing in things:
                self._on_enter(thing)
            for thing in things:
                self._on_change(thing)

    def _retype(self, before: str, now: str) -> None:
        if before == now:
            return
        for name, change in ((before, -1), (now, 1)):
            if name:
                kind = self.types.take(name)
                kind.things += change
                self.types.settle(kind)
