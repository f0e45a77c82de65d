"""In whatever order AWS delivers a true history, the final state is the true one."""

import itertools
from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from histories import A, History, arrivals, histories, lifecycle, unversioned_histories
from presenced.events.model import LifecycleEvent
from presenced.presence import OrderingRules, Presence, PresenceRules, State
from recorders import ChangeRecorder, fire

RULES = PresenceRules(ordering=OrderingRules(timestamp_accuracy=A))
LONG = 10**6
MANY = settings(max_examples=1500)


def deliver(events: Iterable[LifecycleEvent], apart: float = 0.01) -> tuple[Presence, list]:
    """Presence after events that come `apart` seconds one after another, once all has settled."""
    presence = Presence(RULES)
    recorder = ChangeRecorder()
    now = 0.0
    for event in events:
        recorder.add(fire(presence, now))
        recorder.add([presence.apply(event, now, now)])
        now += apart
    recorder.add(fire(presence, now + LONG))
    return presence, recorder.transitions


def check_truth(presence: Presence, history: History) -> None:
    client = presence.clients["client"]
    assert (client.state is State.ONLINE) == history.online
    if history.online:
        assert (client.version, client.session) == (history.last.version, history.last.session)


@given(data=st.data())
@MANY
def test_any_delivery_ends_in_the_true_state(data: st.DataObject) -> None:
    history = data.draw(histories(reset_after_late=False))
    presence, _ = deliver(data.draw(arrivals(history)))
    check_truth(presence, history)
    client = presence.clients["client"]
    assert (client.version, client.session) == (history.last.version, history.last.session)


@given(data=st.data())
@MANY
def test_so_it_does_where_a_reset_follows_a_takeover_noticed_late(data: st.DataObject) -> None:
    history = data.draw(histories(reset_after_late=True))
    presence, _ = deliver(data.draw(arrivals(history)))
    check_truth(presence, history)


@given(data=st.data())
@MANY
def test_any_delivery_without_versions_ends_in_the_true_state(data: st.DataObject) -> None:
    history = data.draw(unversioned_histories())
    presence, _ = deliver(data.draw(arrivals(history)))
    client = presence.clients["client"]
    assert (client.state is State.ONLINE) == history.online
    if history.online:
        assert client.session == history.last.session
    true = sum(not event.connected for event in history.events)
    assert sum(presence.counts.disconnects.values()) == true


def minutes(value: float) -> int:
    return round(value * 60_000)


def event(connected: bool, at: float, version: int) -> LifecycleEvent:
    return lifecycle(
        connected=connected,
        timestamp=minutes(10_000 + at),
        version=version,
        session=f"s{version}",
        reason=None if connected else "CONNECTION_LOST",
    )


def test_a_connect_whose_disconnect_was_rejected_does_not_bring_a_client_online() -> None:
    """Version 5 was taken over by 6, noticed 30 minutes late; then an hour away, and a reset.

    From the last accepted event alone, the disconnect of version 0 is stale after that of 5, and
    the connect of version 0 is then the later one: online, wrongly.
    """
    taken_over = event(False, 30, 5)
    ended = event(False, 62, 0)
    presence, transitions = deliver([taken_over, ended, event(True, 61, 0)])
    assert presence.clients["client"].state is State.OFFLINE
    assert [t.state for t in transitions] == [State.OFFLINE]


def test_rejected_disconnects_that_are_ambiguous_among_themselves_are_all_remembered() -> None:
    """Found by generated histories when one loser was remembered only."""
    late, ended, between = event(False, 30, 2), event(False, 67, 0), event(False, -1.5, 5)
    connects = [event(True, -2, 5), event(True, 65, 0), event(True, 0, 2)]
    presence, _ = deliver([late, ended, between, *connects])
    assert presence.clients["client"].state is State.OFFLINE


@given(data=st.data())
@MANY
def test_transitions_are_justified(data: st.DataObject) -> None:
    """Online and offline take turns, and each follows from an event that was accepted."""
    history = data.draw(histories())
    deliveries = data.draw(arrivals(history))
    accepted: list[tuple[float, bool]] = []
    presence = Presence(RULES)
    recorder = ChangeRecorder()
    transitions = recorder.transitions
    now = 0.0
    for delivered in deliveries:
        recorder.add(fire(presence, now))
        change = presence.apply(delivered, now, now)
        recorder.add([change])
        if change.against is None:
            accepted.append((now, delivered.connected))
        now += data.draw(st.sampled_from([0.0, 1.0, 4.0, 5.0, 60.0]))
    recorder.add(fire(presence, now + LONG))
    for before, after in itertools.pairwise(transitions):
        assert after.previous is before.state
        assert after.state is not before.state
        assert after.time >= before.time
    for transition in transitions:
        assert (transition.since, transition.state is State.ONLINE) in accepted
    # A disconnect makes a transition if, and only if, no later connect came within the delay.
    assert [(t.since, t.state is State.ONLINE) for t in transitions] == naive(accepted)


def naive(accepted: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """The transitions that accepted events justify, with an offline delay of 5 s."""
    result: list[tuple[float, bool]] = []
    down_since: float | None = None
    for at, connected in accepted:
        if down_since is not None and at >= down_since + 5:
            result.append((down_since, False))
            down_since = None
        online = bool(result) and result[-1][1]
        if connected:
            down_since = None
            if not online:
                result.append((at, True))
        elif not result:
            result.append((at, False))
        elif online and down_since is None:
            down_since = at
    if down_since is not None:
        result.append((down_since, False))
    return result


UNVERSIONED = st.builds(
    lifecycle,
    connected=st.booleans(),
    timestamp=st.integers(10**12, 10**12 + 2 * A) | st.just(10**12),
    version=st.none(),
    session=st.sampled_from([None, "a", "b"]),
)


# After each event, which of those so far come again. Made once: that costs as much as to draw.
FIRST_EVENTS = st.lists(
    UNVERSIONED, max_size=8, unique_by=lambda e: (e.connected, e.timestamp, e.session)
)
COPIES = st.lists(st.lists(st.integers(0, 99), max_size=3), min_size=8, max_size=8)


@given(first_events=FIRST_EVENTS, copies=COPIES)
@MANY
def test_duplicates_change_nothing_where_versions_are_missing(
    first_events: list[LifecycleEvent], copies: list[list[int]]
) -> None:
    """A copy has no effect, also if several connections have one session.

    A copy that comes after more than 2A could be that of an unknown connection of its session.
    """
    with_duplicates: list[LifecycleEvent] = []
    for index, (first, again) in enumerate(zip(first_events, copies, strict=False)):
        with_duplicates.append(first)
        with_duplicates += [first_events[number % (index + 1)] for number in again]
    assert end(first_events) == end(with_duplicates)


def end(events: list[LifecycleEvent]) -> object:
    presence, _ = deliver(events)
    return [
        (c.state, c.connected, c.timestamp, c.version, c.session) for c in presence.clients.values()
    ]


@given(delays=st.lists(st.floats(0, 1800), min_size=2, max_size=2), swap=st.booleans())
@example(delays=[1800.0, 0.0], swap=True)
def test_takeover_whatever_comes_first(delays: list[float], swap: bool) -> None:
    """The old connection's disconnect, before or up to 30 minutes after the new connect."""
    old = [event(True, 0, 7), event(False, 10 + delays[0] / 60, 7)]
    new = event(True, 10, 8)
    order = [old[0], new, old[1]] if swap else [*old, new]
    presence, transitions = deliver(order, apart=delays[1])
    assert presence.clients["client"].state is State.ONLINE
    offline = [t for t in transitions if t.state is State.OFFLINE]
    assert not offline or (not swap and delays[1] >= 5)


@given(data=st.data())
@MANY
def test_each_disconnect_counts_once_in_any_delivery(data: st.DataObject) -> None:
    history = data.draw(histories())
    presence, _ = deliver(data.draw(arrivals(history)))
    true = sum(not event.connected for event in history.events)
    assert sum(presence.counts.disconnects.values()) == true


MIXED = st.builds(
    lifecycle,
    connected=st.booleans(),
    timestamp=st.integers(0, 80).map(minutes),
    version=st.none() | st.integers(0, 5),
    session=st.sampled_from([None, "a", "b"]),
)


@given(events=st.lists(MIXED, max_size=8))
@MANY
def test_state_follows_the_last_accepted_event_whatever_comes(events: list[LifecycleEvent]) -> None:
    """Also where some events carry a version and some do not, and none of it makes sense."""
    presence, _ = deliver(events)
    for client in presence.clients.values():
        assert (client.state is State.ONLINE) == client.connected


def test_an_unversioned_connect_settles_an_earlier_ambiguity() -> None:
    """Found by generated histories: a rejected disconnect was applied while online."""
    stamps = [
        (False, 4, 3, "b"),
        (False, 12, 2, "b"),
        (True, 10, None, "a"),
        (True, 32, 5, "a"),
        (True, 69, 2, "b"),
    ]
    events = [
        lifecycle(connected=connected, timestamp=minutes(at), version=version, session=session)
        for connected, at, version, session in stamps
    ]
    presence, _ = deliver(events)
    client = presence.clients["client"]
    assert (client.state is State.ONLINE) == client.connected


def test_memory_of_events_without_versions_is_that_of_the_last_minutes() -> None:
    hourly = [
        lifecycle(connected=hour % 2 == 0, timestamp=minutes(60 * hour), version=None, session=None)
        for hour in range(50)
    ]
    presence, _ = deliver(hourly)
    ambiguous = presence.clients["client"].ambiguous
    assert ambiguous is not None
    assert len(ambiguous.seen) == 2
