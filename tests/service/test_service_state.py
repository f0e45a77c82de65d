"""The service and its state file: what is restored, shown, held and released."""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
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
from presenced.store.tools import forget
from presenced.system.timestamps import clock_utc
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
        service = Service(made, load=lambda _: made)
        service.restore()
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        try:
            await until(lambda: service.readiness().text != "starting" or running.done())
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
    return service.clients[client_id].state.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


def test_while_the_broker_is_down_the_states_are_as_of_the_process_before(path: Path) -> None:
    before = int(time.time()) - 600
    write(path, row("a", state="online"), session_presenced=str(before))

    async def scenario(service: Service) -> None:
        url = f"http://127.0.0.1:{service.port}/api/v1/overview"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            daemon = (await answer.json())["daemon"]
        assert daemon["state"] == "not_receiving"
        as_of = datetime.fromisoformat(daemon["as_of"]).timestamp()
        assert as_of == pytest.approx(before, abs=1)
        assert f"The states are those of {clock_utc(as_of, before)}: " in daemon["meaning"][0]

    for _ in range(3):
        run(path, scenario)


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


def test_a_reload_with_another_rule_forgets_those_that_have_been_offline_for_longer(
    path: Path,
) -> None:
    made = settings(path)

    async def main() -> None:
        service = Service(
            made, load=lambda _: settings(path, PRESENCED_PRESENCE__FORGET_OFFLINE_AFTER="50ms")
        )
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        await until(lambda: service.readiness().text != "starting")
        service.ingest(message("a", None, "disconnected"))
        await until(lambda: "a" in service.clients)
        assert await service.reload() == []
        await until(lambda: "a" not in service.clients)
        stop.set()
        await running

    write(path)
    asyncio.run(main())


async def scrape(service: Service) -> str:
    url = f"http://127.0.0.1:{service.port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


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
    """Those that came first, and after them those that have waited longest."""
    long = "x" * 129

    def start(limit: int, shown: str, *, arriving: Iterable[str] = (), forgotten: str = "") -> None:
        async def scenario(service: Service) -> None:
            known = len(service.clients)
            for client_id in arriving:
                service.ingest(message(client_id, None))
                known += 1
            await until(lambda: len(service.clients) == known)
            if forgotten:
                forget(path, list(forgotten))
                await until(lambda: len(service.clients) == known - len(forgotten))
            lines = (await scrape(service)).splitlines()
            left = known - len(forgotten) - len(shown)
            assert f"presenced_clients_without_series {left}.0" in lines
            pattern = re.compile('iot_client_connected{client_id="(.*)"} 1')
            assert {m[1] for m in map(pattern.fullmatch, lines) if m} == set(shown)

        run(path, scenario, PRESENCED_METRICS__MAX_CLIENTS=str(limit), **CLEAN)

    start(2, "ez", arriving=["e", long, "z", "b", "y", "a"])
    start(2, "ez")
    start(1, "e")
    start(3, "ezb")
    start(2, "zb", forgotten="e")
    start(2, "zb", arriving="c")
    start(2, "ya", forgotten="zb")
    start(2, "ya")
    start(3, "yac")


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_clock_that_is_set_while_it_runs_neither_fires_nor_freezes_deadlines(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    wall, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: wall() + shift[0])
    write(path, pending("soon", left=0.3), pending("later", left=600.0))

    async def scenario(service: Service) -> None:
        shift[0] = step
        await until(lambda: state_of(service, "soon") == "offline")
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert state_of(service, "later") == "pending"
        shift[0] = 0.0

    run(path, scenario, PRESENCED_PRESENCE__OFFLINE_DELAY="1h", **CLEAN)


def test_clients_left_out_by_now_are_not_made_by_things_of_the_file(path: Path) -> None:
    write(
        path, row("test-1", state="unknown", connected=0, event_time=-1, version=None, session=None)
    )

    async def scenario(service: Service) -> None:
        assert service.clients == {}

    run(path, scenario, PRESENCED_PRESENCE__IGNORE_CLIENTS='["test-*"]')
    file = StateFile.open(path)
    assert clients_in(file) == {}
    file.close()


def test_a_message_is_acknowledged_once_its_client_is_in_the_file(path: Path) -> None:
    async def scenario(service: Service) -> None:
        acknowledged: list[bool] = []

        def acknowledge() -> None:
            assert service.clients["a"].state is State.ONLINE
            acknowledged.append(query(path, "SELECT client_id FROM clients") == [("a",)])

        service.ingest(message("a", acknowledge))
        await until(lambda: acknowledged == [True])

    run(path, scenario)


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
        running = asyncio.create_task(serve(made, load=lambda _: made))
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
