"""The embedded broker and a subscriber on it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest

from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import Certificates, issue
from presenced_emulator.clients import Server

DEADLINE = 20.0

Event = dict[str, Any]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))


class Stage:
    """The broker, how devices reach it, and what a subscriber of `$aws/events/#` has received."""

    def __init__(self, broker: EmulatedBroker, certificates: Certificates) -> None:
        self.broker = broker
        self.devices = Server("localhost", broker.port, certificates.devices)
        self.messages: list[tuple[str, Event]] = []
        self._arrived = asyncio.Event()

    async def collect(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert message.qos == 1
            assert isinstance(message.payload, bytes)
            self.messages.append((str(message.topic), json.loads(message.payload)))
            self._arrived.set()

    def events(self, client_id: str, kind: str) -> list[Event]:
        """The events of one kind in the order of their versions, each once."""
        found = {
            (event.get("versionNumber"), event["timestamp"]): event
            for topic, event in self.messages
            if topic.startswith("$aws/events/")
            and topic.endswith(f"/{kind}/{client_id}")
            and event["eventType"] == kind
            and event["clientId"] == client_id
        }
        return [found[key] for key in sorted(found)]

    async def event(self, client_id: str, kind: str, count: int = 1) -> Event:
        """Wait for the count-th event of that kind."""
        async with asyncio.timeout(DEADLINE):
            while len(found := self.events(client_id, kind)) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return found[count - 1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self.messages]

    @property
    def connected(self) -> set[str]:
        return set(self.broker.truth().without("presenced").connected)


@pytest.fixture
def stage(certificates: Certificates) -> Callable[[], Any]:
    @asynccontextmanager
    async def open_stage() -> AsyncIterator[Stage]:
        async with EmulatedBroker(certificates, seed=1) as broker:
            stage = Stage(broker, certificates)
            async with aiomqtt.Client(
                "localhost", broker.port, identifier="presenced", tls_context=certificates.devices
            ) as client:
                await client.subscribe("$aws/events/#", qos=1)
                collecting = asyncio.create_task(stage.collect(client))
                try:
                    yield stage
                finally:
                    collecting.cancel()
                    await asyncio.wait({collecting})

    return open_stage


@pytest.fixture
def watcher(certificates: Certificates) -> Callable[..., aiomqtt.Client]:
    """Makes clients of a stage's broker."""

    def client(on: Stage, name: str = "watcher") -> aiomqtt.Client:
        return aiomqtt.Client(
            "localhost", on.broker.port, identifier=name, tls_context=certificates.devices
        )

    return client


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
