"""The listener with a web configuration file, and clients that ask it."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from fleet_sources import metric_sources
from presenced.fleet import Fleet
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.exposition import Exposition
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.settings import ListenAddress, MetricsSettings
from presenced.sources.mqtt.connection_options import TlsFiles
from presenced.system.supervision import Readiness
from presenced.web.passwords import PasswordCheck
from presenced.web.protection import ProtectionWatcher
from presenced.web.server import Listener
from waiting import until_async


def client_context(ca: Path, pair: TlsFiles | None = None, **versions: Any) -> ssl.SSLContext:
    """TLS of a client that trusts the authority and shows the pair, where there is one."""
    context = ssl.create_default_context(cafile=str(ca))
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    for name, version in versions.items():
        setattr(context, name, version)
    return context


@dataclass
class Client:
    """Asks one listener."""

    listener: Listener
    file: Path
    tls: ssl.SSLContext | None = None

    async def get(
        self,
        path: str = "/metrics",
        *,
        tls: ssl.SSLContext | None = None,
        user: tuple[str, str] | None = None,
        port: int | None = None,
        **request: Any,
    ) -> aiohttp.ClientResponse:
        """The answer, on a connection of its own, with its body read."""
        tls = tls or self.tls
        scheme = "https" if tls and port is None else "http"
        url = f"{scheme}://127.0.0.1:{port or self.listener.port}{path}"
        if user:
            encoded = base64.b64encode(":".join(user).encode()).decode()
            request["headers"] = {"Authorization": f"Basic {encoded}"}
        async with aiohttp.ClientSession() as session:
            answer = await session.get(url, ssl=tls or False, **request)
            await answer.read()
            return answer

    async def status(self, path: str = "/metrics", **request: Any) -> int:
        return (await self.get(path, **request)).status

    async def refused(self, **request: Any) -> bool:
        """Whether no answer is to be had."""
        try:
            await self.get(**request)
        except aiohttp.ClientError:
            return True
        return False

    async def served_serial(self, tls: ssl.SSLContext) -> int:
        """The serial number of the certificate that a new connection is shown."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.listener.port, ssl=tls)
        certificate = writer.get_extra_info("peercert")
        writer.close()
        return int(certificate["serialNumber"], 16)

    def configure(self, config: dict[str, Any]) -> None:
        """Write the web configuration file anew."""
        self.file.write_text(yaml.safe_dump(config))

    async def becomes(self, status: int, **request: Any) -> None:
        """Ask until this is the status of the answer."""
        await until_async(lambda: self._has(status, **request), what=f"status {status}")

    async def becomes_refused(self, **request: Any) -> None:
        """Ask until no answer is to be had."""
        await until_async(lambda: self.refused(**request), what="no answer")

    async def _has(self, status: int, **request: Any) -> bool:
        try:
            return await self.status(**request) == status
        except aiohttp.ClientError:
            return False


class Logged:
    """What a test has logged so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def count(self, text: str) -> int:
        self._text += "".join(self._capsys.readouterr())
        return self._text.count(text)


@asynccontextmanager
async def listening(
    directory: Path,
    config: dict[str, Any],
    *,
    tls: ssl.SSLContext | None = None,
    health: ListenAddress | None = None,
    passwords: PasswordCheck | None = None,
) -> AsyncIterator[Client]:
    """A listener on a free loopback port with this web configuration file."""
    file = directory / "web.yml"
    file.write_text(yaml.safe_dump(config))
    pipeline = Pipeline(Fleet(PresenceRules()))
    view = metric_sources(pipeline, ClientMetrics(pipeline.fleet, MetricsSettings()))
    readiness = Readiness(ready=True, text="ready")
    watcher = ProtectionWatcher(file, interval=0.02)
    listener = Listener(
        "127.0.0.1",
        0,
        Exposition(view),
        lambda: readiness,
        watcher=watcher,
        health=health,
        passwords=passwords,
    )
    await listener.open()
    watching = asyncio.create_task(watcher.watch())
    try:
        yield Client(listener, file, tls)
    finally:
        watching.cancel()
        await listener.close()


def with_listener(
    directory: Path, config: dict[str, Any], use: Callable[[Client], Awaitable[None]], **more: Any
) -> None:
    """Run `use` with a client of such a listener."""

    async def run() -> None:
        async with listening(directory, config, **more) as client:
            await use(client)

    asyncio.run(run())
