"""What is kept about each thing, thing type and thing group.

Each exists when its own events say so, and also where only another one's events name it: presenced
may have started after it was created, or may hear of it only later.

Which of two events about one object of the registry is the later one.

AWS delivers registry events late, twice and out of order, as it does all events ("Event messages"
in the AWS IoT developer guide). Things and groups carry a `versionNumber`, which begins at 1 and
rises with every change; types do not. An object that was deleted may be followed by another one of
the same name, with an ID of its own and versions that begin anew.

Relations that events tell one by one, without a version: memberships, parents, types.

Each event says that one name was added to an object, or removed from it, at some time. Of every
name only the latest is kept, so that any order of arrival ends in the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Outcome(StrEnum):
    """What became of a registry event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    EXCESS = "excess"
    """It named more than AWS IoT Core allows, and there was no room for it."""


class Mark(NamedTuple):
    """What orders an event about an object: its ID, version and event time (milliseconds)."""

    object_id: str | None
    version: int | None
    timestamp: int
    deleted: bool


def stand(event: Mark, last: Mark | None) -> Outcome:
    """How an event stands to the last accepted one about an object of the same name.

    Of one object, its deletion is the last word, and else the higher version the later one. Event
    times decide where versions are missing, and between two objects that had the same name one
    after the other: those lived at different times. A tie of event times goes to the event that
    was received later, except that a deletion does not end another object.
    """
    if last is None:
        return Outcome.APPLIED
    if event == last:
        return Outcome.DUPLICATE
    if event.object_id is None or last.object_id is None:
        if event.deleted or last.deleted:
            return _by_time(event, last)
        return _by_version(event, last)
    if event.object_id == last.object_id:
        if last.deleted:
            return Outcome.DUPLICATE if event.deleted else Outcome.STALE
        return Outcome.APPLIED if event.deleted else _by_version(event, last)
    if event.deleted and event.timestamp == last.timestamp:
        return Outcome.STALE
    return _by_time(event, last)


def _by_version(event: Mark, last: Mark) -> Outcome:
    if event.version is None or last.version is None:
        return _by_time(event, last)
    if event.version == last.version:
        return Outcome.DUPLICATE
    return Outcome.APPLIED if event.version > last.version else Outcome.STALE


def _by_time(event: Mark, last: Mark) -> Outcome:
    return Outcome.APPLIED if event.timestamp >= last.timestamp else Outcome.STALE


# AWS IoT Core puts a thing into at most 10 static groups, a group below one parent, and gives a
# thing one type ("AWS IoT Core thing resource limits").
_MOST = 64


class Fact(NamedTuple):
    """A name was added (`present`) or removed at an event time, in milliseconds."""

    name: str
    at: int
    present: bool


Facts = tuple[Fact, ...]
"""The latest about each name; a tuple, because most objects have none or one."""


def known(facts: Facts, name: str) -> Fact | None:
    """What is known about a name."""
    return next((fact for fact in facts if fact.name == name), None)


def learn(facts: Facts, fact: Fact) -> tuple[Outcome, Facts]:
    """The facts once one more is known, and what became of it; a tie goes to the later received.

    There is room for a bounded number, and where it is short what was removed longest ago goes.
    """
    last = known(facts, fact.name)
    if last is None:
        if len(facts) >= _MOST and not (facts := _with_room(facts)):
            return Outcome.EXCESS, facts
        return Outcome.APPLIED, (*facts, fact)
    if last == fact:
        return Outcome.DUPLICATE, facts
    if fact.at < last.at:
        return Outcome.STALE, facts
    return Outcome.APPLIED, (*(each for each in facts if each.name != fact.name), fact)


def since(facts: Facts, at: int) -> Facts:
    """The facts that are not from before an event time."""
    return tuple(fact for fact in facts if fact.at >= at) if facts else facts


def target(name: str | None, at: int, facts: Facts) -> Fact:
    """The one name that an object relates to, and since when; the name is empty for none.

    `name`, or none, is what its own event told at the event time `at`; later facts go on from
    there. When two are told of one moment, what is removed makes room for what is added.
    """
    result = Fact(name or "", at, present=bool(name))
    for fact in sorted(facts, key=lambda each: (each.at, each.present, each.name)):
        if fact.at < at:
            continue
        if fact.present:
            result = fact
        elif fact.name == result.name:
            result = Fact("", fact.at, present=False)
    return result


def _with_room(facts: Facts) -> Facts:
    """The facts without the oldest of those that say that something was removed, or none."""
    removed = [fact for fact in facts if not fact.present]
    if not removed:
        return ()
    oldest = min(removed, key=lambda fact: fact.at)
    return tuple(fact for fact in facts if fact is not oldest)


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
