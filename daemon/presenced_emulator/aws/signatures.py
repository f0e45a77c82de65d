"""Signature version 4 of requests, as AWS verifies it.

The rules are those of "Create a signed AWS API request" in the IAM user guide. Pure: the time is an
argument, in seconds since the epoch.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

from presenced_emulator.aws.credentials import Credentials
from presenced_emulator.aws.errors import AwsError

TOLERANCE = timedelta(minutes=5)
"""How far a request's time may be from AWS's."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_TIME = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    rf"{_ALGORITHM} Credential=([^/, ]+)/(\d{{8}})/([^/, ]+)/([^/, ]+)/aws4_request, ?"
    r"SignedHeaders=([^, ]+), ?Signature=([0-9a-f]{64})"
)
_UNRESERVED = "-_.~"


class SignedRequest(NamedTuple):
    """A request as it was sent: `target` is path and query with their percent-encoding."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Scope(NamedTuple):
    """What a signature must be made for."""

    region: str
    service: str


def verify(
    request: SignedRequest, scope: Scope, find: Callable[[str, str], Credentials], now: float
) -> Credentials:
    """Return the credentials that signed a request. Raises AwsError.

    `find` returns those of an access key ID and a session token, or raises AwsError.
    """
    headers = {name.lower(): value.strip() for name, value in request.headers.items()}
    if "authorization" not in headers:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(headers["authorization"])
    if found is None or "x-amz-date" not in headers:
        message = "The header Authorization is malformed, or there is no header X-Amz-Date"
        raise AwsError("IncompleteSignatureException", message)
    key_id, day, region, service, names, signature = found.groups()
    credentials = find(key_id, headers.get("x-amz-security-token", ""))
    _check_time(headers["x-amz-date"], now)
    _check_scope(Scope(region, service), scope)
    digest = hashlib.sha256(_canonical_request(request, headers, names).encode()).hexdigest()
    granted = (day, region, service, "aws4_request")
    text = "\n".join((_ALGORITHM, headers["x-amz-date"], "/".join(granted), digest))
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (*granted, text):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(key.hex(), signature):
        raise AwsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check"
            " your AWS Secret Access Key and signing method. Consult the service documentation for"
            " details.",
        )
    return credentials


def _check_time(signed: str, now: float) -> None:
    try:
        moment = datetime.strptime(signed, _TIME).replace(tzinfo=UTC)
    except ValueError:
        message = "Date must be in ISO-8601 'basic format'"
        raise AwsError("IncompleteSignatureException", message) from None
    present = datetime.fromtimestamp(now, UTC)
    shown = present.strftime(_TIME)
    if moment < present - TOLERANCE:
        limit = (present - TOLERANCE).strftime(_TIME)
        message = f"Signature expired: {signed} is now earlier than {limit} ({shown} - 5 min.)"
        raise AwsError("InvalidSignatureException", message)
    if moment > present + TOLERANCE:
        limit = (present + TOLERANCE).strftime(_TIME)
        late = f"{signed} is still later than {limit} ({shown} + 5 min.)"
        raise AwsError("InvalidSignatureException", f"Signature not yet current: {late}")


def _check_scope(signed: Scope, scope: Scope) -> None:
    if signed.service != scope.service:
        message = f"Credential should be scoped to correct service: '{scope.service}'."
        raise AwsError("InvalidSignatureException", message)
    if signed.region != scope.region:
        message = f"Credential should be scoped to a valid Region, not '{signed.region}'."
        raise AwsError("InvalidSignatureException", message)


def _canonical_request(request: SignedRequest, headers: Mapping[str, str], names: str) -> str:
    path, _, query = request.target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(k, safe=_UNRESERVED), quote(v, safe=_UNRESERVED)) for k, v in pairs)
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names.split(";")]
    return "\n".join(
        (
            request.method,
            # Services other than S3 encode the path, which is encoded already, once more.
            quote(_without_dots(path), safe=f"/{_UNRESERVED}"),
            "&".join(f"{name}={value}" for name, value in encoded),
            *lines,
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
        )
    )


def _without_dots(path: str) -> str:
    """Return a path without empty, `.` and `..` segments, as signers do."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    last = "/" if kept and path.endswith("/") else ""
    return f"/{'/'.join(kept)}{last}"
