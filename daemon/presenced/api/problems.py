"""What is wrong with a request, in words, as RFC 9457 has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

__all__ = ["HEADERS", "ProblemError", "problems"]

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
