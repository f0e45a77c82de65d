"""MQTT over WebSocket as AWS IoT Core has it: the signature is verified by botocore's own code.

An accepted connection is bridged to a real broker.
"""

import asyncio
import contextlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from yarl import URL

from certificates import Certificates

KEY_ID, SECRET = "ASIAEXAMPLEKEYID0000", "secret/access+key"
_TOLERANCE = timedelta(minutes=5)
_FORMAT = "%Y%m%dT%H%M%SZ"


class Verifier(SigV4Auth):
    """Signs all headers of a request: those that the client has signed."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return HTTPHeaders.from_pairs((name.lower(), v) for name, v in request.headers.items())


class RefusedError(Exception):
    """A handshake that is refused, by the name that AWS has for it."""


@dataclass
class WebSocketEndpoint:
    """An endpoint on loopback with TLS, in a thread of its own, and the broker behind it.

    `tokens` are the session tokens that have not expired; `expired` those that have. `says_why` is
    whether a refusal names its reason, as AWS's other services do. `clock_ahead` is how many
    seconds the clock of the server is ahead. `status` is the answer to every handshake, if set.
    """

    certificates: Certificates
    broker_port: int
    tokens: set[str] = field(default_factory=lambda: {"token-1"})
    expired: set[str] = field(default_factory=set)
    region: str = "eu-west-1"
    says_why: bool = True
    clock_ahead: float = 0.0
    status: int | None = None
    port: int = 0
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: set[web.WebSocketResponse] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def end_connections(self) -> None:
        """Close every connection, as AWS does at the end of its longest life."""

        async def close() -> None:
            for each in list(self._open):
                await each.close(code=1001)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(30)

    def _run(self) -> None:
        runner = self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _serve(self) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.server_cert, self.certificates.server_key)
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=context).start()
        self.port = runner.addresses[0][1]
        return runner

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.clock_ahead, UTC)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.status is not None:
            return web.Response(status=self.status)
        try:
            token = self._verify(request)
        except RefusedError as error:
            kind, message = error.args
            self.refused.append(kind)
            date = formatdate(self._now.timestamp(), usegmt=True)
            body = json.dumps({"message": message if self.says_why else "Forbidden"})
            headers = {"x-amzn-ErrorType": kind} if self.says_why else {}
            return web.Response(status=403, text=body, headers={"Date": date, **headers})
        self.accepted.append(token)
        return await self._bridge(request)

    def _verify(self, request: web.BaseRequest) -> str:
        """The session token of a handshake that is signed well."""
        query = URL(request.raw_path, encoded=True).query
        if request.rel_url.path != "/mqtt" or "X-Amz-Signature" not in query:
            raise RefusedError("MissingAuthenticationTokenException", "Missing Token")
        key_id, _, region, service, _ = query["X-Amz-Credential"].split("/")
        token = query["X-Amz-Security-Token"]
        if token in self.expired:
            message = "The security token included in the request is expired"
            raise RefusedError("ExpiredTokenException", message)
        if key_id != KEY_ID or token not in self.tokens:
            message = "The security token included in the request is invalid."
            raise RefusedError("UnrecognizedClientException", message)
        signed_at = datetime.strptime(query["X-Amz-Date"], _FORMAT).replace(tzinfo=UTC)
        if signed_at < self._now - _TOLERANCE:
            message = f"Signature expired: {query['X-Amz-Date']} is now earlier than {token}"
            raise RefusedError("InvalidSignatureException", message)
        if (service, region) != ("iotdevicegateway", self.region):
            message = f"Credential should be scoped to a valid region, not '{region}'."
            raise RefusedError("InvalidSignatureException", message)
        if not secrets.compare_digest(self._signature(request, query), query["X-Amz-Signature"]):
            message = f"The request signature we calculated does not match: {request.raw_path}"
            raise RefusedError("InvalidSignatureException", message)
        return token

    def _signature(self, request: web.BaseRequest, query: "URL.query") -> str:
        """What botocore makes of the request, without its signature and its session token."""
        names = query["X-Amz-SignedHeaders"].split(";")
        left_out = ("X-Amz-Signature=", "X-Amz-Security-Token=")
        parts = urlsplit(request.raw_path).query.split("&")
        kept = "&".join(part for part in parts if not part.startswith(left_out))
        again = AWSRequest("GET", f"https://{request.host}/mqtt?{kept}")
        for name in names:
            again.headers[name] = request.headers[name]
        again.context["timestamp"] = query["X-Amz-Date"]
        again.context["payload_signing_enabled"] = True
        auth = Verifier(Credentials(KEY_ID, SECRET), "iotdevicegateway", self.region)
        text = auth.string_to_sign(again, auth.canonical_request(again))
        signature: str = auth.signature(text, again)
        return signature

    async def _bridge(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """Carry the bytes of MQTT in both directions."""
        socket = web.WebSocketResponse(protocols=("mqtt",), max_msg_size=0)
        await socket.prepare(request)
        assert socket.ws_protocol == "mqtt"
        self._open.add(socket)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.broker_port)

        async def back() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(data)
            await socket.close()

        answering = asyncio.create_task(back())
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
        finally:
            self._open.discard(socket)
            answering.cancel()
            writer.close()
        return socket


@contextlib.contextmanager
def websocket_endpoint(
    certificates: Certificates, broker_port: int, **settings: object
) -> Iterator[WebSocketEndpoint]:
    """An endpoint that is stopped however the test ends."""
    endpoint = WebSocketEndpoint(certificates, broker_port, **settings)  # type: ignore[arg-type]
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.stop()
