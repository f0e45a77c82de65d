"""Topic filters: which are valid, which match event messages, and which match the same ones.

Rules of filters are those of MQTT 5 section 4.7.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from presenced.events.topics import EVENT_FILTERS
from presenced.settings.problems import InvalidValue, closest
from presenced.settings.values import utf8_length

_MAX_BYTES = 65535
_ALL_EVENTS = "$aws/events/#"
_EVENTS = [text.split("/") for text in EVENT_FILTERS]


def check_topic_filter(text: str) -> str:
    """Return a topic filter that is valid in MQTT and can match an event message."""
    if not text:
        raise InvalidValue("must not be empty", nearest=_ALL_EVENTS)
    group, levels = _parse_filter(text)
    # A shared subscription without a group makes the first level of its filter the group.
    if group is not None and (not group or set(group) & set("#+") or group == "$aws"):
        raise InvalidValue("must name its group: write $share/GROUP/FILTER")
    _check_form(text, levels)
    nearest = _nearest(levels)
    if nearest != levels:
        shared = [] if group is None else ["$share", group]
        raise InvalidValue(
            "matches no topic on which AWS IoT Core publishes event messages",
            nearest="/".join([*shared, *nearest]),
        )
    return text


def check_status_filter(text: str) -> str:
    """Return a topic filter that is valid in MQTT and matches no event message."""
    if not text:
        raise InvalidValue("must not be empty")
    if text.startswith("$share/"):
        raise InvalidValue("must not be shared: a shared subscription gets no retained messages")
    if text.startswith("$"):
        raise InvalidValue("must not begin with $: clients cannot publish there")
    _check_form(text, text.split("/"))
    return text


def _check_form(text: str, levels: Sequence[str]) -> None:
    if utf8_length(text) > _MAX_BYTES:
        raise InvalidValue(f"must not be longer than {_MAX_BYTES} bytes")
    for position, level in enumerate(levels):
        if "+" in level and level != "+":
            raise InvalidValue("must have + alone between two slashes")
        if "#" in level and (level != "#" or position != len(levels) - 1):
            raise InvalidValue("must have # only at the end, after a slash")


def _nearest(levels: Sequence[str]) -> list[str]:
    """Return the most similar levels that match an event topic: the same ones if they do."""
    near: list[str] = []
    # Event filters that agree with the levels so far.
    events = _EVENTS
    for depth, level in enumerate(levels):
        if level == "#" and near:
            return [*near, level]
        agreeing = [event for event in events if _agree(level, event, depth)]
        if not agreeing and (guess := _guess(level, events, depth)):
            level = guess
            agreeing = [event for event in events if _agree(level, event, depth)]
        if not agreeing:
            break
        near.append(level)
        events = agreeing
    if any(_is_complete(near, event) for event in events):
        return near
    while near and near[-1] in ("+", ""):
        near.pop()
    return [*near, "#"] if len(near) > 1 else _ALL_EVENTS.split("/")


def _agree(level: str, event: Sequence[str], depth: int) -> bool:
    """Return whether a level of a filter other than "#" matches that of an event filter."""
    if depth >= len(event) or event[depth] == "#":
        return event[-1] == "#"  # the rest is a client ID, which may contain "/"
    if event[depth] == "+":
        return level != ""
    # Wildcards at the beginning do not match topics that begin with $ (MQTT 5 section 4.7.2).
    return level == event[depth] or (level == "+" and depth > 0)


def _guess(level: str, events: Sequence[Sequence[str]], depth: int) -> str | None:
    """Return what the level of a filter probably means, if no event topic has it."""
    known = {event[depth].lower(): event[depth] for event in events if depth < len(event)}
    if level == "":
        return known.get("+")
    nearest = closest(level.lower(), known)
    return known[nearest] if nearest else None


def _is_complete(levels: Sequence[str], event: Sequence[str]) -> bool:
    """Return whether levels that agree with an event filter match one of its topics."""
    if event[-1] != "#":
        return len(levels) == len(event)
    return len(levels) >= len(event) and list(levels[len(event) - 1 :]) != [""]


def overlapping_filters(connections: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return a sentence for each two filters that match a common topic.

    A broker may deliver a message once for each of them, and each would be counted. Only equal
    shared subscriptions on different connections divide their messages.
    """
    places = [
        (connection, f"[{connection}][{position}]", text)
        for connection, filters in enumerate(connections)
        for position, text in enumerate(filters)
    ]
    for (at_a, place_a, a), (at_b, place_b, b) in combinations(places, 2):
        if a == b and at_a != at_b and a.startswith("$share/"):
            continue
        if _overlap(_parse_filter(a)[1], _parse_filter(b)[1]):
            yield f"{place_b} {b} {'repeats' if a == b else 'overlaps'} {place_a} {a}"


def _parse_filter(text: str) -> tuple[str | None, list[str]]:
    """Return the group of a shared subscription (`$share/GROUP/FILTER`), else None, and levels."""
    levels = text.split("/")
    if levels[0] == "$share":
        return "".join(levels[1:2]), levels[2:]
    return None, levels


def _overlap(a: Sequence[str], b: Sequence[str]) -> bool:
    # Wildcards at the beginning do not match topics that begin with $ (MQTT 5 section 4.7.2).
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
