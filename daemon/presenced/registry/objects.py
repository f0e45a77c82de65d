"""What is kept about each thing, thing type and thing group.

Each exists when its own events say so, and also where only another one's events name it: presenced
may have started after it was created, or may hear of it only later.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from presenced.registry.facts import Facts, target

if TYPE_CHECKING:
    from presenced.registry.ordering import Mark

__all__ = ["NO_ATTRIBUTES", "Attributes", "Thing", "ThingGroup", "ThingType"]

Attributes = Mapping[str, str | None]
NO_ATTRIBUTES: Attributes = MappingProxyType({})


class _Object:
    """What things, types and groups have in common.

    `mark` is that of the last accepted event of its own, None before there was one. `ended` is the
    event time of the last deletion under this name: what was told of the name before is void.
    """

    __slots__ = ("ended", "mark", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.mark: Mark | None = None
        self.ended = -1

    @property
    def created(self) -> bool:
        """Whether its own events say that it exists."""
        return self.mark is not None and not self.mark.deleted

    @property
    def deleted(self) -> bool:
        """Whether its own events say that it does not exist any more."""
        return self.mark is not None and self.mark.deleted

    @property
    def told_at(self) -> int:
        """Event time of its last own event, in milliseconds; -1 before there was one."""
        return -1 if self.mark is None else self.mark.timestamp


class Thing(_Object):
    """A thing: its type and attributes, and the groups that it is a direct member of.

    `told_type` is the type that its own event told, and `type_facts` what associations tell.
    """

    __slots__ = ("attributes", "memberships", "told_type", "type_facts")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.attributes: Attributes = NO_ATTRIBUTES
        self.told_type: str | None = None
        self.type_facts: Facts = ()
        self.memberships: Facts = ()

    @property
    def told(self) -> tuple[object, ...]:
        """All that events have told of it."""
        return (
            self.mark,
            self.ended,
            self.told_type,
            self.attributes,
            self.type_facts,
            self.memberships,
        )

    @property
    def type(self) -> str:
        """Its thing type; empty when it has none."""
        if not self.type_facts:
            return self.told_type or ""
        return target(self.told_type, self.told_at, self.type_facts).name

    @property
    def groups(self) -> list[str]:
        """The groups that it is a direct member of."""
        return [fact.name for fact in self.memberships if fact.present]

    @property
    def exists(self) -> bool:
        """Whether there is such a thing."""
        return self.created or any(fact.present for fact in self.memberships) or bool(self.type)


class ThingType(_Object):
    """A thing type; `things` is how many things are of it.

    `searchable` and `propagating` are the names of its attributes of these kinds.
    """

    __slots__ = ("deprecated", "propagating", "searchable", "things")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.deprecated = False
        self.searchable: tuple[str, ...] = ()
        self.propagating: tuple[str, ...] = ()
        self.things = 0

    @property
    def told(self) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
        """What its own event told, beside that it exists."""
        return (self.deprecated, self.searchable, self.propagating)

    @property
    def exists(self) -> bool:
        """Whether there is such a type."""
        return self.created or self.things > 0


class ThingGroup(_Object):
    """A thing group: attributes, parent, and the names of its direct members and subgroups.

    `told_parent` is the parent that its own event told, and `parent_facts` what the hierarchy's
    events tell; `parent` is what follows from both, empty at the top.
    """

    __slots__ = ("attributes", "children", "members", "parent", "parent_facts", "told_parent")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.attributes: Attributes = NO_ATTRIBUTES
        self.told_parent: str | None = None
        self.parent_facts: Facts = ()
        self.parent = ""
        self.children: set[str] = set()
        self.members: set[str] = set()

    @property
    def exists(self) -> bool:
        """Whether there is such a group."""
        return self.created or bool(self.members or self.children or self.parent)
