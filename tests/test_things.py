"""Things with several clients: `presence.thing_pattern`, and what counts once for each thing."""

import re
import subprocess
import sys
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet_bench import DELAY, Bench
from fleet_process import Process, Time, check, dumped, known, stored
from histories import lifecycle
from presenced.presence import State
from registries import member, thing

ROLES = r"(?P<thing>.+?)(-jobs|-shadow)?"
RECORDING = Path(__file__).parent / "recordings/clients_per_thing.jsonl"


def test_a_thing_is_online_while_any_of_its_clients_is() -> None:
    bench = Bench(ROLES)
    bench.learn(thing("pump-1", "pump"), member("hall", "pump-1"))
    bench.connect("pump-1-jobs")
    bench.connect("pump-1-shadow")
    assert bench.states == {"pump-1-jobs": "online", "pump-1-shadow": "online"}
    seen = []
    for step in (
        lambda: bench.disconnect("pump-1-jobs"),
        lambda: bench.wait(DELAY),
        lambda: bench.disconnect("pump-1-shadow"),
        lambda: bench.wait(DELAY),
        lambda: bench.connect("pump-1"),
    ):
        step()
        assert bench.by_type == {("pump", state): 1 for state in bench.things}
        assert bench.by_group == {("hall", state): 1 for state in bench.things}
        seen.append(bench.things)
    states = ("online", "online", "pending", "offline", "online")
    assert seen == [{state: 1} for state in states]


def test_a_client_that_does_not_match_is_the_thing_of_its_id() -> None:
    bench = Bench(r"(?P<thing>[a-z]+)-(jobs|shadow)")
    bench.learn(thing("a", "pump"), thing("b-2", "valve"))
    for client_id in ("a-jobs", "b-2", "dashboard"):
        bench.connect(client_id)
    assert bench.things == {"online": 2}, "the dashboard is no thing"
    assert bench.by_type == {("pump", "online"): 1, ("valve", "online"): 1}


def test_things_that_the_pattern_names_count_without_a_registry() -> None:
    bench = Bench(ROLES)
    for client_id in ("a", "a-jobs", "b-jobs", "c"):
        bench.connect(client_id)
    bench.disconnect("c")
    bench.wait(DELAY)
    assert bench.things == {"online": 2, "offline": 1}


def test_by_default_things_are_those_of_the_registry() -> None:
    bench = Bench()
    bench.connect("a")
    bench.connect("b")
    assert bench.things == {}
    bench.learn(thing("a"), thing("c"))
    assert bench.things == {"online": 1, "unknown": 1}
    bench.learn(thing("a", at=9, type="deleted"))
    assert bench.things == {"unknown": 1}


def test_a_thing_that_events_name_takes_precedence() -> None:
    bench = Bench(ROLES)
    bench.connect("a-jobs", "b")
    bench.connect("c-jobs", "c-jobs")
    clients = bench.fleet.presence.clients
    assert {c.client_id: bench.fleet.thing_of(c) for c in clients.values()} == {
        "a-jobs": "b",
        "c-jobs": "c-jobs",
    }
    bench.connect("a-jobs")
    assert bench.fleet.thing_of(clients["a-jobs"]) == "a", "it names none any more"


@pytest.mark.parametrize("order", list(permutations(("a", "b-jobs", "c"))))
def test_a_client_that_events_name_after_itself_is_a_thing_in_any_order(
    order: tuple[str, ...],
) -> None:
    bench = Bench(r"(?P<thing>[a-z]+)-jobs")
    for client_id in order:
        bench.connect(client_id, None if client_id == "b-jobs" else client_id)
    assert bench.things == {"online": 3}
    bench.connect("a")
    assert bench.things == {"online": 2}, "it names no thing any more"


def test_a_client_without_events_is_the_thing_itself() -> None:
    """The registry names it; what the pattern would make of its name says nothing."""
    bench = Bench(r"(?P<thing>[a-z]+)-.*")
    bench.learn(thing("pump-1"), thing("pump-2"))
    assert bench.things == {"unknown": 2}


def test_when_the_last_other_client_is_forgotten_the_thing_is_unknown() -> None:
    bench = Bench(ROLES)
    bench.learn(thing("a", "pump"))
    bench.connect("a-jobs")
    bench.forget("a-jobs")
    assert bench.states == {"a": "unknown"}
    assert bench.by_type == {("pump", "unknown"): 1}
    bench.connect("a-jobs")
    bench.disconnect("a-jobs")
    bench.wait(DELAY)
    bench.wait(86400)
    assert bench.states == {"a": "unknown"}, "it expired"


def test_a_deleted_thing_takes_all_its_offline_clients_along() -> None:
    bench = Bench(ROLES)
    bench.learn(thing("a", "pump"))
    for client_id in ("a-jobs", "a-shadow"):
        bench.connect(client_id)
    bench.disconnect("a-jobs")
    bench.wait(DELAY)
    bench.learn(thing("a", at=9, type="deleted"))
    assert bench.states == {"a-shadow": "online"}
    assert bench.by_type == {}
    bench.disconnect("a-shadow")
    bench.wait(DELAY)
    assert bench.states == {} == bench.things


def test_another_pattern_moves_the_clients_that_are_known() -> None:
    bench = Bench()
    bench.learn(thing("a", "pump"), thing("b", "valve"))
    for client_id in ("a-jobs", "a-shadow", "b"):
        bench.connect(client_id)
    assert bench.things == {"unknown": 1, "online": 1}
    bench.described.clear()
    bench.use_pattern(ROLES)
    assert bench.states == {"a-jobs": "online", "a-shadow": "online", "b": "online"}
    assert bench.things == {"online": 2}
    assert sorted(bench.described) == ["a-jobs", "a-shadow"], "their series get another type"
    bench.use_pattern(None)
    assert bench.things == {"unknown": 1, "online": 1}
    assert bench.states["a"] == "unknown"


def test_without_the_pattern_a_client_named_after_itself_is_no_thing() -> None:
    bench = Bench(ROLES)
    bench.connect("x-jobs", "x-jobs")
    assert bench.things == {"online": 1}
    bench.use_pattern(None)
    assert bench.things == {}
    bench.disconnect("x-jobs")
    bench.wait(DELAY)
    assert bench.states == {"x-jobs": "offline"}
    assert bench.things == {}
    bench.learn(thing("x-jobs", "pump"))
    assert bench.things == {"offline": 1}


def test_a_client_id_that_aws_would_not_allow_is_not_matched() -> None:
    bench = Bench(ROLES)
    bench.connect("x" * 124 + "-jobs")
    bench.connect("x" * 123 + "-jobs")
    assert {bench.fleet.thing_of(c) for c in bench.fleet.presence.clients.values()} == {
        None,
        "x" * 123,
    }


NAMES = ("a", "a-jobs", "a-shadow", "b", "b-jobs", "c")
CLIENT = st.sampled_from(NAMES)
STEPS = st.one_of(
    st.tuples(st.just("connect"), CLIENT, st.sampled_from([None, None, "a", "b", "a-jobs"])),
    st.tuples(st.just("disconnect"), CLIENT),
    st.tuples(st.just("wait"), st.sampled_from([1.0, DELAY, 86400.0])),
    st.tuples(st.just("forget"), CLIENT),
    st.tuples(st.just("subscribe"), CLIENT),
    st.tuples(st.just("create"), CLIENT),
    st.tuples(st.just("delete"), CLIENT),
    st.tuples(st.just("join"), CLIENT),
    st.tuples(
        st.just("use_pattern"),
        st.sampled_from([None, ROLES, r"(?P<thing>[a-z])-.*", r"(?P<thing>.)(.*)"]),
    ),
)


@example(
    None,
    [("disconnect", "a-jobs"), ("subscribe", "a"), ("use_pattern", ROLES), ("connect", "a", "b")],
)
@example(
    ROLES,
    [("connect", "a-jobs", "a-jobs"), ("use_pattern", None), ("disconnect", "a-jobs")],
)
@settings(max_examples=400)
@given(st.sampled_from([None, ROLES]), st.lists(STEPS, max_size=40))
def test_counts_are_those_of_a_recount_after_each_change(
    pattern: str | None, steps: list[tuple[Any, ...]]
) -> None:
    bench = Bench(pattern)
    for at, (name, *arguments) in enumerate(steps, 1):
        match name:
            case "create":
                bench.learn(thing(str(arguments[0]), "pump", at, thing_id=f"i{at}"))
            case "delete":
                bench.learn(thing(str(arguments[0]), at=at, type="deleted", thing_id=f"i{at}"))
            case "join":
                bench.learn(member("hall", str(arguments[0]), at))
            case "use_pattern":
                (pattern,) = arguments
                bench.use_pattern(pattern)
            case _:
                getattr(bench, str(name))(*arguments)
        incremental = (bench.things, bench.by_type, bench.by_group)
        assert incremental == expected(bench, pattern), (name, arguments)
        assert +bench.counted == +Counter(bench.fleet.presence.counts.clients)


def expected(bench: Bench, pattern: str | None) -> tuple[dict[str, int], ...]:
    """The counts by their definition, from every client and every thing.

    Without a pattern the name of a client's own thing, which the registry lacks, is no thing.
    """
    fleet = bench.fleet
    order = ["online", "pending", "offline", "unknown"]
    clients: dict[str, list[str]] = {}
    for client in fleet.presence.clients.values():
        clients.setdefault(client.thing, []).append(client.state.value)
    things: Counter[str] = Counter()
    types: Counter[tuple[str, str]] = Counter()
    groups: Counter[tuple[str, str]] = Counter()
    for name, states in clients.items():
        state = min(states, key=order.index)
        own = fleet.presence.clients.get(name)
        others = [c for c in fleet.presence.clients.values() if c.thing == name and c is not own]
        live = fleet.inventory.things.live.get(name)
        is_own_named = own is not None and own.thing == name and own.names_thing
        named = bool(others) or (is_own_named and pattern is not None)
        if live is not None or named:
            things[state] += 1
        if live is not None:
            if live.type:
                types[live.type, state] += 1
            groups.update((group, state) for group in fleet.inventory.groups_of(live))
    return dict(things), dict(types), dict(groups)


def test_a_recording_of_a_thing_with_two_clients(tmp_path: Path) -> None:
    config = tmp_path / "presenced.yaml"
    config.write_text("presence: {thing_pattern: '(?P<thing>.+?)(-jobs|-shadow)?'}\n")
    shown = replay_metrics("--config", str(config))
    assert shown['iot_clients{state="online"}'] == 2
    assert shown['iot_clients{state="unknown"}'] == 0
    assert shown['iot_things_by_presence{state="online"}'] == 1
    assert shown['iot_thing_type_clients{state="online",thing_type="pump"}'] == 1
    assert shown['iot_client_info{client_id="pump-1-jobs",thing_type="pump"}'] == 1
    config.write_text("{}\n")
    shown = replay_metrics("--config", str(config))
    assert shown['iot_clients{state="unknown"}'] == 1, "the thing has no client of its name"
    assert shown['iot_things_by_presence{state="unknown"}'] == 1


def replay_metrics(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "presenced", "replay", *arguments, "--print", "metrics"]
    done = subprocess.run([*command, str(RECORDING)], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.parametrize("reloaded", [False, True], ids=["restart", "reload"])
def test_a_restart_without_the_pattern_leaves_no_thing_of_a_client_named_after_itself(
    tmp_path: Path, reloaded: bool
) -> None:
    path, time = tmp_path / "presenced.db", Time()
    process = Process(path, time, thing_pattern=re.compile(ROLES))
    for connected in (True, False):
        event = lifecycle(
            connected=connected,
            timestamp=round(time.wall * 1000),
            version=1,
            session="s",
            client_id="x-jobs",
        )
        event.thing_name = "x-jobs"
        process.apply(event)
    assert process.fleet.thing_counts.states[State.PENDING] == 1
    if reloaded:
        process.fleet.use_thing_pattern(None)
        process.publish()
        process.flush()
        written = dumped(process)["clients"]
        process.end()
        assert stored(path)["clients"] == written
    else:
        process.flush()
        process.end()
    process = Process(path, time)
    for _ in range(2):
        assert not any(process.fleet.thing_counts.states.values())
        check(process)
        time.now += DELAY
        process.advance()
    assert process.presence.clients["x-jobs"].state is State.OFFLINE
    process.end()


def test_things_after_a_restart(tmp_path: Path) -> None:
    """The state file keeps what events name; the pattern applies to what is restored."""
    path, time = tmp_path / "presenced.db", Time()
    process = Process(path, time, thing_pattern=re.compile(ROLES))
    process.apply_registry(thing("a", "pump"))
    for number, client_id in enumerate(("a-jobs", "a-shadow", "b-jobs")):
        event = lifecycle(
            connected=True,
            timestamp=round(time.wall * 1000),
            version=1,
            session=f"s{number}",
            client_id=client_id,
        )
        event.thing_name = "c" if client_id == "b-jobs" else None
        process.apply(event)
    check(process)
    process.flush()
    before = known(process)
    process.end()
    process = Process(path, time, thing_pattern=re.compile(ROLES))
    assert known(process) == before
    check(process)
    assert {c.client_id: c.thing for c in process.presence.clients.values()} == {
        "a-jobs": "a",
        "a-shadow": "a",
        "b-jobs": "c",
    }
    process.end()
    process = Process(path, time)
    check(process)
    assert {c.client_id: c.thing for c in process.presence.clients.values()} == {
        "a": "a",
        "a-jobs": "a-jobs",
        "a-shadow": "a-shadow",
        "b-jobs": "c",
    }
    process.end()
