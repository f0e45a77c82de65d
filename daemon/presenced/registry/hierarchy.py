"""The objects of the registry by name, and the tree of thing groups."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from presenced.registry.objects import ThingGroup, current_relation

_MAX_TOMBSTONES = 100_000
# AWS IoT Core allows 7 levels ("AWS IoT Core thing group resource limits"). The bound also ends
# the iteration over a cycle, which only bad input creates.
_MAX_DEPTH = 32


class _Named(Protocol):
    name: str

    @property
    def exists(self) -> bool: ...


T = TypeVar("T", bound=_Named)


class ObjectStore(Generic[T]):
    """All objects of one kind.

    `live` are those that exist. Tombstones of the others are kept, up to a limit, so that a late
    event does not revive them; the one that changed longest ago is dropped first.
    """

    def __init__(self, create: Callable[[str], T]) -> None:
        self.live: dict[str, T] = {}
        self.tombstones: OrderedDict[str, T] = OrderedDict()
        self._changed: set[str] = set()
        self._create = create

    def get(self, name: str) -> T | None:
        """Return the object of a name, whether it exists or not."""
        return self.live.get(name) or self.tombstones.get(name)

    def get_or_create(self, name: str) -> T:
        """Return the object of a name; a new one is kept only once it is passed to `put`."""
        return self.get(name) or self._create(name)

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
        if len(self.tombstones) > _MAX_TOMBSTONES:
            dropped, _ = self.tombstones.popitem(last=False)
            self._changed.add(dropped)


class GroupStore(ObjectStore[ThingGroup]):
    """All thing groups, and their tree. Links change through `relink`, which updates both ends."""

    def lineage(self, name: str) -> Iterator[str]:
        """Yield a group and its ancestors, nearest first; in a cycle some come more than once."""
        for _ in range(_MAX_DEPTH):
            yield name
            group = self.live.get(name)
            if group is None or not group.parent:
                return
            name = group.parent

    def members_below(self, group: ThingGroup) -> set[str]:
        """Return the names of all things in a group and in its subgroups."""
        members: set[str] = set()
        seen = {group.name}
        ahead = [group]
        while ahead:
            each = ahead.pop()
            members |= each.members
            for name in each.children - seen:
                seen.add(name)
                if (child := self.get(name)) is not None:
                    ahead.append(child)
        return members

    def parent_of(self, group: ThingGroup) -> str:
        """Return the parent that follows from all events; empty at the top.

        A link to a group that was deleted later is void, as is one of a group to itself.
        """
        link = current_relation(group.own_parent, group.changed_at, group.parent_relations)
        parent = self.get(link.name) if link.name else None
        void = link.name == group.name or (parent is not None and link.at <= parent.deleted_at)
        return "" if void else link.name

    def relink(self, group: ThingGroup) -> None:
        """Move a group below its present parent, and keep it."""
        before, group.parent = group.parent, self.parent_of(group)
        if before != group.parent:
            if before:
                former = self.get_or_create(before)
                former.children.discard(group.name)
                self.put(former)
            if group.parent:
                parent = self.get_or_create(group.parent)
                parent.children.add(group.name)
                self.put(parent)
        self.put(group)
