"""What may stand behind the question mark, and what it means."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from presenced.api.cursor import read_cursor
from presenced.api.problems import ProblemError
from presenced.api.selection import Order, Selection
from presenced.api.walk import Request
from presenced.presence import State

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = ["MOST_CLIENTS", "PAGE", "Parameters", "page_request", "states"]

PAGE, MOST_CLIENTS = 100, 1000
"""How many clients are on a page by default, and at most."""

_FILTERS = ("state", "thing_type", "thing_group", "class", "prefix")
_PAGING = ("sort", "limit", "cursor")

Choice = TypeVar("Choice", bound=StrEnum)


class Parameters:
    """The parameters of a request; raises ProblemError where one is not among the `known`."""

    def __init__(self, given: MultiMapping[str], known: Collection[str]) -> None:
        self._given = given
        for name, value in given.items():
            if name not in known:
                nearest = get_close_matches(name, known, n=1)
                detail = f"there is no parameter {name[:100]} here"
                detail += f"; did you mean {nearest[0]}?" if nearest else ""
                raise ProblemError(
                    400, detail, parameter=name[:100], value=value[:100], allowed=list(known)
                )

    def one(self, name: str) -> str | None:
        """The value of a parameter that may be given once."""
        values = self.all(name)
        if len(values) > 1:
            raise ProblemError.of_parameter(name, values[1], "given once")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of a parameter that may be given more than once."""
        return list(self._given.getall(name, []))

    def choices(self, name: str, among: Iterable[Choice]) -> frozenset[Choice]:
        """The values of a parameter, each one of some."""
        allowed = {choice.value: choice for choice in among}
        for value in self.all(name):
            if value not in allowed:
                raise ProblemError.of_parameter(name, value, f"one of {', '.join(allowed)}")
        return frozenset(allowed[value] for value in self.all(name))


def page_request(given: MultiMapping[str], pattern: re.Pattern[str] | None) -> Request:
    """The page that is asked for; raises ProblemError. `pattern` tells which classes there are."""
    parameters = Parameters(given, (*_FILTERS, *_PAGING))
    selection = Selection(
        states=parameters.choices("state", State),
        thing_type=parameters.one("thing_type"),
        thing_group=parameters.one("thing_group"),
        classes=tuple(_class(value, pattern) for value in parameters.all("class")),
        prefix=parameters.one("prefix") or "",
    )
    order = _order(parameters.one("sort"))
    cursor = parameters.one("cursor")
    after = read_cursor(cursor, order) if cursor is not None else None
    return Request(selection, order, _limit(parameters.one("limit")), after)


def states(parameters: Parameters) -> frozenset[State]:
    """The states whose beginning is a transition, that are asked for."""
    return parameters.choices("state", (State.ONLINE, State.OFFLINE))


def _order(text: str | None) -> Order:
    try:
        return Order.CLIENT_ID if text is None else Order(text)
    except ValueError:
        allowed = f"one of {', '.join(Order)}"
        raise ProblemError.of_parameter("sort", text or "", allowed) from None


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if re.fullmatch("[0-9]{1,4}", text) and 1 <= int(text) <= MOST_CLIENTS:
        return int(text)
    raise ProblemError.of_parameter("limit", text, f"a number from 1 to {MOST_CLIENTS}")


def _class(text: str, pattern: re.Pattern[str] | None) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    groups = pattern.groupindex if pattern else {}
    if colon and name in groups:
        return name, value
    if not groups:
        allowed = "left out: metrics.client_id_pattern has no named group, and so there is no class"
    else:
        allowed = f"NAME:VALUE with one of the names {', '.join(groups)}"
    raise ProblemError.of_parameter("class", text, allowed)
