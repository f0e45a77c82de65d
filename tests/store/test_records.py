"""Clients and registry objects as rows and back; deadlines when clocks are set."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_process import DELAY, FORGET, RULES, Process, Time, check, state_path
from histories import lifecycle
from presenced.presence import Client, PresenceRules, State
from presenced.presence.client import AmbiguousOrder, EventStamp, pack
from presenced.registry import Thing, ThingGroup, ThingType
from presenced.registry.objects import ObjectStamp, Relation
from presenced.store.records import (
    Offsets,
    awaited_of,
    client_of,
    client_row,
    deadline_of,
    object_row,
    restored_object,
)
from presenced.store.schema import ThingGroupRow, ThingRow, ThingTypeRow
from statefiles import client_row as stored_row

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
TIMES = st.integers(0, 2**45)
MAYBE = st.none() | TEXTS
SECONDS = st.none() | st.floats(0, 2e9)
STAMPS = st.builds(EventStamp, st.booleans(), TIMES, st.none() | st.integers(0, 2**63 - 1), MAYBE)
RELATIONS = st.lists(st.builds(Relation, TEXTS, TIMES, st.booleans()), max_size=3).map(tuple)
ATTRIBUTES = st.dictionaries(TEXTS, MAYBE, max_size=3)
OWN = st.none() | st.builds(
    ObjectStamp, MAYBE, st.none() | st.integers(0, 2**60), TIMES, st.booleans()
)


@st.composite
def clients(draw: st.DrawFn) -> Client:
    client = Client(draw(TEXTS))
    client.state = draw(st.sampled_from(State))
    client.since, client.transition = draw(SECONDS), draw(SECONDS)
    client.reason, client.thing_name = draw(MAYBE), draw(MAYBE)
    _, client.timestamp, client.version, session = draw(STAMPS)
    client.packed_session = pack(session)
    client.gap_epoch = draw(st.integers(0, 9))
    if draw(st.booleans()):
        rejected = draw(st.lists(STAMPS, max_size=3))
        seen = draw(st.lists(STAMPS, max_size=3, unique=True))
        client.ambiguous = AmbiguousOrder(seen, draw(TIMES), rejected)
    return client


@given(clients())
def test_a_client_is_restored(client: Client) -> None:
    again = client_of(client_row(client, Offsets(5.0, 3.0), departed=False), {})
    for name in Client.__struct_fields__:
        if name != "rare":
            assert getattr(again, name) == getattr(client, name), name
    assert again.ambiguous == client.ambiguous


@given(TEXTS, OWN, TIMES, MAYBE, ATTRIBUTES, RELATIONS, RELATIONS)
def test_a_thing_is_restored(name, stamp, deleted_at, stated, attributes, types, groups) -> None:
    thing = Thing(name)
    thing.stamp, thing.deleted_at, thing.own_type = stamp, deleted_at, stated
    thing.attributes, thing.type_relations, thing.memberships = attributes, types, groups
    assert same(restored_object(Thing(name), object_row(thing, ThingRow)), thing)


@given(TEXTS, OWN, TIMES, MAYBE, ATTRIBUTES, RELATIONS)
def test_a_group_is_restored(name, stamp, deleted_at, stated, attributes, parents) -> None:
    group = ThingGroup(name)
    group.stamp, group.deleted_at, group.own_parent = stamp, deleted_at, stated
    group.attributes, group.parent_relations = attributes, parents
    assert same(restored_object(ThingGroup(name), object_row(group, ThingGroupRow)), group)


@given(TEXTS, OWN, TIMES, st.booleans(), st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3))
def test_a_type_is_restored(name, stamp, deleted_at, old, searchable, propagating) -> None:
    kind = ThingType(name)
    kind.stamp, kind.deleted_at, kind.deprecated = stamp, deleted_at, old
    kind.searchable, kind.propagating = tuple(searchable), tuple(propagating)
    assert same(restored_object(ThingType(name), object_row(kind, ThingTypeRow)), kind)


def same(one: Any, other: Any) -> bool:
    return bool(msgspec.structs.asdict(one) == msgspec.structs.asdict(other))


def test_equal_times_and_reasons_are_kept_once() -> None:
    interned: dict[str | None, str | None] = {}
    rows = [
        stored_row("a", since=float("1.5"), transition=float("1.5"), reason="CONNECTION_" + "LOST"),
        stored_row("b", reason="".join(["CONNECTION_", "LOST"])),
    ]
    one, other = (client_of(row, interned) for row in rows)
    assert one.since is one.transition
    assert one.reason is other.reason


RULED = PresenceRules(
    offline_delay=5.0, offline_delay_by_reason={"SLOW": 60.0, "FAST": 0.0}, forget_offline_after=900
)
NOW, OFFSET = 100.0, 1_000_000.0
OFFSETS = Offsets(wall=OFFSET, lived=5000.0)


@pytest.mark.parametrize(
    ("state", "reason", "left", "expected"),
    [
        ("pending", None, 3.0, 3.0),
        ("pending", None, -500.0, -500.0),  # ran out meanwhile
        ("pending", "SLOW", 55.0, 55.0),
        ("pending", "FAST", 4.0, 4.0),  # from a second disconnect while it was pending
        ("pending", None, 7200.0, 60.0),  # the clock was set back by two hours
        ("pending", None, None, 60.0),
        ("online", None, 3.0, None),
        ("unknown", None, None, None),
    ],
)
def test_no_deadline_is_later_than_the_rules_would_have_it(
    state: str, reason: str | None, left: float | None, expected: float | None
) -> None:
    deadline = None if left is None else NOW + OFFSET + left
    row = stored_row(state=state, reason=reason, deadline=deadline)
    due = deadline_of(row, RULED, NOW, OFFSETS)
    assert due == (None if expected is None else NOW + expected)


@pytest.mark.parametrize(
    ("offline_at", "expected"),
    [
        (5060.0, 60.0),
        (5110.0, NOW),  # a crash took back when that was
        (None, NOW),  # an older presenced wrote it
    ],
)
def test_the_time_offline_counts_in_running_time(offline_at: float | None, expected: float) -> None:
    row = stored_row(state="offline", offline_at=offline_at, deadline=1.0)
    assert deadline_of(row, RULED, NOW, OFFSETS) == expected


def test_awaited_disconnects_are_not_awaited_for_longer_than_the_delay() -> None:
    extra = f'{{"awaited":[[1,"s",7,{NOW + OFFSET + 2}],[null,null,8,{NOW + OFFSET + 7200}]]}}'
    assert awaited_of(stored_row(extra=extra), RULED, NOW, OFFSETS) == [
        (EventStamp(True, 7, 1, "s"), NOW + 2),
        (EventStamp(True, 8, None, None), NOW + 5),
    ]
    assert awaited_of(stored_row(), RULED, NOW, OFFSETS) == []


def event(connected: bool, version: int) -> object:
    return lifecycle(
        connected=connected,
        timestamp=1_700_001_000_000 + version,
        version=version,
        session=f"s{version}",
        client_id="a",
    )


@pytest.mark.parametrize("step", [-7200.0, -3.0, 3.0, 7200.0, 86400.0 * 365])
def test_a_clock_that_was_set_between_two_processes_freezes_no_deadline(
    tmp_path: Path, step: float
) -> None:
    path, time = tmp_path / "presenced.db", Time()
    first = Process(path, time)
    first.apply(event(True, 1))
    first.apply(event(True, 2))
    first.apply(event(False, 2))
    first.flush()
    first.end()
    time.offset += step
    time.now += 1
    second = Process(path, time)
    client = second.presence.clients["a"]
    assert client.state is State.PENDING
    time.now += DELAY
    second.advance()
    assert client.state is State.OFFLINE
    assert second.presence.counts.missed["disconnected"] == 1, "nor what is awaited"
    time.now += FORGET
    second.advance()
    assert second.presence.clients == {}
    second.end()


YEARS = 10 * 365 * 86400.0


def offline(process: Process) -> None:
    """One client that has just gone offline."""
    process.apply(event(True, 1))
    process.apply(event(False, 1))
    process.time.now += DELAY
    process.advance()
    assert process.presence.clients["a"].state is State.OFFLINE


def restarted(process: Process, *, down_for: float = 0.0, clock_set_by: float = 0.0) -> Process:
    process.flush()
    process.end()
    process.time.offset += down_for + clock_set_by
    return Process(process.path, process.time)


@pytest.mark.parametrize("step", [-YEARS, -3600.0, 3600.0, YEARS])
def test_a_clock_that_is_wrong_at_a_restart_makes_no_client_forgotten(
    tmp_path: Path, step: float
) -> None:
    """It is set right later, or was wrong when the client went offline; both are the same."""
    process = Process(tmp_path / "presenced.db", Time())
    offline(process)
    process = restarted(process, clock_set_by=step)
    process.time.offset -= step
    process.time.now += FORGET - 1
    process.advance()
    process = restarted(process)
    process.advance()
    assert process.presence.clients
    process.time.now += 1
    process.advance()
    assert not process.presence.clients
    process.end()


@pytest.mark.parametrize("step", [-YEARS, YEARS])
def test_a_clock_that_is_set_right_while_it_runs_makes_no_client_forgotten_at_a_restart(
    tmp_path: Path, step: float
) -> None:
    process = Process(tmp_path / "presenced.db", Time())
    offline(process)
    process.flush()
    process.time.offset += step
    process.time.now += FORGET - 1
    process = restarted(process)
    process.advance()
    assert process.presence.clients
    process.time.now += 1
    process.advance()
    assert not process.presence.clients
    process.end()


def test_the_time_that_the_daemon_is_down_does_not_make_a_client_forgotten(tmp_path: Path) -> None:
    process = Process(tmp_path / "presenced.db", Time())
    offline(process)
    process.time.now += FORGET / 2
    for _ in range(3):
        process = restarted(process, down_for=FORGET)
        process.advance()
        assert process.presence.clients
    process.time.now += FORGET / 2
    process.advance()
    assert not process.presence.clients
    process.end()


def test_another_rule_at_a_restart_holds_for_those_that_are_offline_already(
    tmp_path: Path,
) -> None:
    process = Process(tmp_path / "presenced.db", Time())
    offline(process)
    process.time.now += 50
    process.flush()
    process.end()
    process = Process(process.path, process.time, rules=replace(RULES, forget_offline_after=50.0))
    process.advance()
    assert not process.presence.clients
    process.end()


STEPS_OF_CLOCK = st.sampled_from([-7200.0, -1.0, 1.0, 7200.0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(STEPS_OF_CLOCK, st.sampled_from([0.5, 4.5, DELAY])), max_size=12))
def test_a_clock_that_is_set_at_any_time_makes_no_duration_negative(
    steps: list[tuple[float, float]],
) -> None:
    with state_path() as path:
        time = Time()
        process = Process(path, time)
        for number, (step, seconds) in enumerate(steps):
            process.apply(event(number % 2 == 0, number // 2 + 1))
            time.offset += step
            time.now += seconds
            process.advance()
            if number % 4 == 3:
                process.flush()
                process.end()
                process = Process(path, time)
        check(process)
        counts = process.presence.counts
        assert counts.offline_duration.sum >= 0
        assert counts.session_duration.sum >= 0
        process.end()


@pytest.mark.parametrize("steps", [[7200.0], [-7200.0], [7200.0, -3600.0, 1.5], [YEARS]])
@pytest.mark.parametrize("restarts_between", [False, True])
def test_a_clock_that_was_set_while_it_ran_moves_no_deadline_at_a_restart(
    tmp_path: Path, steps: list[float], restarts_between: bool
) -> None:
    process = Process(tmp_path / "presenced.db", Time())
    process.apply(event(True, 1))
    process.apply(event(True, 2))
    process.apply(event(False, 2))
    process.flush()
    for step in steps:
        process.time.offset += step
        process.time.now += 1
        if restarts_between:
            process = restarted(process)
    process = restarted(process, down_for=0.5)
    client, (awaited,) = process.presence.clients["a"], awaited_by(process)
    due = process.time.now + DELAY - len(steps) - 0.5
    assert (client.state, client.deadline, awaited) == (State.PENDING, due, due)
    process.end()


def awaited_by(process: Process) -> list[float | None]:
    return [each.deadline for each in process.presence.clients["a"].replaced.values()]


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_clock_that_is_set_while_a_deadline_runs_neither_fires_nor_freezes_it(
    tmp_path: Path, step: float
) -> None:
    time = Time()
    process = Process(tmp_path / "presenced.db", time, rules=RULES)
    process.apply(event(True, 1))
    process.apply(event(False, 1))
    time.offset += step
    time.now += DELAY - 0.5
    process.advance()
    client = process.presence.clients["a"]
    assert client.state is State.PENDING
    process.flush()
    time.offset -= 2 * step
    time.now += 0.5
    process.advance()
    assert client.state is State.OFFLINE
    process.end()
