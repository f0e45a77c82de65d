"""Whatever happens to the bytes of the state file, the daemon runs and can write it again."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from brokers import free_port
from fleet_process import DELAY, Process, Time
from histories import lifecycle
from presenced.commands.run import restored_service
from presenced.events.message import Message
from presenced.service.service import Service
from presenced.settings import Settings, load_settings
from presenced.sources.mqtt.connection_options import ConnectionOptions
from registries import group, link, member, thing, thing_type
from waiting import until

AT = 1_700_000_000_000
PAGE = 4096
FILES = 500
CHUNKS = 20

Files = dict[str, bytes]
"""The content of a state file (`""`) and of its log (`-wal`), by suffix."""


def fill(process: Process) -> None:
    """Apply events that leave something in every table and in every column."""
    options = ConnectionOptions(
        endpoint="localhost",
        port=1883,
        client_id="presenced",
        filters=("$aws/events/#",),
        tls=None,
    )
    process.gap_detector.expect([options])
    process.gap_detector.up("presenced", resumed=False)
    process.gap_detector.granted("presenced", "$aws/events/#", 1)
    process.apply_registry(thing_type("pump", searchable_attributes=("site", "line")))
    for name, above in (("plant", None), ("line-1", "plant"), ("line-2", "plant")):
        process.apply_registry(group(name, above, attributes={"site": name}))
    process.apply_registry(link("plant", "line-3", 5))
    process.apply_registry(thing("deleted", at=9, type="deleted"))
    for number in range(400):
        connect(process, number, version=1)
        name = f"device-{number:04}"
        process.apply_registry(thing(name, "pump", 7, attributes={"serial": f"S{number}"}))
        process.apply_registry(member(f"line-{number % 4}", name, number))
    for number in range(0, 400, 3):
        disconnect(process, number, version=1)
    process.time.now += DELAY
    process.advance()
    for number in range(0, 400, 5):
        connect(process, number, version=2)
    for number in range(1, 400, 7):
        disconnect(process, number, version=1, after=300_000)
    for number in range(0, 400, 40):
        process.fleet.forget(f"device-{number:04}", "requested")
    process.publish()


def connect(process: Process, number: int, *, version: int) -> None:
    process.apply(lifecycle(connected=True, timestamp=AT + version, **of(number, version)))


def disconnect(process: Process, number: int, *, version: int, after: int = 1) -> None:
    reason = "CONNECTION_LOST"
    of_client = of(number, version)
    process.apply(lifecycle(connected=False, timestamp=AT + after, reason=reason, **of_client))


def of(number: int, version: int) -> dict[str, Any]:
    session = f"4f2d{number:04}-0000-4000-8000-{version:012}"
    return {"client_id": f"device-{number:04}", "version": version, "session": session}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    """The files of a daemon that was stopped, and those of one that was killed."""
    path = tmp_path_factory.mktemp("original") / "presenced.db"
    process = Process(path, Time())
    fill(process)
    process.flush()
    connect(process, 1, version=3)
    process.flush()
    log = path.with_name("presenced.db-wal")
    killed = {"": path.read_bytes(), "-wal": log.read_bytes()}
    process.end()
    return [{"": path.read_bytes()}, killed]


def flip_a_bit(content: bytearray, random: Random) -> None:
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def flip_a_bit_of_the_header(content: bytearray, random: Random) -> None:
    content[random.randrange(100)] ^= 1 << random.randrange(8)


def flip_a_bit_of_a_page_header(content: bytearray, random: Random) -> None:
    at = random.randrange(len(content) // PAGE) * PAGE + random.randrange(64)
    content[min(at, len(content) - 1)] ^= 1 << random.randrange(8)


def flip_many_bits(content: bytearray, random: Random) -> None:
    for _ in range(random.randrange(2, 64)):
        flip_a_bit(content, random)


def overwrite(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    end = min(len(content), start + random.randrange(1, 2 * PAGE))
    filler = random.choice([b"\0", b"\xff", b"a", None])
    size = end - start
    content[start:end] = random.randbytes(size) if filler is None else filler * size


def overwrite_a_little(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    end = min(len(content), start + random.randrange(1, 9))
    content[start:end] = random.randbytes(end - start)


def cut(content: bytearray, random: Random) -> None:
    del content[random.randrange(len(content)) :]


def cut_at_a_page(content: bytearray, random: Random) -> None:
    del content[random.randrange(len(content) // PAGE) * PAGE :]


def swap_pages(content: bytearray, random: Random) -> None:
    one, other = (random.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    content[one : one + PAGE], content[other : other + PAGE] = (
        content[other : other + PAGE],
        content[one : one + PAGE],
    )


DAMAGES: list[Callable[[bytearray, Random], None]] = [
    *(flip_a_bit, flip_a_bit, flip_a_bit_of_the_header, flip_a_bit_of_a_page_header),
    *(flip_many_bits, overwrite, overwrite_a_little, cut, cut_at_a_page, swap_pages),
]


def damaged(originals: list[Files], seed: int) -> Files:
    """The files of a daemon, one of them damaged; the same ones for the same seed."""
    random = Random(seed)
    files = dict(random.choice(originals))
    suffix = random.choice(list(files))
    content = bytearray(files[suffix])
    random.choice(DAMAGES)(content, random)
    return files | {suffix: bytes(content)}


def put(path: Path, files: Files) -> None:
    """Make these the files of a daemon that has run before."""
    for suffix, content in files.items():
        path.with_name(path.name + suffix).write_bytes(content)
    path.with_name(path.name + ".lock").write_text("1\n")


def settings_of(path: Path) -> Settings:
    environ = {
        "PRESENCED_MQTT__ENDPOINT": "localhost",
        "PRESENCED_MQTT__PORT": str(free_port()),
        "PRESENCED_MQTT__TLS": "false",
        "PRESENCED_METRICS__LISTEN": "127.0.0.1:0",
        "PRESENCED_STATE__PATH": str(path),
        # A file that cannot be opened or written is then an error, or acknowledges nothing.
        "PRESENCED_STATE__ON_ERROR": "stall",
    }
    return load_settings(None, environ=environ)


async def answers(service: Service) -> None:
    """Ask the daemon for all that it knows."""
    paths = ("/metrics", "/api/v1/clients?limit=500", "/api/v1/summary")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as session:
        for path in paths:
            async with session.get(path) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()


async def keeps_an_event(service: Service) -> None:
    """Give the daemon an event, which it acknowledges once it is in the file."""
    acknowledged: list[bool] = []
    payload = {"timestamp": AT + 10**9, "versionNumber": 9, "sessionIdentifier": "s"}
    service.ingest(
        Message(
            topic="$aws/events/presence/connected/device-9999",
            payload=json.dumps(payload).encode(),
            qos=1,
            received=time.time(),
            moment=time.monotonic(),
            connection="presenced",
            acknowledge=lambda: acknowledged.append(True),
        )
    )
    await until(lambda: acknowledged, what="the event is in the file")


async def life(path: Path) -> str:
    """Run a daemon on a file, use it, and return what it says of its readiness."""
    settings = settings_of(path)
    service = restored_service(settings, lambda: settings)
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        await until(lambda: service.readiness().text != "starting" or running.done())
        await answers(service)
        await keeps_an_event(service)
        return service.readiness().text
    finally:
        stop.set()
        await running


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_daemon_runs_on_every_damaged_file(
    tmp_path: Path, originals: list[Files], chunk: int
) -> None:
    for seed in range(chunk, FILES, CHUNKS):
        directory = tmp_path / str(seed)
        directory.mkdir()
        path = directory / "presenced.db"
        files = damaged(originals, seed)
        put(path, files)
        said = asyncio.run(asyncio.wait_for(life(path), 60))
        aside = list(directory.glob("presenced.db.corrupt-*Z"))
        assert ("was damaged" in said) == bool(aside), seed
        if aside:
            assert aside[0].stat().st_size == len(files[""]), seed


def test_what_is_not_damaged_is_restored(tmp_path: Path, originals: list[Files]) -> None:
    for number, files in enumerate(originals):
        directory = tmp_path / str(number)
        directory.mkdir()
        put(directory / "presenced.db", files)
        assert "was damaged" not in asyncio.run(life(directory / "presenced.db"))
        assert not list(directory.glob("*.corrupt-*"))


@pytest.mark.parametrize("seed", [3, 77, 201, 333, 450])
def test_a_process_runs_on_a_damaged_file(
    tmp_path: Path, originals: list[Files], broker_of: Any, daemon_of: Any, seed: int
) -> None:
    path = tmp_path / "presenced.db"
    put(path, damaged(originals, seed))
    state = {"path": str(path), "on_error": "stall"}
    daemon = daemon_of(broker=broker_of(), state=state)
    daemon.wait_until_ready()
    is_aside = bool(list(tmp_path.glob("presenced.db.corrupt-*Z")))
    assert ("was damaged" in daemon.get("/-/ready")[1]) == is_aside
    failures = daemon.value("presenced_state_commit_failures_total", cause="corrupt")
    assert failures == float(is_aside)
