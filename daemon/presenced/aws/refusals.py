"""Map an error response of AWS to its cause and remedy.

AWS's messages are quoted only if they contain no secret: those about signatures contain the request
with its session token, those about permissions contain principals and account numbers.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from presenced.aws.errors import AwsError, Cause, policy_statement
from presenced.aws.operations import Budget, Operation
from presenced.aws.queue_refusals import queue_cause, queue_texts
from presenced.aws.transport import HttpAnswer
from presenced.settings.values import format_duration

# AWS refuses signatures that are further off ("Signature Version 4" in the IAM user guide).
CLOCK_TOLERANCE = 300.0

_THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
}
_SIGNATURE = {"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature"}
_TIME = {"RequestExpired", "RequestTimeTooSkewed"}
_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}
_STATUS_THROTTLED = 429
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)

# "Signature expired: TIME is now earlier than TIME", "Signature not yet current: ...".
_WRONG_TIME = re.compile("Signature (expired|not yet current)")
_PERMISSION = re.compile(r"perform: (iot:[A-Za-z]+)")
_NAME = re.compile("[A-Za-z]{1,100}")
# ARNs, account numbers, key IDs, certificate IDs, tokens.
_PRIVATE = re.compile(r"arn:\S+|\b[0-9]{12}\b|\b[A-Z0-9]{16,}\b|[A-Za-z0-9+/=_-]{32,}")
_SHOWN = 200

THROTTLED = "AWS allows no more requests at the moment (throttled)"
"""What is wrong if AWS throttles."""

_THROTTLED_REMEDY = (
    "Other programs share the quota of the account: lower reconcile.{}_per_second, or have the"
    " quota raised"
)
_CREDENTIALS_REMEDY = (
    "Check where they come from: aws.role_alias, else the environment variables, the configuration"
    " files or the role of this machine. Check that they are for aws.region"
)


def enable_indexing(thing_mode: str = "REGISTRY") -> str:
    """Return the remedy for connectivity that is not indexed.

    `thing_mode` is the thingIndexingMode that the command sets.
    """
    return (
        "Enable it with connectivity. This command replaces what `aws iot"
        " get-indexing-configuration` prints: aws iot update-indexing-configuration"
        " --thing-indexing-configuration"
        f" thingIndexingMode={thing_mode},thingConnectivityIndexingMode=STATUS"
    )


INDEX_OFF = ("there is no index of things: fleet indexing is off", enable_indexing())
"""What is wrong without an index, and the remedy."""

INDEX_BUILDING = (
    "the index of things is being built",
    "Wait; `aws iot describe-index --index-name AWS_Things` prints its status",
)
"""What is wrong while the index answers no query, and the remedy."""

_FIXED_TEXTS = {
    Cause.INDEX_OFF: INDEX_OFF,
    Cause.INDEX_BUILDING: INDEX_BUILDING,
    Cause.NOT_FOUND: ("AWS knows nothing by this name", ""),
}


def refusal(operation: Operation, answer: HttpAnswer, region: str) -> AwsError:
    """Return the error that an answer with another status than 200 means; `region` is asked."""
    said = error_named(answer)
    kind, message = said.kind, said.message
    ahead = clock_ahead(answer)
    cause = _cause(operation, answer.status, said, ahead)
    permission = None
    if cause is Cause.DENIED:
        named = _PERMISSION.search(message)
        permission = named[1] if named else operation.permission
        statement = policy_statement(permission, operation.resource, region=region)
        detail = f"the credentials lack the permission {permission}"
        remedy = f"Add to the policies of their role: {statement}"
    elif cause is Cause.CLOCK:
        detail, remedy = clock_texts(ahead)
    elif cause is Cause.INVALID_REQUEST:
        shown = _PRIVATE.sub("...", "".join(c for c in message if c.isprintable()))[:_SHOWN]
        detail = f"AWS does not accept the request ({kind or answer.status}: {shown})"
        remedy = f"Check aws.region and {_addresses(operation)}"
    else:
        texts = queue_texts(cause, operation, kind, region) if operation.service == "sqs" else None
        detail, remedy = texts or _texts(cause, operation, answer.status, kind)
    return AwsError(
        cause,
        operation.name,
        detail,
        remedy,
        status=answer.status,
        permission=permission,
        clock_ahead=ahead,
    )


def clock_ahead(answer: HttpAnswer) -> float | None:
    """Return how many seconds this machine's clock is ahead of the server's; None if unknown."""
    try:
        date = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return None
    return answer.received - date.replace(tzinfo=date.tzinfo or UTC).timestamp()


def clock_texts(ahead: float | None) -> tuple[str, str]:
    """Return what is wrong with this machine's clock, and the remedy."""
    detail = "the clock of this machine is wrong, and signatures are valid for 5 minutes"
    if ahead is not None and abs(ahead) >= CLOCK_TOLERANCE:
        way = "ahead of" if ahead > 0 else "behind"
        detail += f": it is {format_duration(round(abs(ahead)))} {way} AWS's"
    return detail, "Synchronize the clock: timedatectl status"


class ErrorNamed(NamedTuple):
    """The name and the text of the error in an answer, empty where it has none.

    The text may hold secrets.
    """

    kind: str
    message: str
    is_json: bool


def error_named(answer: HttpAnswer) -> ErrorNamed:
    """Return the error that an answer names."""
    try:
        body: Any = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        body = None
    is_json = isinstance(body, Mapping)
    if not is_json:
        body = {}
    kind = answer.headers.get("x-amzn-ErrorType") or body.get("__type") or body.get("code") or ""
    message = body.get("message") or body.get("Message") or ""
    # NAME, NAME:http://... or com.amazonaws.iot#NAME, as the AWS SDKs read it.
    name = str(kind).partition(":")[0].rpartition("#")[2].rpartition(".")[2]
    return ErrorNamed(name if _NAME.fullmatch(name) else "", str(message), is_json)


def _cause(operation: Operation, status: int, said: ErrorNamed, ahead: float | None) -> Cause:
    kind = said.kind
    if operation.service == "sqs" and (cause := queue_cause(kind)) is not None:
        return cause
    if kind in _THROTTLED or status == _STATUS_THROTTLED:
        return Cause.THROTTLED
    if kind == "IndexNotReadyException":
        return Cause.INDEX_BUILDING
    if status in (401, 403) or kind in _CREDENTIALS | _SIGNATURE | _TIME:
        return _refused(said, ahead)
    # The data endpoint does not always name its errors.
    if status == 404 and (kind or (said.is_json and operation.service == "iotdata")):
        return Cause.INDEX_OFF if operation.needs_index else Cause.NOT_FOUND
    if status in _SERVER_ERRORS:
        return Cause.UNAVAILABLE
    return Cause.INVALID_REQUEST if kind and status not in _REDIRECTS else Cause.UNREADABLE


def _refused(said: ErrorNamed, ahead: float | None) -> Cause:
    if said.kind in _TIME or _WRONG_TIME.match(said.message):
        return Cause.CLOCK
    # AWS checks the signature first; the data endpoint calls every refusal "Forbidden".
    if ahead is not None and abs(ahead) >= CLOCK_TOLERANCE:
        return Cause.CLOCK
    return Cause.CREDENTIALS if said.kind in _CREDENTIALS | _SIGNATURE else Cause.DENIED


def _texts(cause: Cause, operation: Operation, status: int, kind: str) -> tuple[str, str]:
    """Return what is wrong, and the remedy."""
    if cause is Cause.THROTTLED:
        budget = "searches" if operation.budget is Budget.SEARCHES else "lookups"
        return THROTTLED, _THROTTLED_REMEDY.format(budget)
    if cause is Cause.CREDENTIALS:
        return f"AWS does not accept the credentials ({kind})", _CREDENTIALS_REMEDY
    if cause is Cause.UNAVAILABLE:
        return f"AWS reports an internal error ({kind or f'HTTP status {status}'})", ""
    if cause in _FIXED_TEXTS:
        return _FIXED_TEXTS[cause]
    if status in _REDIRECTS:
        detail = f"the server redirects (HTTP status {status}), as AWS never does"
    else:
        detail = f"the server does not answer as AWS does (HTTP status {status})"
    return detail, f"Check {_addresses(operation)}, and the proxy that HTTPS_PROXY names"


def _addresses(operation: Operation) -> str:
    """Return what may be wrong if another server is asked than that of AWS."""
    return "sqs.queue_url" if operation.service == "sqs" else "the addresses in the section aws"
