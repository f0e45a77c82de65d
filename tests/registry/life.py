"""A registry as it truly is, and the events that AWS IoT Core publishes of its life."""

from dataclasses import dataclass, field, replace
from random import Random

from presenced.events.model import RegistryEvent
from presenced.registry import Inventory
from registries import association, group, link, member, thing, thing_type

START = 1_700_000_000_000
MOMENTS = (1, 1000, 86_400_000)
THINGS = tuple(f"t{number}" for number in range(4))
GROUPS = tuple(f"g{number}" for number in range(4))
TYPES = ("pump", "valve")


@dataclass(frozen=True)
class TrueThing:
    number: int
    version: int
    kind: str = ""
    attributes: dict[str, str | None] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TrueGroup:
    number: int
    version: int
    parent: str = ""
    attributes: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TrueType:
    number: int
    deprecated: bool = False
    searchable: tuple[str, ...] = ()


class Registry:
    """Objects are created, changed and deleted at random; `events` are in the true order.

    Two changes are never of one millisecond, but all events of one change are.
    """

    def __init__(
        self,
        random: Random,
        *,
        things: tuple[str, ...] = THINGS,
        groups: tuple[str, ...] = GROUPS,
        types: tuple[str, ...] = TYPES,
        deepest: int = 6,
    ) -> None:
        self.random = random
        self.now = START
        self.things: dict[str, TrueThing] = {}
        self.groups: dict[str, TrueGroup] = {}
        self.types: dict[str, TrueType] = {}
        self.events: list[RegistryEvent] = []
        self._names = (things, groups, types)
        self._deepest = deepest
        self._made = 0

    def step(self) -> None:
        """Let something happen: to a thing mostly, for there are more of them."""
        self.now += self.random.choice(MOMENTS)
        things, groups, types = self._names
        match self.random.randrange(10):
            case 0:
                self.change_type(self.random.choice(types))
            case 1 | 2 | 3:
                self.change_group(self.random.choice(groups))
            case _:
                self.change_thing(self.random.choice(things))

    def change_type(self, name: str) -> None:
        kind = self.types.get(name)
        if kind is None:
            kind = TrueType(self._number(), searchable=self.random.choice([(), ("site",)]))
            word = "created"
        elif self._chance(0.3) and not any(t.kind == name for t in self.things.values()):
            self.events.append(
                thing_type(name, self.now, type="deleted", thing_type_id=f"#{kind.number}")
            )
            del self.types[name]
            return
        else:
            kind = replace(kind, deprecated=not kind.deprecated)
            word = "updated"
        self.types[name] = kind
        self.events.append(
            thing_type(
                name,
                self.now,
                type=word,
                thing_type_id=f"#{kind.number}",
                deprecated=kind.deprecated,
                searchable_attributes=list(kind.searchable),
            )
        )

    def change_thing(self, name: str) -> None:
        if name not in self.things:
            self.create_thing(name)
            return
        match self.random.randrange(8):
            case 0:
                self.delete_thing(name)
            case 1:
                self._retype(name, self._some_type())
            case 2:
                self._tell_thing(name, attributes=self._attributes())
            case _:
                self.toggle_membership(name)

    def create_thing(self, name: str) -> None:
        self.things[name] = TrueThing(self._number(), 0)
        kind = self._some_type()
        self._tell_thing(name, "created", kind=kind, attributes=self._attributes())
        if kind and self._chance(0.5):
            self.events.append(association(name, kind, self.now))

    def delete_thing(self, name: str) -> None:
        """Delete a thing, with or without events for leaving its groups and type."""
        known = self.things.pop(name)
        self.events.append(
            thing(
                name,
                self.random.choice([known.kind or None, None]),
                self.now,
                type="deleted",
                version=known.version + self.random.choice([0, 1]),
                thing_id=f"#{known.number}",
            )
        )
        if self._chance(0.5):
            self.events += [
                member(each, name, self.now, added=False) for each in sorted(known.groups)
            ]
            if known.kind:
                self.events.append(association(name, known.kind, self.now, added=False))

    def change_group(self, name: str) -> None:
        if name not in self.groups:
            self.create_group(name, self._some_parent(name))
            return
        match self.random.randrange(5):
            case 0:
                self.delete_group(name)
            case 1 | 2:
                self.move_group(name, self._some_parent(name))
            case _:
                self._tell_group(name, attributes=self._attributes())

    def create_group(self, name: str, parent: str) -> None:
        self.groups[name] = TrueGroup(self._number(), 0)
        self._tell_group(name, "created", parent=parent, attributes=self._attributes())
        if parent:
            self.events.append(link(parent, name, self.now))

    def move_group(self, name: str, parent: str) -> None:
        """Move a group, with or without an event of its own."""
        before = self.groups[name].parent
        if before == parent:
            return
        if before:
            self.events.append(link(before, name, self.now, added=False))
        if parent:
            self.events.append(link(parent, name, self.now))
        if self._chance(0.5):
            self._tell_group(name, parent=parent)
        else:
            self.groups[name] = replace(self.groups[name], parent=parent)

    def delete_group(self, name: str) -> None:
        """Delete a group, with or without events for its members and subgroups."""
        known = self.groups.pop(name)
        self.events.append(
            group(
                name,
                self.random.choice([known.parent or None, None]),
                self.now,
                type="deleted",
                version=known.version + self.random.choice([0, 1]),
                thing_group_id=f"#{known.number}",
                ancestors=self._ancestors(known.parent),
            )
        )
        with_events = self._chance(0.5)
        if with_events and known.parent:
            self.events.append(link(known.parent, name, self.now, added=False))
        for child, each in self.groups.items():
            if each.parent == name:
                self.groups[child] = replace(each, parent="")
                if with_events:
                    self.events.append(link(name, child, self.now, added=False))
        for inside, one in self.things.items():
            if name in one.groups:
                self.things[inside] = replace(one, groups=one.groups - {name})
                if with_events:
                    self.events.append(member(name, inside, self.now, added=False))

    def lineage(self, name: str) -> list[str]:
        """A group and those above it."""
        names = []
        while name:
            names.append(name)
            name = self.groups[name].parent
        return names

    def toggle_membership(self, name: str) -> None:
        if not self.groups:
            return
        known, chosen = self.things[name], self.random.choice(sorted(self.groups))
        added = chosen not in known.groups
        self.things[name] = replace(known, groups=known.groups ^ {chosen})
        self.events.append(member(chosen, name, self.now, added=added))

    def _retype(self, name: str, kind: str) -> None:
        before = self.things[name].kind
        self._tell_thing(name, kind=kind)
        if before != kind:
            if before:
                self.events.append(association(name, before, self.now, added=False))
            if kind:
                self.events.append(association(name, kind, self.now))

    def _tell_thing(self, name: str, word: str = "updated", **changes: object) -> None:
        known = self.things[name]
        known = replace(known, version=known.version + 1, **changes)
        self.things[name] = known
        self.events.append(
            thing(
                name,
                known.kind or None,
                self.now,
                type=word,
                version=known.version,
                thing_id=f"#{known.number}",
                attributes=known.attributes,
            )
        )

    def _tell_group(self, name: str, word: str = "updated", **changes: object) -> None:
        known = self.groups[name]
        known = replace(known, version=known.version + 1, **changes)
        self.groups[name] = known
        self.events.append(
            group(
                name,
                known.parent or None,
                self.now,
                type=word,
                version=known.version,
                thing_group_id=f"#{known.number}",
                ancestors=self._ancestors(known.parent),
                attributes=known.attributes,
            )
        )

    def _ancestors(self, parent: str) -> list[str]:
        """The groups above a group, that at the top first; the message may lack some or all."""
        names = self.lineage(parent)[::-1]
        if self._chance(0.3):
            return []
        return ["" if self._chance(0.1) else name for name in names]

    def _some_type(self) -> str:
        return self.random.choice(["", *sorted(self.types)])

    def _some_parent(self, name: str) -> str:
        """The top, or a group that is neither below this one nor too deep for what is."""
        height = max(
            (self.lineage(each).index(name) for each in self.groups if name in self.lineage(each)),
            default=0,
        )
        return self.random.choice(
            [
                "",
                *(
                    each
                    for each in sorted(self.groups)
                    if name not in (line := self.lineage(each))
                    and len(line) + 1 + height <= self._deepest
                ),
            ]
        )

    def _attributes(self) -> dict[str, str | None]:
        return {"site": self.random.choice(["north", "south", None])} if self._chance(0.5) else {}

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _number(self) -> int:
        self._made += 1
        return self._made


Seen = tuple[dict[str, object], dict[str, object], dict[str, object]]


def truth(registry: Registry) -> Seen:
    """Things, groups and types as they truly are."""
    things = registry.things
    groups = registry.groups
    return (
        {name: (one.kind, one.attributes, one.groups) for name, one in things.items()},
        {
            name: (
                one.parent,
                one.attributes,
                {t for t, each in things.items() if name in each.groups},
                {g for g, each in groups.items() if each.parent == name},
            )
            for name, one in groups.items()
        },
        {
            name: (
                one.deprecated,
                one.searchable,
                sum(each.kind == name for each in things.values()),
            )
            for name, one in registry.types.items()
        },
    )


def seen(inventory: Inventory) -> Seen:
    """Things, groups and types as an inventory has them."""
    return (
        {
            name: (one.type, dict(one.attributes), frozenset(one.groups))
            for name, one in inventory.things.live.items()
        },
        {
            name: (one.parent, dict(one.attributes), one.members, one.children)
            for name, one in inventory.groups.live.items()
        },
        {
            name: (one.deprecated, one.searchable, one.things)
            for name, one in inventory.types.live.items()
        },
    )
