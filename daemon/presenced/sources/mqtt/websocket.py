"""MQTT over WebSocket with AWS IoT Core, whose handshake is signed with credentials of an IAM role.

AWS answers a handshake that it refuses with an HTTP status, and awscrt does not pass that on. So
`upgrade` repeats the handshake, up to the answer.
"""

import asyncio
import json
import ssl
import time
from base64 import b64encode
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from secrets import token_bytes
from typing import Any

from awscrt.exceptions import AwsCrtError
from multidict import CIMultiDict

from presenced.aws.credentials import Credentials, DefaultChainProvider
from presenced.aws.errors import AwsError
from presenced.aws.refusals import CLOCK_TOLERANCE, clock_ahead, clock_texts, error_named
from presenced.aws.signing import sign_handshake, signed_handshake
from presenced.aws.transport import HttpAnswer
from presenced.settings.partitions import region_of_endpoint
from presenced.settings.values import format_duration
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.faults import Fault, FaultReason, policy_statement
from presenced.sources.mqtt.link import ConnectError
from presenced.system.loop import Clocks

_MAX_BODY = 64 * 1024
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}
_WHERE_FROM = (
    "Give this machine, container or pod a role, or set the variables AWS_ACCESS_KEY_ID,"
    " AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
)
_RENEW = (
    "Renew them where they come from; the next attempt to connect uses new ones, except those of"
    " environment variables, which take a restart"
)


async def find_credentials(options: ConnectionOptions) -> Credentials:
    """Return credentials for one handshake, those of the runtime's default chain.

    They are looked up anew each time, so that renewed ones are used. Raises ConnectError if there
    are none that are valid now.
    """
    limit = options.answer_timeout
    try:
        async with asyncio.timeout(limit):
            found = await DefaultChainProvider(Clocks(time.monotonic, time.time)).fetch()
    except TimeoutError:
        detail = f"there were no credentials within {format_duration(limit)}"
        raise ConnectError(Fault(FaultReason.CREDENTIALS, detail, _WHERE_FROM)) from None
    except AwsError as error:
        raise ConnectError(Fault(FaultReason.CREDENTIALS, error.detail, _WHERE_FROM)) from None
    if found.expires is not None and found.expires <= time.time():
        raise ConnectError(_expired(f"the credentials from {found.source} have expired"))
    return found


class HandshakeSigner:
    """Signs the handshake of one connection of awscrt."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._credentials: Credentials | None = None

    async def prepare(self) -> None:
        """Look up the credentials, before the connection is made. Raises ConnectError."""
        self._credentials = await find_credentials(self._options)

    def sign(self, transform_args: Any) -> None:
        """Sign a handshake, as the library's `websocket_handshake_transform`; on its thread."""
        try:
            assert self._credentials is not None  # noqa: S101 - prepared
            signed = sign_handshake(
                transform_args.http_request,
                signer=self._credentials.signer,
                region=self._options.signing_region or "",
            )
            signed.add_done_callback(lambda done: transform_args.set_done(done.exception()))
        except Exception as error:  # noqa: BLE001 - without `set_done` the library would hang
            transform_args.set_done(error)


def upgrade(
    secured: ssl.SSLSocket, options: ConnectionOptions, credentials: Credentials
) -> Fault | None:
    """Send a signed handshake over a TLS connection; return why it is refused, None if it is not.

    Blocks. The connection cannot be used afterwards. No MQTT packet is sent.
    """
    try:
        target = signed_handshake(
            options.endpoint, signer=credentials.signer, region=options.signing_region or ""
        )
    except AwsCrtError as error:
        detail = f"the WebSocket handshake cannot be signed ({error.name})"
        return Fault(FaultReason.CREDENTIALS, detail, _RENEW)
    connection = HTTPConnection(options.endpoint)
    connection.sock = secured
    key = b64encode(token_bytes(16)).decode()
    try:
        connection.request("GET", target, headers={**_UPGRADE, "Sec-WebSocket-Key": key})
        response = connection.getresponse()
        body = response.read(_MAX_BODY)
    except TimeoutError:
        return _no_websocket(options, "does not answer the WebSocket handshake")
    except (OSError, HTTPException):
        return _no_websocket(options, "does not answer a WebSocket handshake by HTTP")
    if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return None
    headers = CIMultiDict(response.getheaders())
    return _refusal(HttpAnswer(response.status, headers, body, time.time()), options)


def upgrade_refused(options: ConnectionOptions) -> Fault:
    """Return the fault of a handshake that the server refused, as far as awscrt reports it."""
    return _no_websocket(options, "refused the WebSocket handshake")


def _refusal(answer: HttpAnswer, options: ConnectionOptions) -> Fault:
    """Return the fault of an answer other than 101, which says that the handshake succeeded."""
    status = answer.status
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _not_accepted(answer, options)
    if status == HTTPStatus.NOT_FOUND:
        return _no_websocket(options, "has no MQTT over WebSocket (HTTP status 404)")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        detail = f"AWS is not able to accept the connection now (HTTP status {status})"
        remedy = "The daemon keeps trying, at growing intervals"
        return Fault(FaultReason.CONNECT_REFUSED, detail, remedy)
    return _no_websocket(options, f"does not answer as AWS IoT Core does (HTTP status {status})")


def _not_accepted(answer: HttpAnswer, options: ConnectionOptions) -> Fault:
    """Return what is wrong with the signature or the credentials; AWS may not say what it is."""
    kind, message, _ = error_named(answer)
    ahead = clock_ahead(answer)
    if (ahead is not None and abs(ahead) >= CLOCK_TOLERANCE) or message.startswith(
        ("Signature expired", "Signature not yet current")
    ):
        return Fault(FaultReason.CREDENTIALS, *clock_texts(ahead))
    if kind.startswith("ExpiredToken"):
        return _expired("AWS says that the session token has expired")
    if kind in ("UnrecognizedClientException", "InvalidClientTokenId"):
        detail = "AWS does not know the access key, or the session token is not the one of this key"
        return Fault(FaultReason.CREDENTIALS, f"{detail} ({kind})", _RENEW)
    if "scoped to a valid region" in message.lower():
        return _other_region(options)
    if kind in ("InvalidSignatureException", "SignatureDoesNotMatch"):
        detail = "the secret access key does not belong to the access key ID"
        return Fault(FaultReason.CREDENTIALS, f"{detail} ({kind})", _RENEW)
    return _forbidden(answer.status, options)


def _expired(detail: str) -> Fault:
    return Fault(FaultReason.CREDENTIALS, detail, _RENEW)


def _other_region(options: ConnectionOptions) -> Fault:
    where = "mqtt.endpoint" if region_of_endpoint(options.endpoint) else "aws.region"
    return Fault(
        FaultReason.CREDENTIALS,
        f"the server at {options.address} belongs to another region than"
        f" {options.signing_region}, which {where} names and the handshake is signed for",
        f"Correct {where}",
    )


def _forbidden(status: int, options: ConnectionOptions) -> Fault:
    """Return the fault of a refusal without a reason, as AWS IoT Core makes it."""
    names = [("Connect", options.client_id)]
    for each in options.filters:
        names += [("Subscribe", each), ("Receive", each)]
    statements = ", ".join(
        json.dumps(policy_statement(action, name, options.endpoint))  # type: ignore[arg-type]
        for action, name in names
    )
    return Fault(
        FaultReason.CREDENTIALS,
        "AWS refuses the WebSocket handshake and does not say why"
        f" (HTTP status {status}, signed for {options.signing_region})",
        "Check that the credentials are complete and valid (run `aws sts get-caller-identity` with"
        " them), that they belong to the account of mqtt.endpoint, and that a policy of their IAM"
        f" role contains {statements}",
    )


def _no_websocket(options: ConnectionOptions, what: str) -> Fault:
    return Fault(
        FaultReason.CONNECT_REFUSED,
        f"the server at {options.address} {what}",
        "Check mqtt.endpoint (aws iot describe-endpoint --endpoint-type iot:Data-ATS) and"
        " mqtt.port; mqtt.auth: sigv4 is for AWS IoT Core only",
    )
