"""A file that could not be used at first is taken on beside what has become known meanwhile."""

import asyncio
import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import lifecycle
from kept import FORGET, Process, Time, check, dumped, headcount, known, state_path, stored
from presenced.events.message import Message
from presenced.events.model import SubscriptionEvent
from presenced.presence import State
from presenced.sources.inbox import Inbox
from presenced.store import StateFile, StateUnusableError, Writer, store
from presenced.store import restoration as late
from presenced.store.schema import DisconnectRow, ThingRow
from registries import association, group, link, member, thing
from store.steps import STEPS, Step, doubting

ONE, OTHER = 1_700_001_000_000, 1_700_001_500_000


def event(client_id: str, *, connected: bool = True, at: int = ONE, version: int = 1) -> Any:
    return lifecycle(
        connected=connected,
        timestamp=at,
        version=version,
        session=f"s{version}",
        reason=None if connected else "CONNECTION_LOST",
        client_id=client_id,
    )


class Unkept(Process):
    """A process that finds no directory for its file at first."""

    def __init__(self, path: Path, time: Time) -> None:
        self.elsewhere = path.rename(path.with_suffix(".away")) if path.exists() else None
        self.path = path
        self.loop = asyncio.new_event_loop()
        super().__init__(path.parent / "absent" / path.name, time)
        assert self.store._file is None

    def take_on(self) -> None:
        """The file can be used after all."""
        self.loop.run_until_complete(self._take_on())

    async def _take_on(self) -> None:
        if self.elsewhere is not None:
            self.elsewhere.rename(self.path)
            self.elsewhere = None
        await self.store._take_on_late(StateFile.open(self.path))
        assert self.store._writer is not None
        await self.store.settled()

    def flush(self) -> None:
        """Write what has changed."""
        self.loop.run_until_complete(self.store.settled())

    def end(self) -> None:
        """End without another word to the file."""
        assert self.store._writer is not None
        assert self.store._writer.close(timeout=20)
        self.loop.close()


def taken_on(path: Path, *before: Any, meanwhile: tuple[Any, ...] = ()) -> Unkept:
    """A process that took the file late: with these events before, and these in memory."""
    time = Time()
    first = Process(path, time)
    tell(first, *before)
    first.flush()
    first.end()
    second = Unkept(path, time)
    tell(second, *meanwhile)
    second.take_on()
    check(second)
    return second


def tell(process: Process, *events: Any) -> None:
    for each in events:
        if hasattr(each, "connected"):
            process.apply(each)
        else:
            process.learn(each)


def restarted(process: Unkept) -> Process:
    process.flush()
    process.end()
    again = Process(process.path, process.time)
    check(again)
    return again


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


def test_what_is_known_is_newer_than_what_the_file_holds(path: Path) -> None:
    process = taken_on(
        path,
        event("a"),
        event("b"),
        meanwhile=(event("a", connected=False, version=1), event("c")),
    )
    states = {name: client.state for name, client in process.presence.clients.items()}
    assert states == {"a": State.OFFLINE, "b": State.ONLINE, "c": State.ONLINE}
    process.end()


def test_clients_of_the_file_are_unverified_also_after_another_restart(path: Path) -> None:
    process = taken_on(path, event("a"), event("b"), meanwhile=(event("c"),))
    assert process.presence.counts.unverified == 2
    again = restarted(process)
    assert again.presence.counts.unverified == 2
    assert not again.presence.is_unverified(again.presence.clients["c"])
    again.apply(event("a", version=2))
    assert again.presence.counts.unverified == 1
    again.end()


def test_a_client_that_only_its_thing_is_known_of_is_what_the_file_says(path: Path) -> None:
    process = taken_on(path, event("pump"), meanwhile=(thing("pump", "motor"),))
    assert process.presence.clients["pump"].state is State.ONLINE
    assert headcount(process.fleet.thing_types, ["motor"]) == {("motor", "online"): 1}
    process.end()


def test_a_thing_that_a_client_of_the_file_is_has_no_unknown_one_beside_it(path: Path) -> None:
    connect = event("line/7")
    connect.thing_name = "pump"
    process = taken_on(path, connect, meanwhile=(thing("pump", "motor"),))
    assert set(process.presence.clients) == {"line/7"}
    process.end()


def test_clients_count_by_the_things_that_the_file_brings(path: Path) -> None:
    process = taken_on(
        path,
        thing("a", "motor"),
        member("hall", "a"),
        link("site", "hall"),
        meanwhile=(event("a"),),
    )
    assert headcount(process.fleet.thing_groups, ["hall", "site"]) == {
        ("hall", "online"): 1,
        ("site", "online"): 1,
    }
    tell(process, thing("a", at=9, type="deleted"))
    check(process)
    process.end()


def test_groups_known_by_now_stay_as_they_are_and_get_members_of_the_file(path: Path) -> None:
    process = taken_on(
        path,
        member("hall", "a"),
        association("a", "motor"),
        meanwhile=(
            group("hall", "site", 5, attributes={"floor": "2"}),
            link("site", "hall", 5),
            member("hall", "b", 6),
        ),
    )
    hall = process.fleet.inventory.groups.live["hall"]
    assert (hall.members, hall.parent, dict(hall.attributes)) == (
        {"a", "b"},
        "site",
        {"floor": "2"},
    )
    process.end()


def test_deadlines_of_the_file_are_kept(path: Path) -> None:
    process = taken_on(path, event("a"), event("a", connected=False))
    assert process.presence.clients["a"].state is State.PENDING
    process.time.now += 5
    process.advance()
    assert process.presence.clients["a"].state is State.OFFLINE
    process.time.now += FORGET
    process.advance()
    assert process.presence.clients == {}
    process.end()


def test_totals_are_those_of_both(path: Path) -> None:
    process = taken_on(path, event("a"), event("b"), meanwhile=(event("c"),))
    assert process.presence.counts.transitions[State.ONLINE] == 3
    process.end()


class CrashError(Exception):
    """The process is killed."""


@pytest.mark.parametrize("written", range(1, 5))
def test_a_crash_while_it_is_written_loses_no_total_and_doubts_who_is_to_be_doubted(
    path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """`written` is how many parts reach the file; the rows of memory are three of them."""
    first = Process(path, Time())
    tell(first, event("a"), event("b"))
    first.flush()
    first.end()
    process = Unkept(path, first.time)
    tell(process, event("c"), event("d"), event("e"))
    submit, left = Writer.submit, written

    def submit_some(writer: Writer, *changes: Any) -> None:
        nonlocal left
        if left == 0:
            raise CrashError
        left -= 1
        submit(writer, *changes)

    monkeypatch.setattr(store, "_ROWS_A_SLICE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "submit", submit_some)
        with pytest.raises(CrashError):
            process.take_on()
    process.end()
    again = Process(path, process.time)
    assert {"a", "b"} <= set(again.presence.clients)
    assert unverified(again) == {"a", "b"}
    assert again.presence.counts.transitions[State.ONLINE] == 5
    again.end()


def unverified(process: Process) -> set[str]:
    presence = process.presence
    return {name for name, client in presence.clients.items() if presence.is_unverified(client)}


@settings(max_examples=200, deadline=None)
@given(before=STEPS, meanwhile=STEPS, afterwards=STEPS)
def test_whatever_happened_before_and_meanwhile_counts_are_right(
    before: list[Step], meanwhile: list[Step], afterwards: list[Step]
) -> None:
    with state_path() as path:
        time = Time()
        first = Process(path, time)
        for step in before:
            step(first)
        first.flush()
        first.end()
        process = Unkept(path, time)
        for step in meanwhile:
            step(process)
        process.take_on()
        check(process)
        process.flush()
        now = known(process)
        assert stored_by(process) == dumped(process)
        again = Process(path, time)
        assert known(again) == now
        for step in afterwards:
            step(again)
            check(again)
        again.end()


def stored_by(process: Unkept) -> Any:
    process.end()
    return stored(process.path)


def test_only_a_sign_of_life_since_then_verifies(path: Path) -> None:
    process = taken_on(path, event("a"), event("b"))
    wall = process.time.wall
    for name, at in (("a", wall - 1), ("b", wall + 1)):
        process.hear(
            SubscriptionEvent(type="subscribed", client_id=name, timestamp=round(at * 1000))
        )
    assert process.presence.is_unverified(process.presence.clients["a"])
    assert not process.presence.is_unverified(process.presence.clients["b"])
    process.end()


def lived(path: Path, time: Time, steps: list[Step]) -> None:
    """A file of a process that went through these steps."""
    process = Process(path, time)
    for step in steps:
        step(process)
    process.flush()
    process.end()


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_where_nothing_was_heard_meanwhile_it_is_as_at_a_start_after_a_gap(
    steps: list[Step],
) -> None:
    with state_path() as path, state_path() as copy:
        time = Time()
        lived(path, time, steps)
        shutil.copy(path, copy)
        process, early = Unkept(path, time), Process(copy, time)
        process.take_on()
        doubting(early)
        assert known(process) == known(early)
        process.end()
        early.end()


class Interrupted(Unkept):
    """A process to which things happen while it takes its file on, a row at a time."""

    def take_on_among(self, arriving: list[tuple[int, Step]]) -> None:
        inbox = Inbox(self.loop, self._deliver, batch=1)
        self._arriving = arriving

        @contextmanager
        def standstill() -> Iterator[None]:
            inbox.pause()
            yield
            inbox.resume()

        self.store._standstill = standstill
        self.loop.run_until_complete(self._both(inbox))
        self.flush()

    async def _both(self, inbox: Inbox) -> None:
        taking = asyncio.create_task(self._take_on())
        for number, (turns, _) in enumerate(self._arriving):
            for _ in range(turns):
                await asyncio.sleep(0)
            assert inbox.put(message(number))
        await taking
        while inbox.backlog:
            await asyncio.sleep(0)

    def _deliver(self, batch: list[Message]) -> None:
        for each in batch:
            self._arriving[int(each.topic)][1](self)


def message(number: int) -> Message:
    return Message(
        topic=str(number),
        payload=b"",
        qos=1,
        received=0.0,
        moment=0.0,
        connection="presenced",
        acknowledge=None,
    )


@settings(max_examples=60, deadline=None)
@given(before=STEPS, meanwhile=STEPS, arriving=STEPS, data=st.data())
def test_what_arrives_between_slices_is_applied_as_if_it_came_afterwards(
    before: list[Step], meanwhile: list[Step], arriving: list[Step], data: st.DataObject
) -> None:
    turns = [data.draw(st.integers(0, 12)) for _ in arriving]
    with state_path() as path, state_path() as copy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(late, "_SLICE", 0.0)
        time, other = Time(), Time()
        lived(path, time, before)
        other.now, other.offset = time.now, time.offset
        shutil.copy(path, copy)
        cut, whole = Interrupted(path, time), Unkept(copy, other)
        for step in meanwhile:
            step(cut)
            step(whole)
        cut.take_on_among(list(zip(turns, arriving, strict=True)))
        whole.take_on()
        for step in arriving:
            step(whole)
        check(cut)
        assert known(cut) == known(whole)
        whole.end()
        expected = dumped(cut)
        assert stored_by(cut) == expected


def test_the_loop_goes_on_while_a_file_is_taken_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "_SLICE", 0.0)
    rows = 300
    first = Process(path, Time())
    for number in range(rows):
        tell(first, event(f"client-{number}"), member("hall", f"thing-{number}", 1))
    first.flush()
    first.end()
    process = Unkept(path, first.time)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        taking = asyncio.create_task(process._take_on())
        while not taking.done():
            turns += 1
            await asyncio.sleep(0)
        await taking

    process.loop.run_until_complete(count_turns())
    assert turns > 2 * rows
    assert gc.isenabled()
    process.end()


def test_whatever_else_has_it_written_a_late_file_is_written_in_slices(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Process(path, Time())
    tell(first, event("a"))
    first.flush()
    first.end()
    process = Unkept(path, first.time)
    tell(process, *(event(f"client-{number}") for number in range(50)))
    sizes = []
    submit = Writer.submit

    def flush_between(writer: Writer, changes: Any, *done: Any) -> None:
        sizes.append(len(changes.clients))
        submit(writer, changes, *done)
        if process.store._taking_on:
            process.store._flush_now()  # as a timer of before does

    monkeypatch.setattr(store, "_ROWS_A_SLICE", 5)
    monkeypatch.setattr(Writer, "submit", flush_between)
    process.take_on()
    process.end()
    assert max(sizes) == 5


def test_what_is_heard_of_without_a_file_is_not_noted_beside_itself(path: Path) -> None:
    process = Unkept(path, Time())
    for version in range(1, 200):
        tell(process, event("a", version=version), event("a", connected=False, version=version))
        process.presence.forget("a", "requested")
    touched = process.store._collector.touched
    assert not touched
    process.take_on()
    assert len(process.presence.disconnects) == 199
    now = dumped(process)
    assert stored_by(process) == now
    assert len(stored(path)["counted_disconnects"]) == 199


@pytest.mark.parametrize("row_type", [DisconnectRow, ThingRow])
def test_a_file_that_fails_half_way_is_taken_on_by_the_next_attempt(
    path: Path, monkeypatch: pytest.MonkeyPatch, row_type: type
) -> None:
    first = Process(path, Time())
    tell(first, event("a"), event("a", connected=False), event("b"), member("hall", "a", 1))
    first.flush()
    first.end()
    process = Unkept(path, first.time)
    tell(process, event("c"), event("c", connected=False))
    read = StateFile.read

    def fail(file: StateFile, wanted: type) -> Any:
        if wanted is row_type:
            raise StateUnusableError(path, "io", "a disk that comes to itself again")
        return read(file, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "read", fail)
        with pytest.raises(StateUnusableError):
            process.take_on()
    touched = process.store._collector.touched
    assert not touched
    tell(process, event("d"), event("d", connected=False), member("yard", "d"))
    assert not touched, "without a file nothing is noted again"
    process.take_on()
    check(process)
    assert set(process.presence.clients) == {"a", "b", "c", "d"}
    assert len(process.presence.disconnects) == 3
    assert process.presence.counts.transitions[State.ONLINE] == 4
    now = dumped(process)
    assert stored_by(process) == now
