"""The store on a running loop, with real files, and disks that fail."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from fleet_process import RULES, Time, totals_of
from histories import lifecycle
from presenced.fleet import Fleet
from presenced.pipeline import Pipeline
from presenced.presence import Client
from presenced.sources.gaps import Gaps
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.store import collector
from presenced.store.errors import StateDamagedError, StateLockedError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.schema import ClientRow, DisconnectRow
from presenced.store.state_store import StateStore
from presenced.store.tools import forget
from presenced.store.totals import Total
from presenced.system import log
from registries import thing
from statefiles import client_row, clients_in, fill, of_clients, query, thing_row
from waiting import until, wait_for

AT = 1_700_000_000_000


class Run:
    """A store, what it keeps, and what it called back."""

    def __init__(
        self,
        path: Path,
        on_error: Literal["continue", "stall"] = "continue",
        more_totals: Iterable[Total] = (),
    ) -> None:
        self.path = path
        self.time = Time()
        self.fleet = Fleet(RULES)
        self.presence = self.fleet.presence
        self.pipeline = Pipeline(self.fleet)
        self.gaps = Gaps(self.presence, self.time.clocks)
        self.gap_detector = GapDetector(self.gaps, self.time.clocks)
        self.done: list[str] = []
        self.store = StateStore(
            path,
            self.pipeline,
            self.gap_detector,
            [*totals_of(self.pipeline, self.gaps), *more_totals],
            on_error,
            self.time.clocks,
        )
        self.pipeline.observers += [self.store]

    def begin(self) -> "Run":
        self.store.open()
        self.store.start()
        return self

    def connect(self, *client_ids: str, version: int = 1) -> None:
        for client_id in client_ids:
            event = lifecycle(
                connected=True, timestamp=AT, version=version, session="s", client_id=client_id
            )
            self.fleet.apply(event, self.time.wall, self.time.now)
        self.pipeline.process([])

    def acknowledge(self, client_id: str, version: int = 1) -> None:
        """Apply a message, and acknowledge it when it is kept."""
        self.connect(client_id, version=version)
        self.store.flush(lambda: self.done.append(client_id))

    @property
    def states(self) -> dict[str, str]:
        return {name: client.state.value for name, client in self.presence.clients.items()}


def in_file(path: Path) -> set[object]:
    return {row[0] for row in query(path, "SELECT client_id FROM clients")}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


@pytest.fixture(autouse=True)
def plain_log() -> None:
    log.configure("info", "json")


def test_a_flush_without_done_is_written_soon(path: Path) -> None:
    async def scenario() -> None:
        run = Run(path).begin()
        run.connect("a")
        run.store.flush()
        await until(lambda: in_file(path) == {"a"})
        await run.store.close()

    asyncio.run(scenario())


def test_much_is_written_at_once(path: Path) -> None:
    """To collect the rows of 0.1 s of a snapshot holds the event loop for 20 ms."""

    async def scenario() -> None:
        run = Run(path).begin()
        names = {f"c{number}" for number in range(600)}
        for some in sorted(names)[:300], sorted(names)[300:]:
            run.connect(*some)
            run.store.flush()
        wait_for(lambda: in_file(path) == names)  # without the loop, and so without its timer
        await run.store.close()

    asyncio.run(scenario())


def test_done_is_called_once_it_is_in_the_file_and_in_order(path: Path) -> None:
    async def scenario() -> None:
        run = Run(path).begin()
        seen: list[tuple[str, bool]] = []
        for number in range(200):
            name = f"c{number}"
            run.connect(name)
            run.store.flush(lambda name=name: seen.append((name, name in in_file(path))))
            if number % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(seen) == 200)
        assert seen == [(f"c{number}", True) for number in range(200)]
        await run.store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("on_error", ["continue", "stall"])
def test_while_a_commit_takes_its_time_the_loop_goes_on_and_nothing_is_done(
    path: Path, on_error: Literal["continue", "stall"]
) -> None:
    async def scenario() -> None:
        run = Run(path, on_error).begin()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for name in ("a", "b"):
            run.acknowledge(name)
        for _ in range(30):
            await asyncio.sleep(0.01)
        assert run.done == []
        assert in_file(path) == set(), "a kill now loses both, and both come again"
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: run.done == ["a", "b"])
        assert in_file(path) == {"a", "b"}
        await run.store.close()

    asyncio.run(scenario())


def test_settled_returns_when_all_is_in_the_file(path: Path) -> None:
    async def scenario() -> None:
        run = Run(path).begin()
        run.connect("a")
        run.store.flush()
        await run.store.settled()
        assert in_file(path) == {"a"}
        await run.store.close()

    asyncio.run(scenario())


def test_closing_writes_what_is_left_and_releases_the_file(path: Path) -> None:
    async def scenario() -> None:
        run = Run(path).begin()
        run.connect("a")
        run.store.flush()
        await run.store.close()
        file = StateFile.open(path)
        assert set(clients_in(file)) == {"a"}
        file.close()
        done: list[int] = []
        run.store.flush(lambda: done.append(1))
        assert done == [1], "nothing waits for ever"

    asyncio.run(scenario())


def test_a_store_that_was_never_started_releases_the_file(path: Path) -> None:
    async def scenario() -> None:
        run = Run(path)
        run.store.open()
        await run.store.close()
        StateFile.open(path).close()

    asyncio.run(scenario())


def test_a_row_that_cannot_be_stored_keeps_no_other_from_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        run = Run(path).begin()
        run.acknowledge("\ud800")
        run.acknowledge("b")
        await until(lambda: run.done == ["\ud800", "b"])
        assert in_file(path) == {"b"}
        await run.store.settled()
        assert run.store.counts.rows_refused == 1
        assert run.states == {"\ud800": "online", "b": "online"}
        await run.store.close()

    asyncio.run(scenario())
    (line,) = (line for line in lines(capsys) if "rows left out" in line["event"])
    assert line["rows"] == 1


@pytest.mark.parametrize("on_error", ["continue", "stall"])
def test_a_fault_in_one_row_keeps_no_other_from_the_file(
    path: Path,
    on_error: Literal["continue", "stall"],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make = collector.client_row

    def fail(client: Client, *args: Any, **options: Any) -> ClientRow:
        if client.client_id.startswith("bad"):
            raise ZeroDivisionError
        return make(client, *args, **options)

    monkeypatch.setattr(collector, "client_row", fail)

    async def scenario() -> None:
        run = Run(path, on_error).begin()
        run.connect("good-1", "bad-1", "bad-2")
        run.fleet.apply_registry(thing("good-2", "pump"), 0.0)
        run.pipeline.process([])
        run.acknowledge("good-3")
        await until(lambda: run.done == ["good-3"])
        assert in_file(path) == {"good-1", "good-2", "good-3"}
        assert query(path, "SELECT name FROM things") == [("good-2",)]
        assert query(path, "SELECT value FROM counters WHERE name LIKE '%transitions%'") == [(4,)]
        assert run.store.counts.failures["other"] == 2
        run.acknowledge("good-4")
        await until(lambda: run.done == ["good-3", "good-4"])
        assert run.store.counts.failures["other"] == 2, "not again until it changes again"
        await run.store.close()

    asyncio.run(scenario())
    (line,) = (line for line in lines(capsys) if "left out" in line["event"])
    assert (line["kind"], line["name"][:3]) == ("client", "bad")


def test_a_fault_in_what_is_no_row_keeps_none_from_the_file(
    path: Path,
) -> None:
    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    async def scenario() -> None:
        run = Run(path, "stall", [Total("presenced_faulty_total", (), fail, fail)]).begin()
        run.acknowledge("a")
        await until(lambda: run.done == ["a"])
        assert in_file(path) == {"a"}
        await run.store.close()

    asyncio.run(scenario())


def test_clients_are_forgotten_on_request(path: Path) -> None:
    async def scenario() -> None:
        run = Run(path).begin()
        run.connect("a", "b")
        await run.store.settled()
        assert forget(path, ["a"]).asked
        await until(lambda: run.states == {"b": "online"})
        await until(lambda: query(path, "SELECT * FROM forget_requests") == [])
        assert query(path, "SELECT client_id FROM clients WHERE NOT departed") == [("b",)]
        assert run.presence.counts.forgotten["requested"] == 1
        await run.store.close()
        again = Run(path)
        again.store.open()
        assert again.states == {"b": "online"}
        assert again.presence.counts.forgotten["requested"] == 1
        await again.store.close()

    asyncio.run(scenario())


def test_the_session_of_a_client_id_that_is_used_no_longer_is_dropped(path: Path) -> None:
    def options(client_id: str) -> ConnectionOptions:
        return ConnectionOptions(
            endpoint="localhost", port=1883, client_id=client_id, filters=("#",), tls=None
        )

    async def live(client_id: str) -> list[tuple[object, ...]]:
        run = Run(path).begin()
        run.gap_detector.expect([options(client_id)])
        run.gap_detector.up(client_id, resumed=False)
        await run.store.settled()
        await run.store.close()
        return query(path, "SELECT key FROM meta WHERE key LIKE 'session %'")

    assert asyncio.run(live("old")) == [("session old",)]
    assert asyncio.run(live("new")) == [("session new",)]


def test_what_a_session_had_not_caught_up_with_is_still_to_come_after_a_restart(path: Path) -> None:
    me = ConnectionOptions(
        endpoint="localhost",
        port=1883,
        client_id="me",
        filters=("$aws/events/#",),
        tls=None,
        session_expiry=99.0,
    )

    async def live(at: float, seconds_down: float) -> float:
        run = Run(path)
        run.time.now = at
        run.begin()
        run.gap_detector.expect([me])
        held_for = run.time.now - run.gap_detector.held_at
        run.gap_detector.up("me", resumed=False)
        run.gap_detector.down("me")
        run.time.now += seconds_down
        run.gap_detector.up("me", resumed=True)
        await run.store.settled()
        await run.store.close()
        return held_for

    asyncio.run(live(1000.0, 30.0))
    assert asyncio.run(live(1030.0, 0.0)) == pytest.approx(30.0, abs=1.5)


def test_the_filters_of_a_session_are_kept_with_it(path: Path) -> None:
    def options(*filters: str) -> ConnectionOptions:
        return ConnectionOptions(
            endpoint="localhost", port=1883, client_id="me", filters=filters, tls=None
        )

    async def first() -> None:
        run = Run(path).begin()
        run.gap_detector.expect([options("old/#", "both/#")])
        run.gap_detector.up("me", resumed=False)
        run.gap_detector.granted("me", "old/#", 0)
        run.gap_detector.granted("me", "both/#", 1)
        await run.store.settled()
        await run.store.close()

    async def second() -> None:
        run = Run(path).begin()
        run.gap_detector.expect([options("both/#")])
        run.gap_detector.up("me", resumed=True)
        assert run.gap_detector.unwanted("me") == ["old/#"]
        run.gap_detector.unsubscribed("me", "old/#")
        await run.store.close()

    async def third() -> None:
        run = Run(path).begin()
        run.gap_detector.expect([options("new/#")])
        run.gap_detector.up("me", resumed=True)
        assert run.gap_detector.unwanted("me") == ["both/#"]
        run.gap_detector.up("me", resumed=False)
        assert run.gap_detector.unwanted("me") == []
        await run.store.close()

    noted = "SELECT key, value FROM meta WHERE key LIKE 'filters %'"
    asyncio.run(first())
    assert query(path, noted) == [("filters me", '{"old/#":0,"both/#":1}')]
    asyncio.run(second())
    assert query(path, noted) == [("filters me", '{"both/#":1}')]
    asyncio.run(third())
    assert query(path, noted) == [], "a new session has none"


def test_a_damaged_file_found_while_reading_is_moved_aside(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(path)
    run = Run(path)
    with pytest.raises(StateDamagedError) as caught:
        run.store.open()
    (aside,) = path.parent.glob("presenced.db.corrupt-*Z")
    assert caught.value.moved_aside == aside

    async def scenario() -> None:
        again = Run(path)
        again.store.open(caught.value)
        again.store.start()
        assert again.states == {}
        again.connect("a")
        (problem,) = again.store.problems
        assert "the state file was damaged" in problem
        assert again.store.counts.failures["corrupt"] == 1
        await again.store.close()

    asyncio.run(scenario())
    assert in_file(path) == {"a"}
    (line,) = (line for line in lines(capsys) if "damaged" in line["event"])
    assert line["moved_aside"] == str(aside)
    assert line["detail"] == caught.value.detail


@pytest.mark.parametrize(
    "sql",
    [
        *(
            f"UPDATE clients SET {column} = {value}"
            for column, value in (
                ("since", "9e300"),
                ("since", "9e999"),
                ("transition", "-9e300"),
                ("transition", "x'00ff'"),
                ("reason", "x'00ff'"),
                ("session", "x'00ff'"),
                ("connected", "2"),
                ("connected", "'yes'"),
                ("departed", "-1"),
                ("departed", "0.5"),
                ("event_time", str(2**62)),
                ("event_time", "-2"),
                ("event_time", "'soon'"),
                ("version", "-1"),
                ("version", "'first'"),
                ("gaps", "-2"),
                ("gaps", "x''"),
                ("deadline", "9e999"),
                ("offline_at", "-9e999"),
                ("extra", "'[]'"),
                ("extra", "'null'"),
                ("extra", "'{\"awaited\":[[1,2,3,4]]}'"),
            )
        ),
        "UPDATE things SET deleted = 3",
        "UPDATE things SET event_time = 9000000000000000000",
        "UPDATE things SET attributes = '{\"a\": 5}'",
        'UPDATE things SET type_facts = \'[["a", "b", true]]\'',
        *(
            f"UPDATE meta SET value = '{value}' WHERE key = '{key}'"
            for key in ("gaps", "lived", "doubted_at", "clock_set_by", "session me")
            for value in ("", "nan", "-inf", "1e300", "9" * 5000)
        ),
        "UPDATE meta SET value = '{\"a\":\"b\"}' WHERE key = 'filters me'",
        "UPDATE counters SET value = -1",
        "UPDATE counters SET value = 9e300",
        "UPDATE counted_disconnects SET digest = 'x'",
        "UPDATE counted_disconnects SET number = -5",
        "UPDATE forget_requests SET requested = 'soon'",
        "UPDATE clients SET extra = '{\"awaited\":[[1'",
        'UPDATE clients SET extra = \'{"awaited":"zz"}\'',
        "UPDATE clients SET state = 'pending', deadline = 'soon'",
        "UPDATE things SET memberships = '[[1]]'",
        "UPDATE meta SET value = 'many'",
        "UPDATE counters SET value = 'many'",
        "UPDATE counters SET value = 9e999",
    ],
)
def test_values_that_were_never_written_are_damage(path: Path, sql: str) -> None:
    """A bit that turned over inside a value; the daemon would else fail at each start."""
    file = StateFile.open(path)
    changes = of_clients(client_row("a"))
    changes.things["t"] = thing_row("t")
    changes.count("iot_client_flaps_suppressed_total", "{}", 1.0)
    for key in ("gaps", "lived", "doubted_at", "clock_set_by", "session me"):
        changes.note(key, "1")
    changes.note("filters me", "{}")
    changes.counted_disconnects[1] = DisconnectRow(1, 5)
    file.commit(changes)
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO forget_requests (client_id, requested) VALUES ('a', 1)")
        connection.execute(sql)
    connection.close()
    with pytest.raises(StateDamagedError):
        Run(path).store.open()
    assert list(path.parent.glob("presenced.db.corrupt-*Z"))
    Run(path).store.open()


def spoil(path: Path) -> None:
    """A file that opens, and is damaged further on."""
    file = StateFile.open(path)
    file.commit(of_clients(*(client_row(f"client-{number:05}") for number in range(2000))))
    file.close()
    content = bytearray(path.read_bytes())
    pages = range(12 * 4096, len(content) - 8 * 4096, 4096)
    for start in pages:
        content[start : start + 4096] = b"\xff" * 4096
    path.write_bytes(content)


def test_a_file_that_another_process_has_cannot_be_opened(path: Path) -> None:
    file = StateFile.open(path)
    with pytest.raises(StateLockedError, match="stop that one"):
        Run(path).store.open()
    file.close()


def test_on_a_disk_that_fills_up_acknowledgements_go_on_and_nothing_is_lost(
    small_disk: Path, fill_up: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        run = Run(small_disk / "presenced.db").begin()
        await run.store.settled()
        ballast = fill_up()
        names = [f"client-{number}" for number in range(3000)]
        for name in names[:1500]:
            run.acknowledge(name)
        await until(lambda: run.store.counts.failures["full"])
        for name in names[1500:]:
            run.acknowledge(name)
        await until(lambda: run.done == names)
        assert len(in_file(run.path)) < 3000
        ballast.unlink()
        await until(lambda: in_file(run.path) == set(names))
        await run.store.close()

    asyncio.run(scenario())
    logged = lines(capsys)
    (failed,) = (line for line in logged if "cannot be written" in line["event"])
    assert failed["cause"] == "full"
    assert "make room" in failed["remedy"]
    assert failed["acknowledgements"] == "go on"
    assert sum("is written again" in line["event"] for line in logged) == 1


def test_stall_holds_acknowledgements_until_there_is_room(
    small_disk: Path, fill_up: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        run = Run(small_disk / "presenced.db", "stall").begin()
        await run.store.settled()
        ballast = fill_up()
        names = [f"client-{number}" for number in range(3000)]
        for name in names:
            run.acknowledge(name)
        await until(lambda: run.store.counts.failures["full"] > 1)
        assert run.done == []
        ballast.unlink()
        await until(lambda: run.done == names)
        assert in_file(run.path) == set(names)
        await run.store.close()

    asyncio.run(scenario())
    (failed,) = (line for line in lines(capsys) if "cannot be written" in line["event"])
    assert failed["acknowledgements"] == "held back"


@pytest.mark.parametrize("on_error", ["continue", "stall"])
def test_without_a_directory_for_it_the_file_cannot_be_opened(
    path: Path, on_error: Literal["continue", "stall"]
) -> None:
    with pytest.raises(StateUnusableError, match="there is no directory"):
        Run(path.parent / "absent" / path.name, on_error).store.open()


def test_on_a_full_disk_the_file_cannot_be_opened(
    small_disk: Path, fill_up: Callable[[], Path]
) -> None:
    fill_up()
    with pytest.raises(StateUnusableError, match="make room") as caught:
        Run(small_disk / "presenced.db").store.open()
    assert caught.value.cause == "full"


def test_a_disk_that_breaks_while_the_file_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, ["a"])
    read = StateFile.read

    def fail_at_clients(file: StateFile, row_type: Any) -> Any:
        if row_type is ClientRow:
            raise StateUnusableError(path, "io", "disk I/O error")
        return read(file, row_type)

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "read", fail_at_clients)
        with pytest.raises(StateUnusableError, match="kernel's log"):
            Run(path).store.open()
    StateFile.open(path).close()  # nothing keeps its lock


def test_from_memory_everything_counts_as_done(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        run = Run(path)
        assert not run.store.counts.unavailable
        run.store.run_from_memory(StateUnusableError(path, "io", "disk I/O error"))
        run.store.start()
        run.acknowledge("a")
        run.store.flush()
        await run.store.settled()
        assert run.done == ["a"]
        assert run.store.counts.unavailable
        assert run.store.counts.failures["io"] == 1
        await run.store.close()

    asyncio.run(scenario())
    assert not path.exists()
    (line,) = lines(capsys)
    assert (line["level"], line["cause"], line["detail"]) == ("warning", "io", "disk I/O error")
    assert "kernel's log" in line["remedy"]


def test_what_cannot_be_written_in_the_end_is_logged(
    small_disk: Path, fill_up: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        run = Run(small_disk / "presenced.db").begin()
        await run.store.settled()
        fill_up()
        run.connect(*(f"client-{number}" for number in range(3000)))
        await run.store.close()

    asyncio.run(scenario())
    assert any("the last changes could not be written" in line["event"] for line in lines(capsys))
