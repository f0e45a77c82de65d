"""MQTT topic filters: which are valid, and which would bring the same message twice."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from presenced.settings.base import utf8_length
from presenced.settings.problems import InvalidValue

__all__ = ["check_topic_filter", "overlapping_filters"]

_EVENTS = "$aws/events/#"
_MAX_BYTES = 65535


class _Filter(NamedTuple):
    """`group` is that of a shared subscription (`$share/GROUP/FILTER`), else None."""

    group: str | None
    levels: list[str]


def check_topic_filter(text: str) -> str:
    """Return a topic filter that is valid in MQTT and can match an event message.

    Raises ValueError with a message for people.
    """
    if not text:
        raise InvalidValue("must not be empty", nearest=_EVENTS)
    if utf8_length(text) > _MAX_BYTES:
        raise InvalidValue(f"must not be longer than {_MAX_BYTES} bytes")
    parsed = _parse(text)
    _check_group(parsed.group)
    _check_wildcards(parsed.levels)
    if not _levels_overlap(parsed.levels, _EVENTS.split("/")):
        raise InvalidValue(
            "matches no topic below $aws/events/, where AWS IoT Core publishes event messages",
            nearest=_EVENTS,
        )
    return text


def overlapping_filters(connections: Sequence[Sequence[str]]) -> Iterator[str]:
    """A sentence for each two filters of which both match some topic.

    A broker may deliver a message once for each of them, and it would be counted each time. Only
    equal shared subscriptions on different connections divide their messages.
    """
    places = [
        (connection, f"[{connection}][{position}]", text)
        for connection, filters in enumerate(connections)
        for position, text in enumerate(filters)
    ]
    for (at_a, place_a, a), (at_b, place_b, b) in combinations(places, 2):
        if a == b and at_a != at_b and _parse(a).group is not None:
            continue
        if _levels_overlap(_parse(a).levels, _parse(b).levels):
            yield f"{place_b} {b} {'repeats' if a == b else 'overlaps'} {place_a} {a}"


def _parse(text: str) -> _Filter:
    levels = text.split("/")
    if levels[0] == "$share":
        return _Filter(levels[1] if len(levels) > 1 else "", levels[2:])
    return _Filter(None, levels)


def _check_group(group: str | None) -> None:
    if group is not None and (not group or set(group) & set("#+")):
        raise InvalidValue("must name its group: write $share/GROUP/FILTER")


def _check_wildcards(levels: Sequence[str]) -> None:
    for position, level in enumerate(levels):
        if "+" in level and level != "+":
            raise InvalidValue("must have + alone between two slashes")
        if "#" in level and (level != "#" or position != len(levels) - 1):
            raise InvalidValue("must have # only at the end, after a slash")


def _levels_overlap(a: Sequence[str], b: Sequence[str]) -> bool:
    # Wildcards at the beginning do not match topics that begin with $ (MQTT 5, 4.7.2).
    if any(x[:1] in (["#"], ["+"]) and y[:1] and y[0].startswith("$") for x, y in ((a, b), (b, a))):
        return False
    for x, y in zip(a, b, strict=False):
        if "#" in (x, y):
            return True
        if x != y and "+" not in (x, y):
            return False
    # "a/#" matches "a" too.
    longer = max(a, b, key=len)[min(len(a), len(b)) :]
    return not longer or list(longer) == ["#"]
