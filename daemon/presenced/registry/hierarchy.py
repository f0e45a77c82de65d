"""The tree of thing groups."""

from collections.abc import Iterator

from presenced.registry.facts import target
from presenced.registry.objects import ThingGroup
from presenced.registry.shelf import Shelf

__all__ = ["Hierarchy"]

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
