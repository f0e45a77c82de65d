"""The tree of thing groups."""

from collections.abc import Iterator

from presenced.registry.objects import ObjectStore, ThingGroup, current_relation

# AWS IoT Core allows 7 levels ("AWS IoT Core thing group resource limits"). The bound also ends
# the iteration over a cycle, which only bad input creates.
_MAX_DEPTH = 32


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

    def below(self, group: ThingGroup) -> Iterator[ThingGroup]:
        """Yield a group and all its subgroups."""
        seen = {group.name}
        ahead = [group]
        while ahead:
            each = ahead.pop()
            yield each
            for name in each.children - seen:
                seen.add(name)
                if (child := self.get(name)) is not None:
                    ahead.append(child)

    def members_below(self, group: ThingGroup) -> set[str]:
        """Return the names of all things in a group and in its subgroups."""
        return {name for each in self.below(group) for name in each.members}

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
