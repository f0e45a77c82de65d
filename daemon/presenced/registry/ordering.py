"""Which of two events about one object of the registry is the later one.

AWS delivers registry events late, twice and out of order, as it does all events ("Event messages"
in the AWS IoT developer guide). Things and groups carry a `versionNumber`, which begins at 1 and
rises with every change; types do not. An object that was deleted may be followed by another one of
the same name, with an ID of its own and versions that begin anew.
"""

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Mark", "Outcome", "stand"]


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
