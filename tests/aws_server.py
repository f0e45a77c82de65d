"""A server that answers requests to AWS as a test says, and clients that ask it."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web
from awscrt import auth

from presenced.aws.budgets import Budgets
from presenced.aws.client import AwsClient, RequestCounts
from presenced.aws.credentials import Credentials, CredentialsCache
from presenced.aws.transport import Transport, client_tls
from presenced.settings import AwsEndpoints, ReconcileSettings
from presenced.system.loop import Clocks

KEY_ID, SECRET, TOKEN = "ASIAEXAMPLEKEYID0000", "secret/access+key", "session/token+very+long"


@dataclass
class Asked:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    certificate: dict[str, Any] | None


@dataclass
class AwsServer:
    """Answers each request with the next of `answers`, the last one again and again."""

    answers: list[Any]
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    async def __aenter__(self) -> "AwsServer":
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self._runner = runner
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        self.asked.append(
            Asked(
                request.method,
                request.path_qs if not request.rel_url.raw_path else str(request.raw_path),
                dict(request.headers),
                await request.read(),
                certificate,
            )
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = await answer(request)
        return answer.respond() if isinstance(answer, Says) else answer


@dataclass
class Says:
    """An answer of AWS."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"connected": True})
    kind: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def respond(self) -> web.Response:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"x-amzn-ErrorType": self.kind} if self.kind else {}
        return web.Response(status=self.status, body=body, headers={**headers, **self.headers})


def error(status: int, kind: str, message: str = "", **more: Any) -> Says:
    return Says(status, {"message": message}, kind, **more)


def date_of(seconds: float) -> dict[str, str]:
    """The header of an answer that was sent at this time."""
    return {"Date": formatdate(seconds, usegmt=True)}


@dataclass
class GivenCredentials:
    """Provides the same credentials again and again."""

    clocks: Clocks
    fetched: int = 0

    async def fetch(self) -> Credentials:
        self.fetched += 1
        signer = auth.AwsCredentialsProvider.new_static(KEY_ID, SECRET, TOKEN)
        return Credentials(signer, "given", None, self.clocks.wall() + 3600)


def make_client(url: str, clocks: Clocks, *, ca: Any = None, **rates: float) -> AwsClient:
    """A client of the server at a URL, with given credentials and no delays between attempts."""
    return AwsClient(
        AwsEndpoints("eu-west-1", url, url),
        CredentialsCache(GivenCredentials(clocks), clocks),
        Transport(lambda: client_tls(ca), clocks.wall),
        Budgets(ReconcileSettings(**rates), clocks.monotonic),
        RequestCounts(),
        clocks,
        jitter=lambda: 0.0,
    )


def run(scenario: Callable[[], Awaitable[None]], *, debug: bool = False) -> None:
    asyncio.run(scenario(), debug=debug)
