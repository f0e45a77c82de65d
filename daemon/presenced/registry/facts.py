"""Relations that events tell one by one, without a version: memberships, parents, types.

Each event says that one name was added to an object, or removed from it, at some time. Of every
name only the latest is kept, so that any order of arrival ends in the same.
"""

from typing import NamedTuple

from presenced.registry.ordering import Outcome

__all__ = ["Fact", "Facts", "known", "learn", "merged", "since", "target"]

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


def merged(earlier: Facts, later: Facts) -> Facts:
    """All facts of both, the later about each name; a tie goes to `later`."""
    for fact in later:
        _, earlier = learn(earlier, fact)
    return earlier


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
