"""Query parameters: each is declared once, for the check of requests and for OpenAPI.

A cursor, which requests the next page of a list, is opaque to clients of the API.
"""

import base64
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec
from multidict import MultiMapping

from presenced.presence import State
from presenced.recent.activity import EntryKind
from presenced.settings import parse_duration
from presenced.web.api.problems import ProblemError
from presenced.web.api.selection import Key, Order, PageRequest, Selection

_MAX_SHOWN = 100
_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000

# As `parse_duration` reads it, at most four digits each: then none is too long.
_DURATION_PATTERN = "^(0|(?=[0-9])" + "".join(f"([0-9]{{1,4}}{u})?" for u in "dhms") + ")$"


class Parameter(NamedTuple):
    """A query parameter. `schema` is its JSON Schema, an array if it may be given repeatedly."""

    name: str
    description: str
    schema: dict[str, Any]

    def check(self, values: Sequence[str]) -> None:
        """Raise ProblemError if one of its values is not allowed."""
        schema = self.schema.get("items", self.schema)
        if schema is self.schema and len(values) > 1:
            raise ProblemError.of_parameter(self.name, values[1], "given once")
        for value in values:
            if "enum" in schema and value not in schema["enum"]:
                allowed = f"one of {', '.join(schema['enum'])}"
                raise ProblemError.of_parameter(self.name, value, allowed)
            if schema.get("format") == "duration" and not re.fullmatch(schema["pattern"], value):
                allowed = "a duration such as 90s, 10m, 1h30m or 7d"
                raise ProblemError.of_parameter(self.name, value, allowed)
            if schema["type"] == "integer":
                low, high = schema["minimum"], schema["maximum"]
                if not (re.fullmatch("[0-9]{1,16}", value) and low <= int(value) <= high):
                    allowed = f"a number from {low} to {high}"
                    raise ProblemError.of_parameter(self.name, value, allowed)


def _repeatable(**items: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", **items}}


_TEXT = {"type": "string"}
_STATE = Parameter("state", "Clients in one of these states.", _repeatable(enum=list(State)))
_THING = Parameter("thing", "Clients of this thing.", _TEXT)
_THING_TYPE = Parameter(
    "thing_type", "Clients whose thing has this type; empty for those without one.", _TEXT
)
_THING_GROUP = Parameter(
    "thing_group",
    "Clients whose thing is in this group or in one below it; empty for those in none.",
    _TEXT,
)
_CLASS = Parameter(
    "class",
    "Clients of this class: NAME:VALUE, where NAME is a named group of metrics.client_id_pattern."
    " If given repeatedly, all must match.",
    _repeatable(),
)
_PREFIX = Parameter("prefix", "Clients whose client ID begins with this text.", _TEXT)
_CONTAINS = Parameter(
    "contains", "Clients whose client ID contains this text, in upper or lower case.", _TEXT
)
_REASON = Parameter(
    "reason",
    "Clients whose last disconnect had one of these reasons, as AWS writes them; `other` for all"
    " that AWS does not document; empty for clients without one, such as all that are online.",
    _repeatable(),
)
_IN_DOUBT = Parameter(
    "in_doubt",
    "Clients whose state is in doubt (`verified` is false); `false` selects the others.",
    {"type": "string", "enum": ["true", "false"]},
)
_OFFLINE_FOR = Parameter(
    "offline_for",
    "Clients that have been offline at least so long, such as `10m` or `1h30m`. It selects no"
    " client in another state.",
    {"type": "string", "format": "duration", "pattern": _DURATION_PATTERN},
)
_SORT = Parameter(
    "sort",
    "The order; a leading minus reverses it. `since` is when the present state began; clients with"
    " the same `since` are sorted by client ID.",
    {"type": "string", "enum": list(Order), "default": Order.CLIENT_ID},
)
_LIMIT = Parameter(
    "limit",
    "The maximum number of clients on a page.",
    {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT, "default": _DEFAULT_LIMIT},
)
_CURSOR = Parameter(
    "cursor",
    "The `next_cursor` of the previous page. All other parameters must be the same.",
    {"type": "string", "format": "cursor"},
)
_LIST = (
    _STATE,
    _REASON,
    _OFFLINE_FOR,
    _IN_DOUBT,
    _THING,
    _THING_TYPE,
    _THING_GROUP,
    _CLASS,
    _PREFIX,
    _CONTAINS,
    _SORT,
    _LIMIT,
    _CURSOR,
)

RECENT_PARAMETERS = (
    Parameter(
        "limit",
        "The maximum number of entries.",
        {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT, "default": _DEFAULT_LIMIT},
    ),
    Parameter(
        "before",
        "The `next_before` of the answer that the entries follow.",
        {"type": "integer", "minimum": 0, "maximum": 2**53},
    ),
    Parameter(
        "kind",
        "Entries of this kind only: mass events, or transitions that are part of none.",
        {"type": "string", "enum": list(EntryKind)},
    ),
)
"""The parameters of what happened in the last hours."""

STREAM_PARAMETERS = (
    Parameter("client_id", "Transitions of this client only.", _TEXT),
    Parameter("prefix", "Transitions of clients whose client ID begins with this text.", _TEXT),
    Parameter(
        "state",
        "Transitions to one of these states.",
        _repeatable(enum=[State.ONLINE, State.OFFLINE]),
    ),
)


def list_parameters(classes: Collection[str]) -> list[Parameter]:
    """Return the parameters of a list of clients that have these classes."""
    of_class = _CLASS._replace(schema=_repeatable(pattern=f"^({'|'.join(classes)}):"))
    shown = _LIST if classes else [each for each in _LIST if each is not _CLASS]
    return [of_class if each is _CLASS else each for each in shown]


def check_query(query: MultiMapping[str], known: Sequence[Parameter] = ()) -> None:
    """Raise ProblemError unless a query has known parameters only, with values that they allow."""
    names = [parameter.name for parameter in known]
    for name, value in query.items():
        if name not in names:
            shown = name[:_MAX_SHOWN]
            detail = f"unknown parameter {shown}"
            if nearest := get_close_matches(name, names, n=1):
                detail += f"; did you mean {nearest[0]}?"
            value_shown = value[:_MAX_SHOWN]
            raise ProblemError(400, detail, parameter=shown, value=value_shown, allowed=names)
    for parameter in known:
        parameter.check(query.getall(parameter.name, []))


def states(query: MultiMapping[str]) -> frozenset[State]:
    """Return the values of the parameter `state`, after they were checked."""
    return frozenset(map(State, query.getall("state", [])))


def page_request(
    query: MultiMapping[str], pattern: re.Pattern[str] | None, now: float
) -> PageRequest:
    """Read the query of a list of clients.

    `pattern` is metrics.client_id_pattern, `now` the time in seconds since the epoch.
    """
    check_query(query, _LIST)
    offline_for, in_doubt = query.get("offline_for"), query.get("in_doubt")
    selection = Selection(
        states=states(query),
        thing=query.get("thing"),
        thing_type=query.get("thing_type"),
        thing_group=query.get("thing_group"),
        classes=tuple(_read_class(value, pattern) for value in query.getall("class", [])),
        prefix=query.get("prefix", ""),
        reasons=frozenset(query.getall("reason", [])),
        in_doubt=None if in_doubt is None else in_doubt == "true",
        contains=query.get("contains", "").casefold(),
        offline_before=None if offline_for is None else now - parse_duration(offline_for),
    )
    order = Order(query.get("sort", Order.CLIENT_ID))
    cursor = query.get("cursor")
    after = read_cursor(cursor, order) if cursor is not None else None
    return PageRequest(selection, order, int(query.get("limit", _DEFAULT_LIMIT)), after)


class RecentRequest(NamedTuple):
    """How many entries of the last hours, before which one, and of which kind; None is any."""

    limit: int
    before: int | None
    kind: EntryKind | None


def recent_request(query: MultiMapping[str]) -> RecentRequest:
    """Read the query of what happened in the last hours."""
    check_query(query, RECENT_PARAMETERS)
    before, kind = query.get("before"), query.get("kind")
    return RecentRequest(
        int(query.get("limit", _DEFAULT_LIMIT)),
        None if before is None else int(before),
        None if kind is None else EntryKind(kind),
    )


def _read_class(text: str, pattern: re.Pattern[str] | None) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    classes = pattern.groupindex if pattern else {}
    if colon and name in classes:
        return name, value
    allowed = "omitted, because metrics.client_id_pattern has no named group"
    if classes:
        allowed = f"NAME:VALUE with one of the names {', '.join(classes)}"
    raise ProblemError.of_parameter("class", text, allowed)


def write_cursor(order: Order, key: Key) -> str:
    """Return the cursor of the page after a key."""
    return base64.urlsafe_b64encode(msgspec.json.encode([order, key])).decode().rstrip("=")


def read_cursor(text: str, order: Order) -> Key:
    """Return the key in a cursor; raises ProblemError if it is not a cursor of this order."""
    key: Key
    cursor_type: Any = tuple[Order, tuple[float, str]] if order.by_since else tuple[Order, str]
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        written_for, key = msgspec.json.decode(content, type=cursor_type)
    except ValueError:
        written_for, key = None, ""
    if written_for is order:
        return key
    allowed = f"the next_cursor of a page with the same sort, here {order.value}"
    raise ProblemError.of_parameter("cursor", text, allowed)
