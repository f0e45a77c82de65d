"""The topics below `$aws/events/`. No other module interprets them.

Forms as in "Reserved topics" of the AWS IoT developer guide.
"""

from collections.abc import Iterator
from typing import NamedTuple

from presenced.events.model import EVENT_TYPES, Rejected, RejectionReason

_PREFIX = "$aws/events/"


class Route(NamedTuple):
    """The family and type that a topic names, and the names in it, outermost first.

    `type` is empty if only the payload has it.
    """

    family: str
    type: str
    names: tuple[str, ...]


_CLIENT_FAMILIES = ("presence", "subscriptions")

# Levels of each topic form: "{}" is a name, "{type}" the type. Topics of clients are not listed:
# their last level is the rest of the topic, because a client ID may contain "/".
_FORMS = (
    ("thing", "thing/{}/{type}"),
    ("thing_type", "thingType/{}/{type}"),
    ("thing_type_association", "thingTypeAssociation/thing/{}/thingType/{}/{type}"),
    # The page on reserved topics has this shorter form, without the type.
    ("thing_type_association", "thingTypeAssociation/thing/{}/{}"),
    ("thing_group", "thingGroup/{}/{type}"),
    ("thing_group_membership", "thingGroupMembership/thingGroup/{}/thing/{}/{type}"),
    ("thing_group_hierarchy", "thingGroupHierarchy/thingGroup/{}/childThingGroup/{}/{type}"),
    ("job", "job/{}/{type}"),
    ("job_execution", "jobExecution/{}/{type}"),
    ("certificate", "certificates/{type}/{}"),
    ("command_execution", "commandExecution/{}/{type}"),
)

_FORMS_BY_SHAPE = {
    (levels[0], len(levels)): (family, levels)
    for family, levels in ((family, form.split("/")) for family, form in _FORMS)
}
_FORMS_BY_ROUTE = {(family, "{type}" in form): form for family, form in _FORMS}

# Types in older versions of the developer guide.
_OLD_TYPES = {
    ("thing_type_association", "created"): "added",
    ("thing_type_association", "deleted"): "removed",
}


def _event_filters() -> Iterator[str]:
    for family in _CLIENT_FAMILIES:
        yield from (f"{_PREFIX}{family}/{event_type}/#" for event_type in EVENT_TYPES[family])
    for family, form in _FORMS:
        old = (old_type for of, old_type in _OLD_TYPES if of == family)
        types = ("+",) if "other" in EVENT_TYPES[family] else (*EVENT_TYPES[family], *old)
        yield from (_PREFIX + form.format("+", "+", type=event_type) for event_type in types)


EVENT_FILTERS = tuple(dict.fromkeys(_event_filters()))
"""Topic filters that together match every event topic as AWS IoT Core spells it.

In place of `+` is a name, in place of `#` a client ID. Neither is empty.
"""

EVENT_CONFIGURATIONS = {
    "THING": "$aws/events/thing/#",
    "THING_GROUP": "$aws/events/thingGroup/#",
    "THING_TYPE": "$aws/events/thingType/#",
    "THING_GROUP_MEMBERSHIP": "$aws/events/thingGroupMembership/#",
    "THING_GROUP_HIERARCHY": "$aws/events/thingGroupHierarchy/#",
    "THING_TYPE_ASSOCIATION": "$aws/events/thingTypeAssociation/#",
    "JOB": "$aws/events/job/#",
    "JOB_EXECUTION": "$aws/events/jobExecution/#",
    "CERTIFICATE": "$aws/events/certificates/#",
}
"""The event types that an account has to enable, by the names of UpdateEventConfigurations, and the
filter of their topics."""


def route(topic: str) -> Route:
    """Parse a topic. Raises `Rejected` with `unknown_topic` if it is not an event topic."""
    if not topic.startswith(_PREFIX):
        raise _unknown("it is not below $aws/events/")
    head, _, rest = topic[len(_PREFIX) :].partition("/")
    if head in _CLIENT_FAMILIES:
        event_type, slash, client_id = rest.partition("/")
        if not slash or event_type not in EVENT_TYPES[head]:
            raise _unknown(f"{head} has no such type")
        return Route(head, event_type, (client_id,))
    levels = [head, *rest.split("/")]
    if (head, len(levels)) not in _FORMS_BY_SHAPE:
        raise _unknown("no event topic has this form")
    family, form = _FORMS_BY_SHAPE[head, len(levels)]
    names: list[str] = []
    found: str | None = ""
    for level, expected in zip(levels, form, strict=True):
        if expected == "{type}":
            found = normal_type(family, level)
        elif expected == "{}" and level:
            names.append(level)
        elif level != expected:
            raise _unknown("no event topic has this form")
    if found is None:
        raise _unknown(f"{head} has no such type")
    return Route(family, found, tuple(names))


def topic_of(found: Route) -> str:
    """Return the topic of a route, the reverse of `route`."""
    if found.family in _CLIENT_FAMILIES:
        return f"{_PREFIX}{found.family}/{found.type}/{found.names[0]}"
    form = _FORMS_BY_ROUTE[found.family, bool(found.type)]
    return _PREFIX + form.format(*found.names, type=found.type)


def normal_type(family: str, name: str) -> str | None:
    """Return the type that a topic or payload names; None if the family has no such type."""
    name = name.lower()
    name = _OLD_TYPES.get((family, name), name)
    known = EVENT_TYPES[family]
    if name in known:
        return name
    return "other" if "other" in known else None


def _unknown(why: str) -> Rejected:
    return Rejected(RejectionReason.UNKNOWN_TOPIC, why)
