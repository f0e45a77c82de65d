"""Error answers of the API, as problem details in JSON (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from presenced.web.api import answers

HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""The headers of every answer."""

_MAX_SHOWN = 200

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProblemError(Exception):
    """A request that cannot be answered.

    `detail` says what is wrong and what to do. `members` are optional members of `answers.Problem`:
    `parameter`, `value` and `allowed`. `retry_after` is in seconds.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: int | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.problem = answers.Problem(HTTPStatus(status).phrase, status, detail, **members)
        self.headers = dict(HEADERS)
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    @classmethod
    def of_parameter(cls, name: str, value: str, allowed: str) -> ProblemError:
        """Return the error of a parameter whose value is not allowed."""
        shown = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}..."
        detail = f"the parameter {name} must be {allowed}"
        return cls(400, detail, parameter=name, value=shown, allowed=allowed)

    def response(self) -> web.Response:
        """Return the problem as a response."""
        return web.Response(
            body=msgspec.json.encode(self.problem),
            status=self.problem.status,
            content_type="application/problem+json",
            headers=self.headers,
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refused request into a problem in JSON."""
    try:
        return await handler(request)
    except ProblemError as error:
        return error.response()
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        detail = f"the method {error.method} is not supported; use {' or '.join(allowed)}"
        problem = ProblemError(405, detail, allowed=allowed)
        problem.headers["Allow"] = ", ".join(allowed)
        return problem.response()
    except web.HTTPNotFound:
        detail = "there is nothing at this path; /api/v1/openapi.json lists all paths"
        return ProblemError(404, detail).response()
