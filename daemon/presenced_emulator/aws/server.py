"""AWS IoT Core's control plane, data plane and credential provider as one server on loopback."""

import asyncio
import json
import random
import ssl
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any, NamedTuple, Self

from aiohttp import web

from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.answers import Body
from presenced_emulator.aws.credentials import Credentials, CredentialStore
from presenced_emulator.aws.errors import ERROR_STATUS, AwsError
from presenced_emulator.aws.faults import Faults
from presenced_emulator.aws.gateway import CredentialsRefusedError, Gateway
from presenced_emulator.aws.operations import OPERATIONS
from presenced_emulator.aws.signatures import SignedRequest
from presenced_emulator.certificates import HOST

ADDRESS = "127.0.0.1"
CREDENTIALS = "credentials"
"""The name of the credential provider's request among those of the operations."""

_REMEMBERED_REQUESTS = 100_000


class AnsweredRequest(NamedTuple):
    """A request that arrived `at` this time of AWS's clock, and the HTTP status of its answer.

    The status is 0 if the connection was closed instead.
    """

    at: float
    operation: str
    parameters: Mapping[str, Any]
    status: int


class AwsServer:
    """An async context manager: HTTPS and plain HTTP on ports of the loopback inside it.

    Operations need a signature by credentials that `issue` or the credential provider has issued.
    The credential provider needs HTTPS and a client certificate; `tls` asks for one. `faults` may
    be changed at any time. `clock` is the wall clock in seconds, `https_port` 0 any free port.
    """

    def __init__(
        self,
        account: EmulatedAccount,
        tls: ssl.SSLContext,
        *,
        seed: int,
        clock: Callable[[], float] = time.time,
        https_port: int = 0,
    ) -> None:
        self.account = account
        self.faults = Faults()
        self.requests: deque[AnsweredRequest] = deque(maxlen=_REMEMBERED_REQUESTS)
        """The latest requests in the order of their answers."""
        rng = random.Random(f"{seed}/aws")  # noqa: S311  # repeatable, not secret
        self._store = CredentialStore()
        self._gateway = Gateway(account, self.faults, self._store, rng)
        self._tls = tls
        self._clock = clock
        self._https_port = https_port
        self._runner: web.AppRunner

    @property
    def https_url(self) -> str:
        """The URL of all services; the certificate is for `localhost`."""
        return f"https://{HOST}:{self._runner.addresses[0][1]}"

    @property
    def http_url(self) -> str:
        """The URL of the operations without TLS."""
        return f"http://{ADDRESS}:{self._runner.addresses[1][1]}"

    @property
    def now(self) -> float:
        """The time of AWS's clock, in seconds since the epoch."""
        return self._clock() + self.faults.clock_offset

    def issue(self, role: str, validity: float = 3600.0) -> Credentials:
        """Issue credentials without the credential provider, as an operator would have them."""
        return self._store.issue(role, validity, self.now)

    async def __aenter__(self) -> Self:
        """Start to listen."""
        application = web.Application()
        for name, operation in OPERATIONS.items():
            handler = partial(self._respond, name, partial(self._operate, name))
            application.router.add_route(operation.method, operation.path, handler)
        handler = partial(self._respond, CREDENTIALS, self._provide_credentials)
        application.router.add_get("/role-aliases/{roleAlias}/credentials", handler)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        https = web.TCPSite(self._runner, ADDRESS, self._https_port, ssl_context=self._tls)
        await https.start()
        await web.TCPSite(self._runner, ADDRESS, 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self._runner.cleanup()

    async def _respond(
        self,
        operation: str,
        answer: Callable[[web.Request, dict[str, Any], bytes], Body],
        request: web.Request,
    ) -> web.StreamResponse:
        """Answer a request, or let it fail as `faults` has it."""
        at, body = self.now, await request.read()
        await asyncio.sleep(self.faults.delay)
        parameters: dict[str, Any] = {**request.query, **request.match_info}
        response = self._broken_response(request)
        if response is None:
            try:
                parameters |= _json_object(body)
                response = self._json(200, answer(request, parameters, body))
            except AwsError as error:
                status = self.faults.statuses.get(error.kind, ERROR_STATUS[error.kind])
                response = self._json(status, {"message": error.message}, error.kind)
            except CredentialsRefusedError as refusal:
                cause = refusal.cause
                kind = "AccessDeniedException" if cause.status == 403 else "InvalidRequestException"
                response = self._json(cause.status, {"message": cause.message}, kind)
        status = 0 if self.faults.disconnecting else response.status
        self.requests.append(AnsweredRequest(at, operation, parameters, status))
        return response

    def _broken_response(self, request: web.Request) -> web.Response | None:
        """Return an answer that is none of AWS's, None without such a fault."""
        if self.faults.disconnecting:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if self.faults.redirect is not None:
            return web.Response(status=307, headers={"Location": self.faults.redirect})
        if self.faults.garbled:
            return web.Response(text="<html>Welcome</html>", content_type="text/html")
        return None

    def _json(self, status: int, body: Body, error: str | None = None) -> web.Response:
        headers = {
            "Date": formatdate(self.now, usegmt=True),
            "x-amzn-RequestId": str(uuid.uuid4()),
        }
        if error is not None:
            headers["x-amzn-ErrorType"] = error + self.faults.error_suffix
        return web.json_response(body, status=status, headers=headers)

    def _operate(
        self, operation: str, request: web.Request, parameters: dict[str, Any], body: bytes
    ) -> Body:
        signed = SignedRequest(request.method, request.raw_path, request.headers, body)
        return self._gateway.answer(operation, signed, parameters, self.now)

    def _provide_credentials(
        self, request: web.Request, parameters: dict[str, Any], _: bytes
    ) -> Body:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        thing_name = request.headers.get("x-amzn-iot-thingname")
        return self._gateway.credentials(
            parameters["roleAlias"], thing_name, self.now, with_certificate=bool(certificate)
        )


def _json_object(body: bytes) -> dict[str, Any]:
    """Return the parameters in a body. Raises AwsError."""
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AwsError("InvalidRequestException", "The body is not a JSON object")
    return found
