"""Transitions and mass events, against a naive model."""

from collections.abc import Iterable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet_bench import DELAY, Bench
from presenced.presence import ClientChange, State, Transition
from presenced.recent.activity import RecentActivity
from presenced.recent.mass_events import (
    MAX_CLIENTS,
    MAX_EVENTS,
    MAX_EXACT,
    MAX_LENGTH,
    MAX_NAMES,
    MAX_PAUSE,
    MIN_COUNT,
    SAMPLE,
    MassEvent,
    more_than_usual,
)
from presenced.recent.transitions import MAX_TRANSITIONS
from registries import link, member, thing


class Observed(Bench):
    """A fleet whose recent activity is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.activity = RecentActivity()

    def record(self) -> None:
        changes = self.fleet.take_changes().clients
        self.activity.observe(self.fleet, changes)
        self.recorder.add(changes)

    def change(
        self, client_id: str, state: State, at: float, reason: str | None = None
    ) -> ClientChange:
        """A change of the state of a client, whatever it was."""
        client = self.fleet.presence.add(client_id)
        known = client.client if client else self.fleet.presence.clients[client_id]
        transition = Transition(at, at - 1, client_id, State.UNKNOWN, state, reason)
        return ClientChange(known, None, state, transition)

    def let(self, client_id: str, state: State, at: float, reason: str | None = None) -> None:
        """Let a client change its state."""
        self.activity.observe(self.fleet, [self.change(client_id, state, at, reason)])

    def check(self, now: float) -> None:
        counts = self.fleet.presence.counts.clients
        self.activity.check(now, counts, self.fleet.inventory.with_ancestors)

    @property
    def entries(self) -> list[str | tuple[str, int]]:
        """Client IDs of transitions, state and count of mass events; newest first."""
        return [
            (what.state.value, what.count) if isinstance(what, MassEvent) else what.client_id
            for _, what in self.activity.entries()
        ]


def names(count: int, first: int = 0) -> list[str]:
    return [f"c-{number}" for number in range(first, first + count)]


def test_nine_transitions_are_nine_entries_and_ten_are_one() -> None:
    bench = Observed()
    for name in names(9):
        bench.let(name, State.OFFLINE, 100)
    assert bench.entries == names(9)[::-1]
    bench.let("c-9", State.OFFLINE, 100 + MAX_PAUSE)
    assert bench.entries == [("offline", 10)]
    (entry,) = bench.activity.entries()
    assert isinstance(entry.what, MassEvent)
    assert entry.what.clients == names(10)
    # When the states began, which `change` dates a second before.
    assert (entry.what.first, entry.what.last) == (99, 119)


def test_a_state_that_began_long_before_does_not_stretch_a_mass_event() -> None:
    bench = Observed()
    for at, name in enumerate(names(10), 100):
        change = bench.change(name, State.OFFLINE, at)
        assert change.transition is not None
        since = {"c-0": at - 3600.0, "c-1": at + 1.0, "c-9": at - MAX_LENGTH}.get(name, at - 60.0)
        change.transition = replace(change.transition, since=since)
        bench.activity.observe(bench.fleet, [change])
    (entry,) = bench.activity.entries()
    assert isinstance(entry.what, MassEvent)
    assert (entry.what.first, entry.what.last) == (109 - MAX_LENGTH, 101)


def test_a_pause_ends_a_mass_event_and_the_next_one_begins_alone() -> None:
    bench = Observed()
    for name in names(12):
        bench.let(name, State.OFFLINE, 100)
    bench.let("late", State.OFFLINE, 100 + MAX_PAUSE + 0.1)
    assert bench.entries == ["late", ("offline", 12)]


def test_clients_that_go_online_and_offline_at_once_are_two_mass_events() -> None:
    bench = Observed()
    for number, name in enumerate(names(30)):
        bench.let(name, State.ONLINE if number % 2 else State.OFFLINE, 100 + number)
    assert sorted(bench.entries) == [("offline", 15), ("online", 15)]


def test_a_fleet_in_which_it_never_stops_has_a_mass_event_every_five_minutes() -> None:
    bench = Observed()
    for second in range(0, 1500, 10):
        bench.let("a", State.ONLINE, second)
    assert len(bench.entries) == 5
    for _, what in bench.activity.entries():
        assert isinstance(what, MassEvent)
        assert what.last - what.first <= MAX_LENGTH


def test_what_is_usual_in_a_busy_fleet_is_no_mass_event_and_a_burst_in_it_is_one() -> None:
    """Every 2 s a client goes offline, and every 2 s one comes back."""
    bench, dark = Observed(), 1800
    for second in range(0, 2700, 2):
        if second % 60 == 0:
            bench.activity.check(second, dict.fromkeys(State, 100), set)
        bench.let(f"usual-{second}", State.OFFLINE, second)
        bench.let(f"usual-{second - 20}", State.ONLINE, second)
        if dark <= second < dark + 20:
            for number in range(3):
                bench.let(f"hall-{second}-{number}", State.OFFLINE, second)
    events = [
        what
        for _, what in bench.activity.entries()
        # Before there were ten minutes of a trend, nothing was known to be usual.
        if isinstance(what, MassEvent) and what.first > 1000
    ]
    (event,) = events
    assert event.state is State.OFFLINE
    assert 40 <= event.count <= 60
    assert dark - 20 <= event.first <= dark + 2
    assert dark + 16 <= event.last <= dark + 60


def test_chance_in_a_fleet_of_a_few_transitions_a_minute_is_no_mass_event() -> None:
    """On average one every 25 s goes offline, each by itself."""
    bench, chance, at, minute = Observed(), Random(17), 0.0, 0
    while (at := at + chance.expovariate(1 / 25)) < 86_400:
        while minute * 60 < at:
            bench.activity.check(minute * 60, dict.fromkeys(State, 100), set)
            minute += 1
        bench.let(f"single-{int(at)}", State.OFFLINE, at)
    events = [what for _, what in bench.activity.entries() if isinstance(what, MassEvent)]
    # Before there were ten minutes of a trend, nothing was known to be usual.
    assert [event.first for event in events if event.first > 1000] == []


@given(st.floats(0.01, 1e6))
def test_more_than_usual_is_twice_and_in_no_fleet_chance(usual: float) -> None:
    enough = more_than_usual(usual)
    assert enough >= 2 * usual
    assert enough >= usual + 4 * usual**0.5


def test_a_mass_event_counts_reasons_types_and_groups_with_their_parents() -> None:
    bench = Observed()
    bench.learn(link("site", "hall"))
    for name in names(20):
        bench.learn(thing(name, "pump", 1), member("hall", name, 1))
    bench.learn(thing("c-20", "valve", 1))
    bench.now = 2000.0
    for name in names(22):
        bench.connect(name)
    bench.now = 2100.0
    bench.activity = RecentActivity()
    for name in names(22):
        bench.disconnect(name)
    bench.fleet.fire(bench.now + DELAY, 0.0)
    bench.record()
    (entry,) = bench.activity.entries()
    event = entry.what
    assert isinstance(event, MassEvent)
    counts = event.counts(bench.fleet.inventory.with_ancestors)
    assert counts.thing_types == {"pump": 20, "valve": 1}
    assert counts.thing_groups == {"hall": 20, "site": 20}
    assert event.reasons == {"": 22}
    bench.check(bench.now + 100)
    assert event.combinations, "it may grow: its transitions are from a backlog"
    bench.check(bench.now + 121)
    assert event.combinations == {}
    assert event.counts(set) == counts, "they stay, even if the groups change"


def test_everything_is_bounded() -> None:
    bench = Observed()
    bench.activity.keep()
    number = 0
    for mass in range(MAX_EVENTS + 5):
        for name in names(150):
            bench.let(name, State.OFFLINE, 1000 * mass, f"reason {number}")
            number += 1
    events = [what for _, what in bench.activity.entries() if isinstance(what, MassEvent)]
    assert len(events) == MAX_EVENTS
    assert {len(event.clients) for event in events} == {MAX_CLIENTS}
    assert {tuple(event.reasons) for event in events} == {("other",)}
    for index in range(MAX_TRANSITIONS + 50):
        bench.let("a", State.ONLINE, 1e6 + 21 * index)
    assert len(bench.activity.transitions) == MAX_TRANSITIONS


@given(st.lists(st.integers(1, 700), min_size=3, max_size=12))
@settings(max_examples=30, deadline=None)
def test_many_clients_are_counted_by_a_sample(batches: list[int]) -> None:
    bench, number = Observed(), 0
    for name in names(4):
        bench.learn(thing(name, "pump" if name == "c-0" else "valve", 1))
    for size in batches:
        changes = [bench.change(f"c-{n % 4}", State.OFFLINE, 100) for n in range(size)]
        bench.activity.observe(bench.fleet, changes)
        number += size
    events = [what for _, what in bench.activity.entries() if isinstance(what, MassEvent)]
    assert sum(event.count for event in events) == (number if number >= MIN_COUNT else 0)
    for event in events:
        counts = event.counts(set).thing_types
        total = sum(counts.values())
        assert (
            total == event.count if event.count <= MAX_EXACT else 0 <= event.count - total < SAMPLE
        )


def test_a_mass_event_keeps_the_largest_names() -> None:
    bench = Observed()
    for number in range(3000):
        bench.learn(thing(f"c-{number}", f"type {number % 1500}", 1))
    bench.learn(*(thing(f"big-{number}", "type 7", 1) for number in range(100)))
    for number in range(100):
        bench.let(f"big-{number}", State.OFFLINE, 100)
    for number in range(3000):
        bench.let(f"c-{number}", State.OFFLINE, 100)
    (entry,) = bench.activity.entries()
    assert isinstance(entry.what, MassEvent)
    types = entry.what.counts(set).thing_types
    assert len(types) == MAX_NAMES
    assert max(types, key=types.__getitem__) == "type 7"


def expected(events: Iterable[tuple[float, bool]]) -> list[str | tuple[str, int]]:
    """The entries of transitions at these times, by the rule alone."""
    runs: list[list[tuple[int, float]]] = []
    current: dict[bool, list[tuple[int, float]]] = {}
    states: list[bool] = []
    for number, (at, is_online) in enumerate(events):
        run = current.get(is_online)
        near = run and abs(at - run[-1][1]) <= MAX_PAUSE and at - run[0][1] <= MAX_LENGTH
        if run is None or not near:
            run = current[is_online] = []
            runs.append(run)
        run.append((number, at))
        states.append(is_online)
    found: list[tuple[int, str | tuple[str, int]]] = []
    for run in runs:
        if len(run) < MIN_COUNT:
            found += [(number, f"c-{number}") for number, _ in run]
        else:
            state = "online" if states[run[0][0]] else "offline"
            found.append((run[MIN_COUNT - 1][0], (state, len(run))))
    return [what for _, what in sorted(found, key=lambda each: each[0], reverse=True)]


STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 5.0, 15.0, 19.0, 25.0]), st.booleans()), max_size=150
)


@given(STEPS, st.integers(1, 7), st.integers(1, 40))
def test_entries_and_their_pages_are_those_of_the_rule(
    steps: list[tuple[float, bool]], limit: int, batch: int
) -> None:
    bench, now = Observed(), 1000.0
    events, changes = [], []
    for number, (pause, is_online) in enumerate(steps):
        now += pause
        events.append((now, is_online))
        state = State.ONLINE if is_online else State.OFFLINE
        changes.append(bench.change(f"c-{number}", state, now))
        if len(changes) == batch:
            bench.activity.observe(bench.fleet, changes)
            changes.clear()
            bench.check(now)
    bench.activity.observe(bench.fleet, changes)
    assert bench.entries == expected(events)
    found, before = [], None
    while True:
        page, before = bench.activity.page(limit, before)
        found += page
        if before is None:
            break
    assert found == list(bench.activity.entries())
