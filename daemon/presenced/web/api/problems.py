"""Error answers of the API, as problem details in JSON (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from presenced.web.api import answers

HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""The headers of every answer."""

_MAX_SHOWN = 200


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
    def of_parameter(cls, name: str, value: str, allowed: str) -> Self:
        """Return the error for a value that a parameter cannot have."""
        shown = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}..."
        detail = f"the parameter {name} must be {allowed}"
        return cls(400, detail, parameter=name, value=shown, allowed=allowed)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every refused request with a problem in JSON."""
    try:
        return await handler(request)
    except ProblemError as error:
        refusal = error
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        detail = f"the method {error.method} is not supported; use {' or '.join(allowed)}"
        refusal = ProblemError(405, detail, allowed=allowed)
        refusal.headers["Allow"] = ", ".join(allowed)
    except web.HTTPNotFound:
        detail = "there is nothing at this path; /api/v1/openapi.json lists all paths"
        refusal = ProblemError(404, detail)
    except web.HTTPNotAcceptable as error:
        refusal = ProblemError(406, error.text or "")
    return web.Response(
        body=msgspec.json.encode(refusal.problem),
        status=refusal.problem.status,
        content_type="application/problem+json",
        headers=refusal.headers,
    )
