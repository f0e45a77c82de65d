"""Status messages as evidence: `presence.status_topics`."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_bench import DELAY
from fleet_process import RULES, Process, Time, check, known
from histories import histories, lifecycle
from presenced.events.model import LifecycleEvent, StatusEvent, SubscriptionEvent
from presenced.fleet import Fleet
from presenced.presence import ClientRule, PresenceRules, State
from presenced.presence.lookups import LookupBudget
from presenced.presence.record import Row
from recorders import ChangeRecorder
from registries import thing

ONLINE, OFFLINE = True, False


class Broker:
    """A fleet that gets status messages, on a clock of its own."""

    def __init__(self, **rules: Any) -> None:
        self.now = 1000.0
        self.recorder = ChangeRecorder()
        self.fleet = Fleet(PresenceRules(**{"offline_delay": DELAY} | rules))
        self.presence = self.fleet.presence
        self.counts = self.presence.counts
        self.version = 0

    def status(self, *, connected: bool, retained: bool = False, client_id: str = "a") -> None:
        kind = "online" if connected else "offline"
        event = StatusEvent(type=kind, client_id=client_id, connected=connected, retained=retained)
        self.fleet.apply_status(event, self.now, self.now)
        self.record()

    def lifecycle(self, *, connected: bool) -> None:
        self.version += connected
        event = lifecycle(
            connected=connected,
            timestamp=round(self.now * 1000),
            version=self.version,
            session=f"s{self.version}",
            client_id="a",
        )
        self.fleet.apply(event, self.now, self.now)
        self.record()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.fleet.fire(self.now, 0.0)
        self.record()

    def record(self) -> None:
        self.recorder.add(self.fleet.take_changes().clients)

    @property
    def state(self) -> str | None:
        client = self.presence.clients.get("a")
        return None if client is None else client.state.value

    @property
    def verified(self) -> bool:
        return not self.presence.is_unverified(self.presence.clients["a"])

    @property
    def transitions(self) -> list[tuple[str, str, float]]:
        return [(t.previous.value, t.state.value, t.since) for t in self.recorder.transitions]


def test_a_last_will_stands_for_the_offline_delay() -> None:
    broker = Broker()
    broker.status(connected=ONLINE)
    broker.wait(10)
    broker.status(connected=OFFLINE)
    assert broker.state == "pending"
    broker.wait(DELAY)
    assert broker.state == "offline"
    assert broker.presence.clients["a"].reason == "STATUS_OFFLINE"
    assert broker.presence.clients["a"].source == "status"
    broker.wait(10)
    broker.status(connected=ONLINE)
    assert broker.transitions == [
        ("unknown", "online", 1000.0),
        ("online", "offline", 1010.0),
        ("offline", "online", 1025.0),
    ]
    assert sum(broker.counts.disconnects.values()) == 0, "a status is no disconnect"


def test_a_return_within_the_delay_is_a_flap() -> None:
    broker = Broker()
    broker.status(connected=ONLINE)
    broker.status(connected=OFFLINE)
    broker.wait(DELAY / 2)
    broker.status(connected=OFFLINE)
    broker.status(connected=ONLINE)
    broker.wait(100)
    assert broker.state == "online"
    assert broker.counts.flaps_suppressed == 1
    assert len(broker.transitions) == 1


def test_a_client_first_known_by_its_last_will_is_offline_at_once() -> None:
    broker = Broker()
    broker.status(connected=OFFLINE)
    assert broker.transitions == [("unknown", "offline", 1000.0)]


def test_a_repeated_status_changes_nothing_that_is_kept() -> None:
    broker = Broker()
    changed = []
    for connected in (ONLINE, ONLINE, OFFLINE, OFFLINE, ONLINE):
        event = StatusEvent(type="x", client_id="a", connected=connected)
        broker.fleet.apply_status(event, broker.now, broker.now)
        changed += [change.changed for change in broker.fleet.take_changes().clients]
    assert changed == [True, False, True, False, True]


@pytest.mark.parametrize("connected", [ONLINE, OFFLINE])
def test_a_retained_status_is_a_state_without_a_transition(connected: bool) -> None:
    broker = Broker(forget_offline_after=100.0)
    broker.fleet.apply_registry(thing("a", "pump"), broker.now)
    broker.status(connected=connected, retained=True)
    state = "online" if connected else "offline"
    assert (broker.state, broker.transitions) == (state, [])
    assert broker.counts.adopted[State(state)] == 1
    assert broker.presence.clients["a"].has_record_only is not connected
    broker.wait(1)
    broker.status(connected=not connected)
    broker.wait(DELAY)
    assert [to for _, to, _ in broker.transitions] == ["offline" if connected else "online"]


def test_a_retained_status_corrects_a_state_that_was_known_before() -> None:
    """The session was lost, and with it what the client published meanwhile."""
    broker = Broker()
    broker.status(connected=ONLINE)
    broker.presence.note_gap(broker.now)
    assert not broker.verified
    broker.status(connected=OFFLINE, retained=True)
    assert broker.verified
    broker.wait(DELAY)
    assert [to for _, to, _ in broker.transitions] == ["online", "offline"]


def test_a_status_that_a_queue_delivers_late_is_stale() -> None:
    broker = Broker()
    broker.status(connected=ONLINE)
    broker.now += 10
    broker.status(connected=OFFLINE)
    broker.now -= 5
    broker.status(connected=ONLINE)
    broker.now += 5
    broker.wait(DELAY)
    assert broker.state == "offline"
    assert broker.counts.ignored["stale"] == 1


def test_the_delay_of_a_rule_applies() -> None:
    broker = Broker(client_rules=[ClientRule("a", offline_delay=60.0)])
    broker.status(connected=ONLINE)
    broker.status(connected=OFFLINE)
    broker.wait(59)
    assert broker.state == "pending"
    broker.wait(1)
    assert broker.state == "offline"


def test_lifecycle_events_decide_from_the_first_one_on() -> None:
    broker = Broker()
    broker.status(connected=ONLINE)
    broker.lifecycle(connected=True)
    assert broker.presence.clients["a"].source == "lifecycle"
    broker.status(connected=OFFLINE)
    broker.wait(100)
    assert broker.state == "online"
    broker.lifecycle(connected=False)
    assert broker.state == "pending"
    broker.wait(DELAY)
    broker.status(connected=ONLINE)
    broker.wait(100)
    assert broker.state == "offline"


def test_a_contradiction_that_lasts_leaves_a_doubt() -> None:
    broker = Broker()
    broker.lifecycle(connected=True)
    broker.status(connected=OFFLINE)
    broker.wait(DELAY - 0.1)
    assert broker.verified, "the disconnect may be on its way"
    broker.wait(0.1)
    assert not broker.verified
    assert broker.presence.status.is_in_doubt("a")
    assert broker.counts.status_contradictions == {"online": 0, "offline": 1}
    broker.lifecycle(connected=False)
    assert broker.verified
    assert not broker.presence.status.is_in_doubt("a")


@pytest.mark.parametrize("settled_by", ["disconnect", "connect", "status", "forgotten"])
def test_what_settles_a_contradiction(settled_by: str) -> None:
    broker = Broker()
    broker.lifecycle(connected=True)
    broker.status(connected=OFFLINE)
    broker.wait(1)
    match settled_by:
        case "disconnect" | "connect":
            broker.lifecycle(connected=settled_by == "connect")
        case "status":
            broker.status(connected=ONLINE)
        case "forgotten":
            broker.fleet.forget("a", "requested")
            broker.record()
    broker.wait(100)
    assert broker.counts.status_contradictions == {"online": 0, "offline": 0}


def test_aws_is_asked_about_a_contradiction() -> None:
    broker = Broker()
    broker.presence.lookups.use("always", LookupBudget(50.0))
    broker.lifecycle(connected=True)
    broker.status(connected=OFFLINE)
    assert not broker.presence.lookups
    broker.wait(DELAY)
    assert broker.presence.lookups.take(broker.now) == ["a"]
    row = Row(
        "a",
        connected=False,
        timestamp=round((broker.now - DELAY) * 1000),
        asked=broker.now,
        gap_epoch=0,
        operation="GetConnection",
        is_answer=True,
    )
    broker.fleet.merge(row, broker.now)
    broker.wait(DELAY)
    assert broker.state == "offline", "its disconnect had been lost"


def answer(broker: Broker, *, connected: bool, at: float | None = None, **fields: Any) -> None:
    """Merge the answer to a lookup that is made now: what AWS knows since `at`."""
    row = Row(
        "a",
        connected=connected,
        timestamp=round((broker.now if at is None else at) * 1000),
        asked=broker.now,
        gap_epoch=broker.presence.gap_epoch,
        operation="GetConnection",
        is_answer=True,
        **fields,
    )
    broker.fleet.merge(row, broker.now)
    broker.record()


@pytest.mark.parametrize("settles", [True, False])
def test_a_state_that_aws_has_corrected_contradicts_no_status(settles: bool) -> None:
    broker = Broker()
    broker.presence.lookups.use("never", LookupBudget(50.0))
    broker.lifecycle(connected=True)
    broker.wait(10)
    broker.status(connected=OFFLINE)
    broker.wait(1)
    answer(broker, connected=False, at=broker.now - 1, settles=settles)
    assert broker.state == "pending"
    broker.wait(100)
    assert (broker.state, broker.verified) == ("offline", True)
    assert broker.counts.status_contradictions == {"online": 0, "offline": 0}
    assert not broker.presence.lookups


def test_a_doubt_ends_when_aws_corrects_the_state() -> None:
    broker = Broker()
    broker.presence.lookups.use("never", LookupBudget(50.0))
    broker.lifecycle(connected=True)
    broker.status(connected=OFFLINE)
    broker.wait(DELAY)
    assert broker.presence.status.is_in_doubt("a")
    answer(broker, connected=False)
    broker.wait(DELAY)
    assert (broker.state, broker.verified) == ("offline", True)
    broker.presence.note_gap(broker.now)
    assert not broker.presence.status.is_in_doubt("a"), "the gap is the cause"
    answer(broker, connected=True)
    broker.status(connected=OFFLINE)
    broker.wait(DELAY)
    assert broker.presence.status.is_in_doubt("a"), "it contradicts anew"


@pytest.mark.parametrize("by", ["answer", "subscription"])
def test_a_doubt_ends_when_the_client_is_verified_against_its_status(by: str) -> None:
    broker = Broker()
    broker.presence.lookups.use("never", LookupBudget(50.0))
    broker.lifecycle(connected=True)
    broker.status(connected=OFFLINE)
    broker.wait(DELAY)
    assert broker.presence.lookups.take(broker.now) == ["a"]
    if by == "answer":
        answer(broker, connected=True, at=1000.0)
    else:
        event = SubscriptionEvent(type="subscribed", client_id="a", timestamp=None)
        broker.fleet.apply_subscription(event, broker.now)
    assert broker.verified
    broker.status(connected=OFFLINE)
    broker.wait(DELAY)
    assert broker.verified, "a copy of the status tells nothing new"
    assert not broker.presence.lookups
    broker.presence.note_gap(broker.now)
    assert not broker.presence.status.is_in_doubt("a"), "the gap is the cause"


ACTS = st.one_of(
    st.tuples(st.just("status"), st.booleans()),
    st.tuples(st.just("lifecycle"), st.booleans()),
    st.tuples(st.just("answer"), st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0, 100.0])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, DELAY, 100.0])),
    st.tuples(st.just("gap")),
)


@given(st.lists(ACTS, max_size=20), st.sampled_from(["always", "unverified", "never"]))
def test_what_is_left_of_contradictions_contradicts(acts: list[Any], mode: Any) -> None:
    """Whatever decides the state: events, AWS, or the end of a delay."""
    broker = Broker()
    broker.presence.lookups.use(mode, LookupBudget(50.0))
    broker.lifecycle(connected=True)
    for name, *arguments in acts:
        match name:
            case "status" | "lifecycle":
                getattr(broker, name)(connected=arguments[0])
            case "answer":
                connected, settles, age = arguments
                answer(broker, connected=connected, at=broker.now - age, settles=settles)
            case "wait":
                broker.wait(arguments[0])
            case "gap":
                broker.presence.note_gap(broker.now)
        is_online = broker.state == "online"
        for contradiction in broker.presence.status.contradictions.values():
            assert contradiction.connected != is_online, name
        assert not (broker.verified and broker.presence.status.is_in_doubt("a")), name


def test_a_subscription_changes_nothing_about_a_client_with_a_status() -> None:
    broker = Broker()
    broker.status(connected=OFFLINE)
    event = SubscriptionEvent(type="subscribed", client_id="a", timestamp=None)
    broker.fleet.apply_subscription(event, broker.now)
    assert broker.state == "offline"


def test_a_forgotten_client_of_lifecycle_events_is_not_revived_by_a_status() -> None:
    broker = Broker(forget_offline_after=100.0)
    broker.lifecycle(connected=True)
    broker.lifecycle(connected=False)
    broker.wait(DELAY)
    broker.wait(100)
    broker.status(connected=ONLINE)
    assert broker.state is None
    broker.lifecycle(connected=True)
    assert broker.state == "online"


def test_a_status_outlives_a_restart(tmp_path: Any) -> None:
    path, time = tmp_path / "presenced.db", Time()
    process = Process(path, time, rules=RULES)
    for client_id, connected in (("a", True), ("b", False), ("c", True)):
        event = StatusEvent(type="online", client_id=client_id, connected=connected)
        process.fleet.apply_status(event, time.wall, time.now)
    event = StatusEvent(type="offline", client_id="c", connected=False)
    process.fleet.apply_status(event, time.wall, time.now)
    process.publish()
    process.flush()
    before = known(process)
    process.end()
    process = Process(path, time, rules=RULES)
    assert known(process) == before
    check(process)
    assert {c.source for c in process.presence.clients.values()} == {"status"}
    time.now += DELAY
    process.advance()
    states = {c.client_id: c.state.value for c in process.presence.clients.values()}
    assert states == {"a": "online", "b": "offline", "c": "offline"}
    late = StatusEvent(type="online", client_id="a", connected=False)
    process.fleet.apply_status(late, time.wall, time.now - DELAY - 1)
    assert process.presence.clients["a"].state is State.ONLINE, "from before the restart"
    process.end()


STATUSES = st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=12)


def final(
    events: Sequence[LifecycleEvent],
    statuses: Iterable[tuple[int, bool, bool]],
    steps: Sequence[float],
    *,
    asking: bool,
) -> tuple[Any, ...]:
    """What is known at the end, and the transitions, of events with statuses in between.

    A status has the number of the event that it comes before, what it says, and whether it is
    retained. `steps` are the seconds before each event.
    """
    broker = Broker()
    if asking:
        broker.presence.lookups.use("never", LookupBudget(50.0))
    waiting = sorted(statuses, key=lambda status: status[0])
    for number, event in enumerate(events):
        while waiting and waiting[0][0] <= number:
            _, connected, retained = waiting.pop(0)
            broker.status(connected=connected, retained=retained, client_id=event.client_id)
        broker.wait(steps[number % len(steps)] if steps else 0.0)
        broker.fleet.apply(event, broker.now, broker.now)
        broker.record()
    for _, connected, retained in waiting:
        broker.status(connected=connected, retained=retained, client_id=events[0].client_id)
    broker.wait(1000)
    (client,) = broker.presence.clients.values()
    return (client.state, client.stamp, client.since), broker.transitions, broker


@given(
    histories(),
    st.randoms(use_true_random=False),
    STATUSES,
    st.lists(st.sampled_from([0.0, 1.0, DELAY]), max_size=3),
    st.booleans(),
)
def test_any_statuses_among_lifecycle_events_end_in_the_state_of_these(
    history: Any, random: Any, statuses: list[tuple[int, bool, bool]], steps: Any, asking: bool
) -> None:
    """In any order of arrival, with copies: the last state is that of the lifecycle events."""
    events = [*history.events, *random.choices(history.events, k=3)]
    random.shuffle(events)
    with_statuses, _, broker = final(events, statuses, steps, asking=asking)
    without, _, _ = final(events, [], steps, asking=asking)
    state, stamp, _ = with_statuses
    assert (state, stamp) == without[:2]
    assert state is (State.ONLINE if history.online else State.OFFLINE)
    assert sum(broker.counts.clients.values()) == 1


@given(
    histories(),
    st.randoms(use_true_random=False),
    STATUSES,
    st.lists(st.sampled_from([0.0, 1.0, DELAY]), max_size=3),
)
def test_after_the_first_lifecycle_event_statuses_change_no_transition(
    history: Any, random: Any, statuses: list[tuple[int, bool, bool]], steps: Any
) -> None:
    """So that they can make no client offline, or online, that was not."""
    events = [*history.events, *random.choices(history.events, k=3)]
    random.shuffle(events)
    later = [(number + 1, *rest) for number, *rest in statuses]
    with_statuses, transitions, _ = final(events, later, steps, asking=False)
    without, expected, _ = final(events, [], steps, asking=False)
    assert with_statuses == without
    assert transitions == expected
