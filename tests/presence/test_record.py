"""AWS's record and events, merged: whatever is lost, late or doubled, the state ends true."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.lost_events import wrong
from histories import lifecycle
from presenced.events.model import LifecycleEvent
from presenced.presence import OrderingRules, Presence, PresenceRules, State
from presenced.presence.lookups import LookupBudget, VerifyOffline
from presenced.presence.record import Row
from recorders import assert_reasons_are_counted

T = 120.0
LAG = 60.0
START = 1_700_000_000.0
RULES = PresenceRules(ordering=OrderingRules(timestamp_accuracy=round(T * 1000)))
MANY = settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow])

# Made once: to make a strategy costs as much as to draw from it.
_OFF = st.floats(-T, T) | st.sampled_from([-T, 0.0, T])
_PAUSE = st.sampled_from([0.001, 1.0, 30.0, 200.0, 1000.0]) | st.floats(0.001, 7200)
_CONNECTIONS = st.integers(1, 5)
_LATE = st.sampled_from([0.0, 1.0, 1800.0]) | st.floats(0, 1800)
_SKIPPED_VERSIONS = st.integers(1, 3)
_COPIES, _COPIES_OR_LOST = st.integers(1, 2), st.integers(0, 2)
_DELAY = st.sampled_from([0.0, 0.5, 300.0, 1900.0]) | st.floats(0, 600)
_YES_OR_NO = st.booleans()
_MODE = st.sampled_from(["always", "unverified"])
_SHARE = st.floats(0, 1)
_BEFORE, _LAGS = st.floats(0, 600), st.floats(0, LAG)


@dataclass(frozen=True)
class Published:
    """An event, and the true time at which AWS published it, in seconds."""

    event: LifecycleEvent
    at: float


@dataclass(frozen=True)
class Truth:
    """What a client did: its events, and since when it has been connected or not."""

    published: tuple[Published, ...]
    states: tuple[tuple[float, bool], ...]

    def at(self, now: float) -> tuple[float, bool] | None:
        """Since when it is connected or not; None before its first connect."""
        past = [state for state in self.states if state[0] <= now]
        return past[-1] if past else None


@st.composite
def truths(draw: st.DrawFn) -> Truth:
    """Connections one after another, flaps, takeovers that are noticed late, long absences."""
    now, version, session = START, 0, 0
    published: list[Published] = []
    states: list[tuple[float, bool]] = []

    def publish(*, connected: bool, at: float, reason: str | None = None) -> None:
        event = lifecycle(
            connected=connected,
            timestamp=round((at + draw(_OFF)) * 1000),
            version=version,
            session=f"s{session}",
            reason=reason,
        )
        published.append(Published(event, at))

    number = draw(_CONNECTIONS)
    for index in range(number):
        publish(connected=True, at=now)
        states.append((now, True))
        now += draw(_PAUSE)
        is_last = index == number - 1
        if is_last and draw(_YES_OR_NO):
            break
        if not is_last and draw(_YES_OR_NO):
            late = draw(_LATE)
            publish(connected=False, at=now + late, reason="DUPLICATE_CLIENTID")
        else:
            publish(connected=False, at=now, reason="CONNECTION_LOST")
            states.append((now, False))
            now += draw(_PAUSE)
        version += draw(_SKIPPED_VERSIONS)
        session += draw(_YES_OR_NO)
    return Truth(tuple(published), tuple(states))


class World:
    """A presence, the time, and AWS, which answers lookups with the truth."""

    def __init__(self, truth: Truth, mode: VerifyOffline) -> None:
        self.truth = truth
        self.presence = Presence(RULES)
        self.presence.lookups.use(mode, LookupBudget(1000.0))
        self.now = START - 1

    def advance(self, to: float) -> None:
        """Let time pass: deadlines fire, and lookups are answered at once."""
        while (due := self.presence.deadlines.next) is not None and due <= to:
            self.now = max(self.now, due)
            list(self.presence.fire(self.now, 0.0))
            self.answer()
        self.now = max(self.now, to)
        self.answer()
        assert_reasons_are_counted(self.presence)

    def receive_all(self, deliveries: list[tuple[float, LifecycleEvent]]) -> None:
        for at, event in deliveries:
            self.advance(at)
            self.presence.apply(event, self.now, self.now)
            self.answer()

    def answer(self) -> None:
        for client_id in self.presence.lookups.take(self.now):
            row = self.row(client_id, self.now, is_answer=True)
            if row is not None:
                self.presence.record.merge(row, self.now)

    def row(self, client_id: str, seen: float, *, is_answer: bool = False) -> Row | None:
        found = self.truth.at(seen)
        if found is None:
            return None
        since, connected = found
        operation = "GetThingConnectivityData" if is_answer else "SearchIndex"
        return Row(
            client_id,
            connected,
            round(since * 1000),
            self.now,
            self.presence.gap_epoch,
            operation,
            is_answer=is_answer,
        )

    @property
    def is_true(self) -> bool:
        found = self.truth.at(self.now)
        client = self.presence.clients.get("client")
        online = client is not None and client.state is State.ONLINE
        return online == (found is not None and found[1])


@given(data=st.data())
@MANY
def test_the_state_is_true_after_the_settling_snapshot(data: st.DataObject) -> None:
    truth = data.draw(truths())
    world = World(truth, data.draw(_MODE))
    last = max(each.at for each in truth.published)
    # Events of before the snapshot, less the lag, may be lost. If they arrive, they do before it.
    snapshot = last + LAG + 1
    if data.draw(_YES_OR_NO):
        snapshot = START + 1 + data.draw(_SHARE) * (last + 2 * T - START - 1)
    gap = snapshot - T - data.draw(_BEFORE)
    deliveries: list[tuple[float, LifecycleEvent]] = []
    for each in truth.published:
        is_old = each.at <= snapshot - LAG
        for _ in range(data.draw(_COPIES_OR_LOST if is_old else _COPIES)):
            delay = data.draw(_DELAY)
            if is_old:
                delay = min(delay, snapshot - each.at - 0.001)
            deliveries.append((each.at + delay, each.event))
    deliveries.sort(key=lambda each: each[0])
    world.receive_all([each for each in deliveries if each[0] < gap])
    world.advance(gap)
    world.presence.note_gap(gap)
    world.receive_all([each for each in deliveries if gap <= each[0] < snapshot])
    world.advance(snapshot)
    take_snapshot(world, data.draw(_LAGS))
    world.receive_all([each for each in deliveries if each[0] >= snapshot])
    world.advance(world.now + 10_000)
    assert world.is_true


def test_lost_events_leave_wrong_states_only_where_aws_is_not_asked() -> None:
    by_events, _, with_lookups = wrong(2000, lost=0.15)
    assert by_events > 100
    assert with_lookups == 0


def take_snapshot(world: World, lag: float) -> None:
    client = world.presence.clients.get("client")
    was_true = world.is_true and client is not None and not world.presence.is_unverified(client)
    row = world.row("client", world.now - lag)
    if row is not None:
        world.presence.record.merge(row, world.now)
    world.answer()
    assert world.is_true or not was_true
