"""An emulated account with a fleet that a test controls, and its server in a thread."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from presenced_emulator.aws.account import EmulatedAccount, RoleAlias
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.connections import ConnectionTable
from presenced_emulator.lifecycle import Connection, ConnectionLedger, DisconnectReason
from presenced_emulator.registry import Registry

NOW = 1_764_200_000.123
"""When the clock of a fleet begins, in seconds since the epoch."""

DEADLINE = 20.0

Client = Callable[..., Any]
"""Makes a boto3 client of a service."""


class Fleet:
    """An account, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOW
        self.account = EmulatedAccount(Registry(random.Random(1)), ConnectionTable())
        self.account.role_aliases["presenced"] = RoleAlias("presenced-role")
        self.account.certificate_things.add("presenced")
        self._ledger = ConnectionLedger(random.Random(2))
        self._open: dict[str, Connection] = {}

    def create(self, name: str, **extra: Any) -> None:
        attributes = extra.pop("attributes", {})
        self.account.registry.create_thing(name, self.now, attributes=attributes, **extra)
        self.account.update([name], self.now)

    def connect(self, client_id: str, *, thing_name: str | None = None, **session: Any) -> None:
        connection = self._open[client_id] = self._ledger.open(
            client_id, principal="ab", ip_address="192.0.2.1", thing_name=thing_name
        )
        self.account.connections.open(connection, self.now, **session)
        self.account.update([client_id], self.now)

    def disconnect(self, client_id: str, reason: str = "CONNECTION_LOST") -> None:
        connection = self._open.pop(client_id)
        self.account.connections.close(connection, DisconnectReason(reason), self.now)
        self.account.update([client_id], self.now)


@contextmanager
def in_thread(server: AwsServer) -> Iterator[AwsServer]:
    """Run a server in a thread, because boto3 blocks. Raises OSError if it cannot listen."""
    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    failures: list[OSError] = []

    async def serve() -> None:
        try:
            async with server:
                started.set()
                await stop.wait()
        except OSError as error:
            failures.append(error)
            started.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(DEADLINE)
        if failures:
            raise failures[0]
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)
        loop.close()


def search_all(iot: Any, **parameters: Any) -> dict[str, Any]:
    """All rows of SearchIndex by name; a row that comes twice is an error."""
    rows: dict[str, Any] = {}
    while True:
        page = iot.search_index(**parameters)
        for row in page["things"]:
            assert row["thingName"] not in rows
            rows[row["thingName"]] = row
        if page.get("nextToken") is None:
            return rows
        parameters["nextToken"] = page["nextToken"]
