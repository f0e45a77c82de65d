"""Query parameters: declared once, checked by their declaration and described by it in OpenAPI.

Cursors, the parameter that resumes a list after a page, are opaque to clients of the API.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from multidict import MultiMapping

from presenced.presence import State
from presenced.web.api.problems import ProblemError
from presenced.web.api.selection import Key, Order, PageRequest, Selection

_MAX_SHOWN = 100
_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000


class Parameter(NamedTuple):
    """A query parameter; `schema` is its JSON Schema, an array if it may be given repeatedly."""

    name: str
    description: str
    schema: dict[str, Any]

    def check(self, values: Sequence[str]) -> None:
        """Raise ProblemError if one of the values given for it is not allowed."""
        schema = self.schema.get("items", self.schema)
        if schema is self.schema and len(values) > 1:
            raise ProblemError.of_parameter(self.name, values[1], "given once")
        for value in values:
            if "enum" in schema and value not in schema["enum"]:
                allowed = f"one of {', '.join(schema['enum'])}"
                raise ProblemError.of_parameter(self.name, value, allowed)
            if schema["type"] == "integer":
                low, high = schema["minimum"], schema["maximum"]
                if not (re.fullmatch("[0-9]{1,4}", value) and low <= int(value) <= high):
                    allowed = f"a number from {low} to {high}"
                    raise ProblemError.of_parameter(self.name, value, allowed)


def _repeatable(**items: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", **items}}


_TEXT = {"type": "string"}
_STATE = Parameter("state", "Clients in one of these states.", _repeatable(enum=list(State)))
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
    "The `next_cursor` of the page before. All other parameters must stay as they were.",
    {"type": "string", "format": "cursor"},
)
_LIST = (_STATE, _THING_TYPE, _THING_GROUP, _CLASS, _PREFIX, _SORT, _LIMIT, _CURSOR)

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
    """Return the parameters of a list of clients, given the names of their classes."""
    of_class = _CLASS._replace(schema=_repeatable(pattern=f"^({'|'.join(classes)}):"))
    described = [of_class if each is _CLASS else each for each in _LIST]
    return described if classes else [each for each in _LIST if each is not _CLASS]


class Query:
    """The query of a request; raises ProblemError unless it fits the known parameters."""

    def __init__(self, given: MultiMapping[str], known: Sequence[Parameter] = ()) -> None:
        self._given = given
        names = [parameter.name for parameter in known]
        for name, value in given.items():
            if name not in names:
                detail = f"there is no parameter {name[:_MAX_SHOWN]} here"
                if nearest := get_close_matches(name, names, n=1):
                    detail += f"; did you mean {nearest[0]}?"
                raise ProblemError(
                    400,
                    detail,
                    parameter=name[:_MAX_SHOWN],
                    value=value[:_MAX_SHOWN],
                    allowed=names,
                )
        for parameter in known:
            parameter.check(self.all(parameter.name))

    def one(self, name: str) -> str | None:
        """Return the value of a parameter; None if it is not given."""
        return self._given.get(name)

    def all(self, name: str) -> list[str]:
        """Return all values of a parameter that may be given repeatedly."""
        return list(self._given.getall(name, []))

    def states(self) -> frozenset[State]:
        """Return the values of the parameter `state`."""
        return frozenset(map(State, self.all("state")))


def page_request(given: MultiMapping[str], pattern: re.Pattern[str] | None) -> PageRequest:
    """Read the query of a list of clients; `pattern` is metrics.client_id_pattern."""
    query = Query(given, _LIST)
    selection = Selection(
        states=query.states(),
        thing_type=query.one("thing_type"),
        thing_group=query.one("thing_group"),
        classes=tuple(_read_class(value, pattern) for value in query.all("class")),
        prefix=query.one("prefix") or "",
    )
    order = Order(query.one("sort") or Order.CLIENT_ID)
    cursor = query.one("cursor")
    after = read_cursor(cursor, order) if cursor is not None else None
    return PageRequest(selection, order, int(query.one("limit") or _DEFAULT_LIMIT), after)


def _read_class(text: str, pattern: re.Pattern[str] | None) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    classes = pattern.groupindex if pattern else {}
    if colon and name in classes:
        return name, value
    allowed = "omitted: there are no classes, as metrics.client_id_pattern has no named group"
    if classes:
        allowed = f"NAME:VALUE with one of the names {', '.join(classes)}"
    raise ProblemError.of_parameter("class", text, allowed)


def write_cursor(order: Order, key: Key) -> str:
    """Return the cursor of the page after a key."""
    text = json.dumps([order.value, key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, order: Order) -> Key:
    """Return the key in a cursor; raises ProblemError if it is not a cursor of this order."""
    try:
        padded = text + "=" * (-len(text) % 4)
        cursor = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        cursor = None
    match cursor:
        case [order.value, str(client_id)] if not order.by_since:
            return client_id
        case [order.value, [int() | float() as since, str(client_id)]] if order.by_since:
            if not isinstance(since, bool) and abs(since) < 1e300:  # neither infinite nor NaN
                return (float(since), client_id)
    allowed = f"the next_cursor of a page with the same sort, here {order.value}"
    raise ProblemError.of_parameter("cursor", text, allowed)
