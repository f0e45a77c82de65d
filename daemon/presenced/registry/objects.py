"""Things, thing types and thing groups: what is kept of each, and which of two events is later.

An object exists if its own events say so, and also if only events of other objects name it:
presenced may have started after it was created, or may receive its creation later.

AWS delivers registry events late, twice and out of order ("Event messages" in the AWS IoT developer
guide). Things and groups carry a `versionNumber`, which starts at 1 and rises with every change;
types do not. A deleted object may be followed by another one of the same name, with an ID of its
own and versions that start again at 1.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

import msgspec


class Outcome(StrEnum):
    """What became of a registry event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    EXCESS = "excess"
    """It names more relations than AWS IoT Core allows, and there was no room for it."""


# Of these two a fleet has as many as things: see `Client` about `gc=False`.
class ObjectStamp(msgspec.Struct, frozen=True, gc=False):
    """What orders an event of an object: its ID, version and event time (milliseconds)."""

    object_id: str | None
    version: int | None
    timestamp: int
    deleted: bool


def compare(event: ObjectStamp, last: ObjectStamp | None) -> Outcome:
    """Compare an event with the last accepted one of the object of the same name.

    For one object, the deletion is final, and of two other events the higher version is later.
    Event times decide if versions are missing, and between two objects that had the same name one
    after the other. If event times are equal, the event received later counts as later, but a
    deletion does not end another object.
    """
    if last is None:
        return Outcome.APPLIED
    if event == last:
        return Outcome.DUPLICATE
    if event.object_id is None or last.object_id is None:
        if event.deleted or last.deleted:
            return _compare_times(event, last)
        return _compare_versions(event, last)
    if event.object_id == last.object_id:
        if last.deleted:
            return Outcome.DUPLICATE if event.deleted else Outcome.STALE
        return Outcome.APPLIED if event.deleted else _compare_versions(event, last)
    if event.deleted and event.timestamp == last.timestamp:
        return Outcome.STALE
    return _compare_times(event, last)


def _compare_versions(event: ObjectStamp, last: ObjectStamp) -> Outcome:
    if event.version is None or last.version is None:
        return _compare_times(event, last)
    if event.version == last.version:
        return Outcome.DUPLICATE
    return Outcome.APPLIED if event.version > last.version else Outcome.STALE


def _compare_times(event: ObjectStamp, last: ObjectStamp) -> Outcome:
    return Outcome.APPLIED if event.timestamp >= last.timestamp else Outcome.STALE


# AWS IoT Core puts a thing into at most 10 static groups, a group below one parent, and gives a
# thing one type ("AWS IoT Core thing resource limits").
_MAX_RELATIONS = 64
MAX_TOMBSTONES = 100_000
"""How many deleted objects of a kind are remembered."""


class Relation(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The latest event about one related name: added (`present`) or removed at `at`, in ms.

    Memberships, parents and types come in events of their own, without a version. Keeping only the
    latest of each name makes every order of arrival end in the same state.
    """

    name: str
    at: int
    present: bool


Relations = tuple[Relation, ...]
"""The latest relation of each name; a tuple, because most objects have none or one."""


def find_relation(relations: Relations, name: str) -> Relation | None:
    """Return the relation to a name."""
    return next((relation for relation in relations if relation.name == name), None)


def add_relation(relations: Relations, new: Relation) -> tuple[Outcome, Relations]:
    """Return what became of a relation, and the relations with it.

    If times are equal, the one received later counts. Beyond the limit the oldest removal is
    dropped; without one, the new relation is.
    """
    last = find_relation(relations, new.name)
    if last is None:
        if len(relations) >= _MAX_RELATIONS:
            removed = [relation for relation in relations if not relation.present]
            if not removed:
                return Outcome.EXCESS, relations
            oldest = min(removed, key=lambda relation: relation.at)
            relations = tuple(relation for relation in relations if relation is not oldest)
        return Outcome.APPLIED, (*relations, new)
    if last == new:
        return Outcome.DUPLICATE, relations
    if new.at < last.at:
        return Outcome.STALE, relations
    return Outcome.APPLIED, (*(each for each in relations if each.name != new.name), new)


def relations_since(relations: Relations, at: int) -> Relations:
    """Return the relations that are not from before an event time."""
    return tuple(relation for relation in relations if relation.at >= at)


def current_relation(name: str | None, at: int, relations: Relations) -> Relation:
    """Return the one relation that an object has now; its name is empty for none.

    `name`, or none, is what the object's own event stated at `at`; later relations apply on top. Of
    two at one moment, a removal applies before an addition.
    """
    result = Relation(name or "", at, present=bool(name))
    for relation in sorted(relations, key=lambda each: (each.at, each.present, each.name)):
        if relation.at < at:
            continue
        if relation.present:
            result = relation
        elif relation.name == result.name:
            result = Relation("", relation.at, present=False)
    return result


Attributes = Mapping[str, str | None]
NO_ATTRIBUTES: Attributes = MappingProxyType({})


# A fleet of a million has a million things: see `Client` about `gc=False`.
class RegistryObject(msgspec.Struct, gc=False, eq=False):
    """What things, types and groups have in common.

    `stamp` is that of the last accepted event of its own, None before the first. `deleted_at` is
    the event time of the last deletion under this name: everything stated before it is void.
    """

    name: str
    stamp: ObjectStamp | None = None
    deleted_at: int = -1

    @property
    def created(self) -> bool:
        """Whether its own events say that it exists."""
        return self.stamp is not None and not self.stamp.deleted

    @property
    def deleted(self) -> bool:
        """Whether its own events say that it no longer exists."""
        return self.stamp is not None and self.stamp.deleted

    @property
    def changed_at(self) -> int:
        """Event time of its last own event, in milliseconds; -1 before the first."""
        return -1 if self.stamp is None else self.stamp.timestamp


class Thing(RegistryObject, gc=False, eq=False):
    """A thing: its type and attributes, and the groups that it is a direct member of.

    `own_type` is the type that its own event states, `type_relations` what associations state.
    `listed_in` is the number of the last snapshot of AWS's record that had it, 0 for none.
    """

    attributes: Attributes = NO_ATTRIBUTES
    own_type: str | None = None
    type_relations: Relations = ()
    memberships: Relations = ()
    listed_in: int = 0

    @property
    def type(self) -> str:
        """Its thing type; empty if it has none."""
        if not self.type_relations:
            return self.own_type or ""
        return current_relation(self.own_type, self.changed_at, self.type_relations).name

    @property
    def groups(self) -> list[str]:
        """The groups that it is a direct member of."""
        return [relation.name for relation in self.memberships if relation.present]

    @property
    def exists(self) -> bool:
        """Whether there is such a thing."""
        return self.created or bool(self.groups) or bool(self.type)


class ThingType(RegistryObject, gc=False, eq=False):
    """A thing type; `things` is how many things have it.

    `searchable` and `propagating` are the names of its attributes of these kinds.
    """

    deprecated: bool = False
    searchable: tuple[str, ...] = ()
    propagating: tuple[str, ...] = ()
    things: int = 0

    @property
    def exists(self) -> bool:
        """Whether there is such a type."""
        return self.created or self.things > 0


class ThingGroup(RegistryObject, gc=False, eq=False):
    """A thing group: attributes, parent, and the names of its direct members and subgroups.

    `own_parent` is the parent that its own event states, `parent_relations` what hierarchy events
    state; `parent` is what follows from both, empty at the top.
    """

    attributes: Attributes = NO_ATTRIBUTES
    own_parent: str | None = None
    parent_relations: Relations = ()
    parent: str = ""
    children: set[str] = set()
    members: set[str] = set()

    @property
    def exists(self) -> bool:
        """Whether there is such a group."""
        return self.created or bool(self.members or self.children or self.parent)


class _Named(Protocol):
    name: str

    @property
    def exists(self) -> bool: ...


T = TypeVar("T", bound=_Named)


class ObjectStore(Generic[T]):
    """All objects of one kind.

    `live` are those that exist. Tombstones of the others are kept, up to `limit`, so that a late
    event does not revive them; the one that changed longest ago is dropped first.
    """

    def __init__(self, create: Callable[[str], T], *, limit: int = MAX_TOMBSTONES) -> None:
        self.live: dict[str, T] = {}
        self.tombstones: OrderedDict[str, T] = OrderedDict()
        self._changed: set[str] = set()
        self._create = create
        self._limit = limit

    def get(self, name: str) -> T | None:
        """Return the object of a name, whether it exists or not."""
        return self.live.get(name) or self.tombstones.get(name)

    def get_or_create(self, name: str) -> T:
        """Return the object of a name; a new one is kept only once it is passed to `put`."""
        return self.get(name) or self._create(name)

    def slices(self, size: int) -> Iterator[list[T]]:
        """Yield the live objects, so many at a time; they may change in between.

        A list of a million would hold the event loop, and so would its garbage collection. If
        objects are removed meanwhile, as many others may be left out.
        """
        done, rest = 0, iter(self.live.values())
        while True:
            try:
                items = list(islice(rest, size))
            except RuntimeError:  # an object was added or removed
                rest = iter(islice(self.live.values(), done, None))
                continue
            if not items:
                return
            done += len(items)
            yield items

    def take_changed(self) -> set[str]:
        """Return the names of objects that may have changed, or were dropped, since last time."""
        changed, self._changed = self._changed, set()
        return changed

    def put(self, item: T) -> None:
        """Keep an object, which may have changed, among the live ones or the tombstones."""
        name = item.name
        self._changed.add(name)
        if item.exists:
            self.tombstones.pop(name, None)
            self.live[name] = item
            return
        self.live.pop(name, None)
        self.tombstones[name] = item
        self.tombstones.move_to_end(name)
        if len(self.tombstones) > self._limit:
            dropped, _ = self.tombstones.popitem(last=False)
            self._changed.add(dropped)
