"""`presenced demo` as a user runs it: the real daemon on the embedded broker."""

import asyncio
import os
import re
import signal
import socket
import stat
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

DEADLINE = 60.0

LINE = re.compile(
    r"\d\d:\d\d:\d\d  presenced: online +(\d+)  pending +(\d+)  offline +(\d+)"
    r" \| broker: connected +(\d+)  in flight +(\d+) \| (agree|settling)"
)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@asynccontextmanager
async def demo(port: int, temporary: Path, *options: str) -> AsyncIterator[Process]:
    """The demo in a process group of its own, as a shell would start it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "presenced", "demo", "--devices", "20", "--seed", "1"),
        *("--listen", f"127.0.0.1:{port}", *options),
        env={**os.environ, "TMPDIR": str(temporary), "PRESENCED_MQTT__ENDPOINT": "example.net"},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(process: Process, text: str) -> str:
    """The next line of the demo's output that holds this text."""
    assert process.stdout is not None
    async for raw in process.stdout:
        if text in (line := raw.decode()):
            return line
    assert process.stderr is not None
    pytest.fail(f"no line with {text!r}: {(await process.stderr.read()).decode()}")


def assert_nothing_left(port: int, temporary: Path) -> None:
    assert not list(temporary.iterdir())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(temporary).encode() not in command.read_bytes()
        except OSError:
            continue  # it ended while we looked


def test_daemon_and_broker_agree(port: int, tmp_path: Path) -> None:
    async def scenario() -> tuple[int | None, str, str]:
        async with demo(port, tmp_path, "--duration", "20s") as process:
            out, err = await process.communicate()
            return process.returncode, out.decode(), err.decode()

    status, out, err = asyncio.run(scenario())

    assert status == 0, err
    assert err == ""
    samples = [match.groups() for match in map(LINE.match, out.splitlines()) if match]
    verdicts = [verdict for *_, verdict in samples]
    agreed, total = verdicts.count("agree"), len(verdicts)
    assert total >= 2
    assert agreed > total / 2, out
    assert max(int(connected) for *_, connected, _, _ in samples) > 10
    assert out.endswith(f"agreed in {agreed} of {total} samples\n")
    parts = re.search(r"presence by thing type and group was right in (\d+) of (\d+) samples", out)
    assert parts is not None, out
    assert int(parts[2]) == total
    assert int(parts[1]) > total / 2, out
    assert_nothing_left(port, tmp_path)


def test_cold_start_with_losses(port: int, tmp_path: Path) -> None:
    """AWS tells who is connected, and who still is although the connect was lost."""

    async def scenario() -> tuple[str, str, str]:
        options = ("--cold", "--devices", "80", "--drop-events", "30%", "--duration", "20s")
        async with demo(port, tmp_path, *options) as process:
            url = (await line_with(process, "Metrics:")).split()[1]
            started = await line_with(process, "Cold start: ")
            await line_with(process, "| broker: connected")
            scrapes = asyncio.create_task(last_scrape(url))
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            assert err == b""
            return started, out.decode(), await scrapes

    started, out, metrics = asyncio.run(scenario())
    found = re.fullmatch(
        r"Cold start: 80 of 80 devices online (\d+\.\d) s after ready, types and groups right\n",
        started,
    )
    assert found is not None, started
    assert float(found[1]) < 10.0
    agreed = re.search(r"presenced and the broker agreed in (\d+) of (\d+) samples", out)
    assert agreed is not None, out
    assert agreed[1] == agreed[2], out
    assert int(agreed[2]) >= 5
    assert f"by thing type and group was right in {agreed[2]} of {agreed[2]} samples" in out, out
    adopted = re.search(r'^iot_clients_adopted_total{state="online"} (\d+)', metrics, re.MULTILINE)
    assert adopted is not None
    # A second copy of a connect may come after the start: that client is known by its event.
    assert 60 <= int(adopted[1]) <= 80
    assert 'iot_client_transitions_total{to="offline"} 0' in metrics
    prevented = re.search(r"^iot_client_offline_prevented_total (\d+)", metrics, re.MULTILINE)
    assert prevented is not None
    assert int(prevented[1]) > 0
    assert_nothing_left(port, tmp_path)


def test_a_fleet_without_events(port: int, tmp_path: Path) -> None:
    """Devices that connect before the daemon are known by what they retain."""

    async def scenario() -> tuple[str, str]:
        options = ("--status", "--devices", "40", "--duration", "20s")
        async with demo(port, tmp_path, *options) as process:
            url = (await line_with(process, "Metrics:")).split()[1]
            await line_with(process, "| broker: connected")
            scrapes = asyncio.create_task(last_scrape(url))
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            assert err == b""
            return out.decode(), await scrapes

    out, metrics = asyncio.run(scenario())
    agreed = re.search(r"presenced and the broker agreed in (\d+) of (\d+) samples", out)
    assert agreed is not None, out
    assert agreed[1] == agreed[2], out
    assert int(agreed[2]) >= 5
    assert "thing type" not in out
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert values["iot_clients_adopted_total", "online"] > 0
    assert values["iot_events_total", "status", "online"] >= 40
    assert values["iot_events_total", "status", "offline"] > 0
    assert values["iot_client_transitions_total", "offline"] > 0
    assert values["iot_client_flaps_suppressed_total",] > 0
    assert values.get(("iot_events_total", "presence", "connected"), 0) == 0
    assert values["iot_clients_unverified",] == 0
    assert_nothing_left(port, tmp_path)


async def last_scrape(url: str) -> str:
    """The metrics just before the daemon ends."""
    text = ""
    while True:
        try:
            answer = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())
        except OSError:
            return text
        text = answer.decode()
        await asyncio.sleep(0.3)


def test_metrics_show_presence_by_type_and_group(port: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        missing = {"a scrape"}
        try:
            async with demo(port, tmp_path) as process:
                url = (await line_with(process, "Metrics:")).split()[1]
                await line_with(process, "| broker: connected")
                while missing:
                    await asyncio.sleep(0.1)
                    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
                    missing = what_is_missing(text.decode())
                process.terminate()
                await process.communicate()
        except TimeoutError:
            pytest.fail(f"never shown: {missing}")

    asyncio.run(scenario())


def what_is_missing(text: str) -> set[str]:
    """What one scrape does not show of presence by type and group, and of changes until then."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]

    def by_name(metric: str, label: str) -> dict[str, Counter[str]]:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in samples:
            if sample.name == metric:
                name = sample.labels[label]
                counts[name][sample.labels.get("state", "")] += int(sample.value)
        return counts

    def total(counts: Iterable[Counter[str]]) -> Counter[str]:
        return sum(counts, Counter())

    types = by_name("iot_thing_type_clients", "thing_type")
    groups = by_name("iot_thing_group_clients", "thing_group")
    changes = by_name("iot_registry_changes_total", "object")
    whole = +groups["plants"]
    infos = [sample.labels for sample in samples if sample.name == "iot_client_info"]
    forgotten = by_name("iot_clients_forgotten_total", "reason")
    sites = [count for name, count in groups.items() if name.startswith("site-")]
    halls = [count for name, count in groups.items() if name.startswith("hall-")]
    shown = {
        "three types": types.keys() == {"sensor", "gateway", "actuator"},
        "three levels of groups": (len(groups), len(sites), len(halls)) == (7, 2, 4),
        "sites that sum up": whole == total(sites),
        "halls that sum up": whole == total(halls),
        "types that sum up": whole == total(types.values()),
        "most devices online": whole["online"] > 10,
        "unknown spares": whole["unknown"] >= 2,
        "attributes of a client with another name than its thing's": any(
            info["client_id"].startswith("plant/pump-")
            and info["thing_type"] == "actuator"
            and info["site"] in ("north", "south")
            and info["model"] in ("P-30", "P-60")
            for info in infos
        ),
        "changes of every family": len(changes) == 6 and all(map(Counter.total, changes.values())),
        "a deleted device that is forgotten": forgotten["thing_deleted"].total() > 0,
    }
    return {what for what, is_shown in shown.items() if not is_shown}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_when_asked(port: int, tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> tuple[int | None, str, str]:
        async with demo(port, tmp_path) as process:
            config = Path((await line_with(process, "Configuration:")).split(maxsplit=1)[1].strip())
            console = (await line_with(process, "Console:")).split()[1]
            url = (await line_with(process, "Metrics:")).split()[1]
            await line_with(process, "| broker: connected")
            page = await asyncio.to_thread(lambda: urllib.request.urlopen(console).read())
            assert b"console.css" in page
            assert "transport: aiomqtt" in config.read_text()
            assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
            metrics = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
            os.killpg(process.pid, number)  # Ctrl-C reaches the whole process group
            _, err = await process.communicate()
        return process.returncode, metrics.decode(), err.decode()

    status, metrics, err = asyncio.run(scenario())

    assert status == 0, err
    assert err == ""
    assert 'iot_clients{state="online"}' in metrics
    assert_nothing_left(port, tmp_path)


def test_taken_port_is_told(tmp_path: Path) -> None:
    async def scenario(port: int) -> tuple[int | None, bytes]:
        async with demo(port, tmp_path) as process:
            _, err = await process.communicate()
        return process.returncode, err

    with socket.create_server(("127.0.0.1", 0)) as server:
        status, err = asyncio.run(scenario(server.getsockname()[1]))
    assert status == 1
    assert b"presenced: cannot listen on" in err
    assert b"Address already in use" in err
    assert b"Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_more_devices_than_the_machine_can_run(port: int, tmp_path: Path) -> None:
    async def scenario() -> tuple[int | None, str, str]:
        async with demo(port, tmp_path, "--devices", "1000000") as process, asyncio.timeout(10):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    status, out, err = asyncio.run(scenario())

    assert (status, out) == (2, "")
    bound = r"this machine can run at most [\d,]+ devices: each needs .*"
    assert re.fullmatch(rf"presenced: --devices = 1000000: {bound}\n", err)
