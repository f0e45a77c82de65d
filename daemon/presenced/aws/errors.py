"""Why a request to AWS failed, and what to do about it."""

import json
from enum import StrEnum
from http import HTTPStatus
from typing import Literal, get_args

from presenced.settings.partitions import partition_of

Result = Literal["ok", "throttled", "denied", "failed"]
"""What became of a request: the label values of its metric."""

RESULTS: tuple[Result, ...] = get_args(Result)


class Cause(StrEnum):
    """Why a request failed."""

    DENIED = "denied"
    """The credentials are valid, but lack a permission."""
    CREDENTIALS = "credentials"
    """There are no credentials, or AWS does not accept them."""
    CLOCK = "clock"
    """AWS refuses the signature because the clock of this machine is wrong."""
    THROTTLED = "throttled"
    INDEX_OFF = "index_off"
    INDEX_BUILDING = "index_building"
    NOT_FOUND = "not_found"
    """AWS knows nothing by this name."""
    NO_QUEUE = "no_queue"
    """There is no such queue."""
    KEY = "key"
    """The key that encrypts a queue cannot be used."""
    INVALID_REQUEST = "invalid_request"
    UNAVAILABLE = "unavailable"
    """AWS reports an internal error."""
    NAME_RESOLUTION = "name_resolution"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMEOUT = "timeout"
    UNREADABLE = "unreadable"
    """The answer is not one of AWS: a redirect, too large, not JSON, or of another shape."""


_MAY_PASS = (Cause.THROTTLED, Cause.UNAVAILABLE, Cause.UNREACHABLE, Cause.TIMEOUT)
_REFUSED = (Cause.DENIED, Cause.CREDENTIALS, Cause.CLOCK, Cause.KEY)


class AwsError(Exception):
    """A request that failed. Its texts have no credentials, principals or account numbers.

    `operation` is AWS's name of it, such as SearchIndex. `permission` is the one that is missing,
    such as iot:SearchIndex. `clock_ahead` is how many seconds this machine's clock is ahead of
    AWS's, None if the answer does not tell. `status` is that of the answer, None without one.
    `sent` is whether the request, or part of it, may have reached the server.
    """

    def __init__(
        self,
        cause: Cause,
        operation: str,
        detail: str,
        remedy: str = "",
        *,
        status: int | None = None,
        permission: str | None = None,
        clock_ahead: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(cause, operation, detail, remedy)
        self.cause = cause
        self.operation = operation
        self.detail = detail
        self.remedy = remedy
        self.status = status
        self.permission = permission
        self.clock_ahead = clock_ahead
        self.sent = sent

    def __str__(self) -> str:
        text = f"{self.operation}: {self.detail}"
        return f"{text}. {self.remedy}" if self.remedy else text

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.cause in _MAY_PASS

    @property
    def may_have_run(self) -> bool:
        """Whether AWS may have carried out the request although it failed.

        A refusal (status 4xx) proves that it has not. Other statuses do not: those of 5xx may come
        from a proxy that has lost AWS's answer.
        """
        if self.status is None:
            return self.sent
        return not HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def result(self) -> Result:
        """The label of the request; a name unknown to AWS counts as ok."""
        if self.cause is Cause.THROTTLED:
            return "throttled"
        if self.cause is Cause.NOT_FOUND:
            return "ok"
        return "denied" if self.cause in _REFUSED and self.status is not None else "failed"


def policy_statement(permission: str, resource: str, *, region: str) -> str:
    """Return the policy statement that allows `permission`, as JSON.

    `resource` is `*`, or the last part of an ARN of the permission's service, such as `thing/*` of
    AWS IoT, or the name of a queue.
    """
    service = permission.partition(":")[0]
    arn = f"arn:{partition_of(region).name}:{service}:{region}:ACCOUNT:{resource}"
    arn = resource if resource == "*" else arn
    return json.dumps({"Effect": "Allow", "Action": permission, "Resource": arn})
