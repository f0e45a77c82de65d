"""What may stand behind the question mark, and what it means.

What is wrong with a request, in words, as RFC 9457 has it.

Where a page ended, as a text that means nothing to whoever passes it on.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from multidict import MultiMapping

from presenced.presence import State
from presenced.web.api.page_scan import Key, Order, Request, Selection

HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""What every answer carries."""

_CONTENT_TYPE = "application/problem+json"
_SHOWN = 200

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProblemError(Exception):
    """A request that cannot be answered: what is wrong, and what to do about it.

    `about` are more members of the answer: the parameter, its value, what is allowed.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: int | None = None, **about: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.about = about

    @classmethod
    def of_parameter(cls, name: str, value: str, allowed: str) -> ProblemError:
        """A parameter has a value that it may not have."""
        shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        detail = f"the parameter {name} must be {allowed}"
        return cls(400, detail, parameter=name, value=shown, allowed=allowed)

    def answer(self) -> web.Response:
        """The problem as an answer."""
        headers = dict(HEADERS)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        title = HTTPStatus(self.status).phrase
        body = {"title": title, "status": self.status, "detail": self.detail, **self.about}
        return web.Response(
            body=msgspec.json.encode(body),
            status=self.status,
            content_type=_CONTENT_TYPE,
            headers=headers,
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let every refusal be a problem in JSON."""
    try:
        return await handler(request)
    except ProblemError as problem:
        return problem.answer()
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        detail = f"{error.method} is not known here; the API only answers {' and '.join(allowed)}"
        answer = ProblemError(405, detail, allowed=allowed).answer()
        answer.headers["Allow"] = ", ".join(allowed)
        return answer
    except web.HTTPNotFound:
        detail = "there is nothing under this path; openapi.json beside it tells what there is"
        return ProblemError(404, detail).answer()


def write_cursor(order: Order, key: Key) -> str:
    """The cursor after a key of an order."""
    text = json.dumps([order.value, key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, order: Order) -> Key:
    """The key in a cursor; raises ProblemError where it is none, or one of another order."""
    told = _decode(text)
    if isinstance(told, list) and len(told) == 2 and told[0] == order.value:
        key = told[1]
        if order.by_since:
            if isinstance(key, list) and len(key) == 2 and _is_number(key[0]) and _is_text(key[1]):
                return (float(key[0]), key[1])
        elif _is_text(key):
            return str(key)
    raise ProblemError.of_parameter(
        "cursor", text, f"the next_cursor of a page with the same sort, here {order.value}"
    )


def _decode(text: str) -> Any:
    try:
        padded = text + "=" * (-len(text) % 4)
        return json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


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
