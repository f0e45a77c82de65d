"""What a topic below `$aws/events/` means. The only place that knows.

Forms as in "Reserved topics" of the AWS IoT developer guide.
"""

from typing import NamedTuple

from presenced.events.model import EVENT_TYPES, Rejected, RejectionReason

_PREFIX = "$aws/events/"


class Route(NamedTuple):
    """Family and type that a topic names, and the names in it, outermost first."""

    family: str
    type: str
    names: tuple[str, ...]


# Fixed levels of each topic form; "{}" is a name and "{type}" the type. The last level of the
# client families is the rest of the topic, because client IDs may hold "/".
_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("thing", ("thing", "{}", "{type}")),
    ("thing_type", ("thingType", "{}", "{type}")),
    (
        "thing_type_association",
        ("thingTypeAssociation", "thing", "{}", "thingType", "{}", "{type}"),
    ),
    # The page on reserved topics has this shorter form, which leaves the type to the payload.
    ("thing_type_association", ("thingTypeAssociation", "thing", "{}", "{}")),
    ("thing_group", ("thingGroup", "{}", "{type}")),
    (
        "thing_group_membership",
        ("thingGroupMembership", "thingGroup", "{}", "thing", "{}", "{type}"),
    ),
    (
        "thing_group_hierarchy",
        ("thingGroupHierarchy", "thingGroup", "{}", "childThingGroup", "{}", "{type}"),
    ),
    ("job", ("job", "{}", "{type}")),
    ("job_execution", ("jobExecution", "{}", "{type}")),
    ("certificate", ("certificates", "{type}", "{}")),
    ("command_execution", ("commandExecution", "{}", "{type}")),
)

_FORMS_BY_SHAPE = {(form[0], len(form)): (family, form) for family, form in _FORMS}

# Associations were "created" and "deleted" in older versions of the guide.
_OLD_TYPES = {
    ("thing_type_association", "created"): "added",
    ("thing_type_association", "deleted"): "removed",
}


def route(topic: str) -> Route:
    """What a topic names.

    `type` is empty where the topic leaves it to the payload. Raises `Rejected` with
    `unknown_topic` for anything that is not an event topic.
    """
    if not topic.startswith(_PREFIX):
        raise _unknown("it is not below $aws/events/")
    head, _, rest = topic[len(_PREFIX) :].partition("/")
    if head in ("presence", "subscriptions"):
        event_type, slash, client_id = rest.partition("/")
        if not slash or event_type not in EVENT_TYPES[head]:
            raise _unknown(f"{head} has no such type")
        return Route(head, event_type, (client_id,))
    return _registry_route(head, rest.split("/"))


def topic_of(found: Route) -> str:
    """The topic that names this; the other way round than `route`."""
    if found.family in ("presence", "subscriptions"):
        return f"{_PREFIX}{found.family}/{found.type}/{found.names[0]}"
    form = next(
        form
        for family, form in _FORMS
        if family == found.family and ("{type}" in form) == bool(found.type)
    )
    names = iter(found.names)
    levels = (next(names) if level == "{}" else level for level in form)
    return _PREFIX + "/".join(found.type if level == "{type}" else level for level in levels)


def normal_type(family: str, name: str) -> str | None:
    """A family's type by the name that a topic or payload gives it; None if there is none."""
    name = name.lower()
    name = _OLD_TYPES.get((family, name), name)
    known = EVENT_TYPES[family]
    if name in known:
        return name
    return "other" if "other" in known else None


def _registry_route(head: str, rest: list[str]) -> Route:
    found = _FORMS_BY_SHAPE.get((head, len(rest) + 1))
    if found is None:
        raise _unknown("no event topic has this form")
    family, form = found
    names: list[str] = []
    event_type: str | None = ""
    for level, wanted in zip(rest, form[1:], strict=True):
        if wanted == "{type}":
            event_type = normal_type(family, level)
        elif wanted == "{}" and level:
            names.append(level)
        elif level != wanted:
            raise _unknown("no event topic has this form")
    if event_type is None:
        raise _unknown(f"{head} has no such type")
    return Route(family, event_type, tuple(names))


def _unknown(why: str) -> Rejected:
    return Rejected(RejectionReason.UNKNOWN_TOPIC, why)
