"""The tree of thing groups.

Objects of the registry by name: those that exist, and the last ones that do not.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Generic, Protocol, TypeVar

from presenced.registry.objects import ThingGroup, target

_MOST_GONE = 100_000


class _Shelved(Protocol):
    name: str

    @property
    def exists(self) -> bool: ...


T = TypeVar("T", bound=_Shelved)


class Shelf(Generic[T]):
    """All objects of one kind.

    `live` are those that exist. What is known of others (that they were deleted, mostly) is kept
    as long as there is room for it, so that a late event does not bring them back; the one that
    changed longest ago is dropped first. `on_change` is told the name of each object that may have
    changed or was dropped.
    """

    def __init__(
        self,
        make: Callable[[str], T],
        *,
        most_gone: int = _MOST_GONE,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.live: dict[str, T] = {}
        self._gone: OrderedDict[str, T] = OrderedDict()
        self._make = make
        self._most_gone = most_gone
        self.on_change = on_change

    def get(self, name: str) -> T | None:
        """What is known under a name, whether it exists or not."""
        return self.live.get(name) or self._gone.get(name)

    def take(self, name: str) -> T:
        """What is known under a name; if nothing is, a new object, to be settled."""
        return self.get(name) or self._make(name)

    def settle(self, item: T) -> None:
        """Put an object that may have changed where it belongs."""
        self.place(item)
        self.on_change(item.name)

    def place(self, item: T) -> None:
        """Put an object where it belongs, and tell nobody."""
        name = item.name
        if item.exists:
            self._gone.pop(name, None)
            self.live[name] = item
        else:
            self.live.pop(name, None)
            self._gone[name] = item
            self._gone.move_to_end(name)
            if len(self._gone) > self._most_gone:
                dropped, _ = self._gone.popitem(last=False)
                self.on_change(dropped)

    @property
    def gone(self) -> Collection[str]:
        """The names of the objects that are remembered and do not exist."""
        return self._gone.keys()


# AWS IoT Core allows 7 levels ("AWS IoT Core thing group resource limits"). The bound also ends
# the walk round a cycle, which only bad input makes.
_DEEPEST = 32


class Hierarchy:
    """Who is below whom. Changes go through `relink`, so that both ends of a link agree."""

    def __init__(self, groups: Shelf[ThingGroup]) -> None:
        self._groups = groups

    def lineage(self, name: str) -> Iterator[str]:
        """A group and its ancestors, nearest first; in a cycle some come more than once."""
        for _ in range(_DEEPEST):
            yield name
            group = self._groups.live.get(name)
            if group is None or not group.parent:
                return
            name = group.parent

    def members_below(self, group: ThingGroup) -> set[str]:
        """The names of all things in a group and in what is below it."""
        members: set[str] = set()
        seen = {group.name}
        ahead = [group]
        while ahead:
            each = ahead.pop()
            members |= each.members
            for name in each.children - seen:
                seen.add(name)
                if (child := self._groups.get(name)) is not None:
                    ahead.append(child)
        return members

    def parent_of(self, group: ThingGroup) -> str:
        """The parent that follows from all that is known; empty at the top.

        A link to a group that was deleted since is void, and so is one of a group to itself.
        """
        link = target(group.told_parent, group.told_at, group.parent_facts)
        parent = self._groups.get(link.name) if link.name else None
        void = link.name == group.name or (parent is not None and link.at <= parent.ended)
        return "" if void else link.name

    def relink(self, group: ThingGroup) -> None:
        """Put a group below the parent that follows from all that is known."""
        before, now = group.parent, self.parent_of(group)
        group.parent = now
        if before != now:
            if before:
                self._adopt(before, group.name, adopted=False)
            if now:
                self._adopt(now, group.name, adopted=True)
        self._groups.settle(group)

    def _adopt(self, parent: str, child: str, *, adopted: bool) -> None:
        group = self._groups.take(parent)
        if adopted:
            group.children.add(child)
        else:
            group.children.discard(child)
        self._groups.settle(group)
