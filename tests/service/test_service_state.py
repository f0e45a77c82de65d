"""The service and its state file: what is restored, shown, held and let go."""

import asyncio
import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from brokers import free_port
from presenced.commands.run import serve
from presenced.presence import State
from presenced.service.service import Service
from presenced.settings import Settings, load_settings
from presenced.store.changes import Changes
from presenced.store.errors import StateUnusableError
from presenced.store.file import StateFile
from presenced.store.schema import ClientRow, CounterRow
from statefiles import client_row as row
from statefiles import clients_in, of_clients, query
from waiting import until


def settings(path: Path, **values: str) -> Settings:
    environ = {
        "PRESENCED_MQTT__ENDPOINT": "localhost",
        "PRESENCED_MQTT__PORT": str(free_port()),
        "PRESENCED_MQTT__TLS": "false",
        "PRESENCED_METRICS__LISTEN": "127.0.0.1:0",
        "PRESENCED_STATE__PATH": str(path),
    }
    return load_settings(None, environ=environ | values)


def run(path: Path, scenario: Callable[[Service], Awaitable[None]], **values: str) -> None:
    """Run a service with a broker that is down, and the scenario beside it."""

    async def main() -> None:
        made = settings(path, **values)
        service = Service(made, load=lambda: made)
        service.restore()
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        try:
            await until(lambda: service._connections.statuses or running.done())
            await scenario(service)
        finally:
            stop.set()
            await running

    asyncio.run(main())


def write(path: Path, *rows: ClientRow, **notes: str) -> None:
    changes: Changes = of_clients(*rows)
    for key, value in notes.items():
        changes.note(key.replace("_", " ", 1), value)
    file = StateFile.open(path)
    file.commit(changes)
    file.close()


def pending(client_id: str = "a", *, left: float = 0.2) -> ClientRow:
    now = time.time()
    return row(client_id, state="pending", since=now - 1, transition=now - 9, connected=0)._replace(
        deadline=now + left
    )


def state_of(service: Service, client_id: str = "a") -> str:
    return service._presence.clients[client_id].state.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


CLEAN = {"PRESENCED_MQTT__SESSION_EXPIRY": "0s"}


@pytest.mark.parametrize("left", [-60.0, 0.2])
def test_a_restored_deadline_fires_where_nothing_is_kept_for_it(path: Path, left: float) -> None:
    """No message comes, and nothing else would wake the timer."""
    write(path, pending(left=left))

    async def scenario(service: Service) -> None:
        await until(lambda: state_of(service) == "offline")

    run(path, scenario, **CLEAN)


def test_a_restored_deadline_fires_where_the_session_has_expired_long_since(path: Path) -> None:
    write(path, pending(left=-86000.0), session_presenced=str(time.time() - 86400))

    async def scenario(service: Service) -> None:
        await until(lambda: state_of(service) == "offline")

    run(path, scenario)


def test_a_restored_deadline_is_held_while_the_broker_may_know_better(path: Path) -> None:
    write(path, pending(left=-3.0), session_presenced=str(time.time() - 10))

    async def scenario(service: Service) -> None:
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert state_of(service) == "pending"
        service._gap_detector.up("presenced", resumed=True)
        assert "catching up" in service._readiness().text or service._connections.problems
        assert state_of(service) == "pending"
        service._gap_detector.look(
            service._connections.statuses, service._pipeline.traffic, stalled=True
        )
        await until(lambda: state_of(service) == "offline", what="it is quiet")

    run(path, scenario)


def test_a_reload_with_another_rule_forgets_those_that_have_been_offline_for_longer(
    path: Path,
) -> None:
    made = settings(path)

    async def main() -> None:
        service = Service(
            made, load=lambda: settings(path, PRESENCED_PRESENCE__FORGET_OFFLINE_AFTER="50ms")
        )
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        await until(lambda: service._connections.statuses)
        service._delivery.inbox.put(message("a", None, "disconnected"))
        await until(lambda: "a" in service._presence.clients)
        assert await service.reload() == []
        await until(lambda: "a" not in service._presence.clients)
        stop.set()
        await running

    write(path)
    asyncio.run(main())


def tell(service: Service, client_id: str, acknowledge: Callable[[], None] | None = None) -> None:
    service._delivery.inbox.put(message(client_id, acknowledge))
    service._delivery.inbox.drain()


def message(client_id: str, acknowledge: Callable[[], None] | None, what: str = "connected") -> Any:
    from presenced.events.message import Message

    return Message(
        topic=f"$aws/events/presence/{what}/{client_id}",
        payload=json.dumps({"versionNumber": 1, "sessionIdentifier": "s"}).encode(),
        qos=1,
        received=time.time(),
        moment=time.monotonic(),
        connection="presenced",
        acknowledge=acknowledge,
    )


def test_above_max_clients_the_same_clients_have_series_after_a_restart(path: Path) -> None:
    shown: list[bytes] = []

    async def scenario(service: Service) -> None:
        for client_id in "dbeac" if not shown else "":
            tell(service, client_id)
        assert service._view.clients_without_series == 3
        text = b"".join(block.text for block in service._view.series.blocks())
        shown.append(b"\n".join(sorted(text.splitlines())))

    for _ in range(2):
        run(path, scenario, PRESENCED_METRICS__MAX_CLIENTS="2", **CLEAN)
    assert shown[0] == shown[1]
    assert all(f'{{client_id="{name}"}} 1'.encode() in shown[0] for name in "ab")


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_clock_that_is_set_while_it_runs_neither_fires_nor_freezes_deadlines(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    wall = time.time
    write(path, pending("soon", left=0.3), pending("later", left=600.0))

    async def scenario(service: Service) -> None:
        monkeypatch.setattr(time, "time", lambda: wall() + step)
        await until(lambda: state_of(service, "soon") == "offline")
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert state_of(service, "later") == "pending"
        monkeypatch.setattr(time, "time", wall)

    run(path, scenario, PRESENCED_PRESENCE__OFFLINE_DELAY="1h", **CLEAN)


def test_clients_left_out_by_now_are_not_made_by_things_of_the_file(path: Path) -> None:
    write(
        path, row("test-1", state="unknown", connected=0, event_time=-1, version=None, session=None)
    )

    async def scenario(service: Service) -> None:
        assert service._presence.clients == {}

    run(path, scenario, PRESENCED_PRESENCE__IGNORE_CLIENTS='["test-*"]')
    file = StateFile.open(path)
    assert clients_in(file) == {}
    file.close()


def test_a_message_is_acknowledged_once_its_client_is_in_the_file(path: Path) -> None:
    async def scenario(service: Service) -> None:
        acknowledged: list[bool] = []

        def acknowledge() -> None:
            assert service._presence.clients["a"].state is State.ONLINE
            acknowledged.append(service._store.counts.commits > 0)

        tell(service, "a", acknowledge)
        assert acknowledged == []
        await until(lambda: acknowledged == [True])

    run(path, scenario)


def test_no_deadline_fires_after_a_message_that_waits_for_its_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may hold back the connect that would cancel it until this one is acknowledged."""
    monkeypatch.setattr("presenced.service.delivery._STALLED_AFTER", math.inf)
    commit, disk = StateFile.commit, threading.Event()

    def commit_slowly(file: StateFile, changes: Changes) -> int:
        disk.wait(20)
        return commit(file, changes)

    monkeypatch.setattr(StateFile, "commit", commit_slowly)

    async def scenario(service: Service) -> None:
        acknowledged: list[str] = []
        for what in ("connected", "disconnected"):
            note = partial(acknowledged.append, what)
            service._delivery.inbox.put(message("a", note, what))
        service._delivery.inbox.drain()
        deadline = service._presence.clients["a"].deadline
        assert deadline is not None
        await until(lambda: time.monotonic() > deadline)
        service._delivery._fire()
        assert (state_of(service), acknowledged) == ("pending", [])
        disk.set()
        await until(lambda: state_of(service) == "offline")
        assert acknowledged == ["connected", "disconnected"]

    run(path, scenario, PRESENCED_PRESENCE__OFFLINE_DELAY="50ms", **CLEAN)


@pytest.mark.parametrize(
    ("on_error", "acknowledged"), [("continue", ["a", "b", "c"]), ("stall", ["b", "c"])]
)
def test_a_flush_that_fails_lets_nothing_be_acknowledged_that_was_not_applied(
    path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str, acknowledged: list[str]
) -> None:
    async def scenario(service: Service) -> None:
        assert service._store is not None
        collector, process = service._store._collector, service._pipeline.process
        collect, told = collector.collect, list[str]()

        def fail_once() -> Changes:
            monkeypatch.setattr(collector, "collect", collect)
            raise ZeroDivisionError

        def acknowledge(client_id: str) -> None:
            assert client_id in service._presence.clients
            told.append(client_id)

        monkeypatch.setattr(collector, "collect", fail_once)
        monkeypatch.setattr(
            service._pipeline, "process", lambda some, most: process(some[:1], most)
        )
        for name in "abc":
            service._delivery.inbox.put(message(name, partial(acknowledge, name)))
        service._delivery.inbox.drain()
        assert set(service._presence.clients) == {"a", "b", "c"}
        await until(lambda: told == acknowledged)
        assert service._pipeline.held_at == math.inf
        assert service._delivery.inbox.undelivered == 0
        assert service._store.counts.failures["other"] == 1
        assert query(path, "SELECT count(*) FROM clients") == [(3,)]

    run(path, scenario, PRESENCED_STATE__ON_ERROR=on_error, **CLEAN)


def test_what_was_read_before_the_disk_failed_is_not_half_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, row("a"), row("b"))
    read, listen = StateFile.read, f"127.0.0.1:{free_port()}"
    made = settings(path, PRESENCED_METRICS__LISTEN=listen)

    def fail_after_clients(file: StateFile, row_type: type) -> Any:
        if row_type is CounterRow:  # which come last
            raise StateUnusableError(path, "io", "disk I/O error")
        return read(file, row_type)

    monkeypatch.setattr(StateFile, "read", fail_after_clients)

    async def main() -> None:
        running = asyncio.create_task(serve(made, load=lambda: made))
        text = ""
        async with aiohttp.ClientSession() as session:
            while "presenced_state_unavailable 1.0" not in text:
                assert not running.done()
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    text = await (await session.get(f"http://{listen}/metrics")).text()
                await asyncio.sleep(0.01)
        assert 'iot_clients{state="online"} 0.0' in text
        os.kill(os.getpid(), signal.SIGTERM)
        await running

    asyncio.run(main())
