"""Connections without versions, or of brokers that give each the same session and version."""

import pytest

from histories import A, lifecycle
from presenced.events.model import LifecycleEvent
from presenced.presence import Effect, OrderingRules, Presence, PresenceRules, State
from recorders import ChangeRecorder, fire

SECOND = 1000
START = 1_700_000_000


def event(
    kind: str, at: float, session: str | None = "s", version: int | None = None
) -> LifecycleEvent:
    return lifecycle(
        connected=kind == "connect",
        timestamp=round((START + at) * SECOND),
        version=version,
        session=session,
        reason=None if kind == "connect" else "CONNECTION_LOST",
    )


def connect(at: float, session: str | None = "s", version: int | None = None) -> LifecycleEvent:
    return event("connect", at, session, version)


def disconnect(at: float, session: str | None = "s", version: int | None = None) -> LifecycleEvent:
    return event("disconnect", at, session, version)


def after(*events: LifecycleEvent) -> tuple[Presence, ChangeRecorder]:
    """Presence after events, ten seconds one after another, once all delays are over."""
    presence = Presence(PresenceRules(ordering=OrderingRules(timestamp_accuracy=A)))
    recorder = ChangeRecorder()
    now = 0.0
    for each in events:
        recorder.add(fire(presence, now))
        recorder.add([presence.apply(each, now, now)])
        now += 10
    recorder.add(fire(presence, now))
    return presence, recorder


def state_after(*events: LifecycleEvent) -> State:
    return after(*events)[0].clients["client"].state


def test_a_broker_with_one_session_and_no_versions() -> None:
    history = [connect(0), disconnect(60), connect(90)]
    assert state_after(*history) is State.ONLINE
    assert state_after(*history, disconnect(100)) is State.OFFLINE
    assert state_after(*history, disconnect(60)) is State.ONLINE, "a copy"
    assert state_after(*history, connect(0)) is State.ONLINE, "a copy"
    assert state_after(*history, disconnect(100), connect(90)) is State.OFFLINE, "a copy"


def test_a_broker_with_one_session_and_one_version() -> None:
    history = [
        connect(0, version=0),
        disconnect(60, version=0),
        connect(90, version=0),
        disconnect(4_000, version=0),
        connect(40_000, version=0),
    ]
    assert state_after(*history[:2]) is State.OFFLINE
    assert state_after(*history[:4]) is State.OFFLINE
    assert state_after(*history) is State.ONLINE
    assert state_after(*history, history[3]) is State.ONLINE, "a copy"
    assert state_after(*history, history[0]) is State.ONLINE, "a copy"
    assert state_after(history[4], history[3]) is State.ONLINE, "late"
    presence, _ = after(*history)
    assert sum(presence.counts.disconnects.values()) == 2


@pytest.mark.parametrize("late", [18, 1_800, 86_400])
def test_the_late_disconnect_of_a_replaced_session_changes_nothing(late: float) -> None:
    presence, recorder = after(connect(0, "s1"), connect(162, "s2"), disconnect(162 + late, "s1"))
    assert presence.clients["client"].state is State.ONLINE
    assert [t.state for t in recorder.transitions] == [State.ONLINE]
    assert presence.counts.ignored["stale"] == 1
    assert sum(presence.counts.disconnects.values()) == 1


def test_the_disconnect_of_an_unknown_session_counts_until_its_connect_comes() -> None:
    unknown = [connect(162, "s2"), disconnect(180, "s1")]
    presence, _ = after(*unknown)
    assert presence.clients["client"].state is State.OFFLINE
    presence, recorder = after(*unknown, connect(0, "s1"))
    client = presence.clients["client"]
    assert (client.state, client.session) == (State.ONLINE, "s2")
    assert client.timestamp == (START + 162) * SECOND
    assert [t.state for t in recorder.transitions] == [State.ONLINE, State.OFFLINE, State.ONLINE]


def test_a_connect_that_reinstates_within_the_delay_suppresses_the_flap() -> None:
    presence = Presence(PresenceRules(offline_delay=5))
    for each in (connect(162, "s2"), disconnect(180, "s1")):
        presence.apply(each, 0, 0)
    change = presence.apply(connect(0, "s1"), 1, 1)
    assert (change.before, change.after) == (State.PENDING, State.ONLINE)
    assert change.effect is Effect.FLAP_SUPPRESSED
    assert change.against is None
    assert presence.counts.ignored == {"duplicate": 0, "stale": 0}


def test_a_connect_does_not_reinstate_a_client_that_was_forgotten() -> None:
    presence, _ = after(connect(162, "s2"), disconnect(180, "s1"))
    presence.forget("client", "thing_deleted")
    change = presence.apply(connect(0, "s1"), 100, 100)
    assert change.effect is Effect.STALE
    assert "client" not in presence.clients


def test_a_connect_that_comes_after_its_disconnect_changes_nothing() -> None:
    assert state_after(disconnect(60), connect(0)) is State.OFFLINE
    assert state_after(disconnect(60), connect(60 + 2 * A / SECOND)) is State.OFFLINE
    assert state_after(disconnect(60), connect(61 + 2 * A / SECOND)) is State.ONLINE


def test_a_connect_stamped_after_its_disconnect_ends_the_connection_before() -> None:
    presence, recorder = after(connect(0, "s1"), disconnect(-1, "s2"))
    assert presence.clients["client"].state is State.ONLINE
    change = presence.apply(connect(1, "s2"), 20, 20)
    assert (change.before, change.after) == (State.ONLINE, State.PENDING)
    recorder.add(fire(presence, 25))
    assert presence.clients["client"].state is State.OFFLINE
    assert sum(presence.counts.disconnects.values()) == 1
    assert len(recorder.transitions) == 2


@pytest.mark.parametrize("times", [(130, 260, 1280, 1300, 1320), (0, 1000, 2000, 2060, 2200)])
def test_after_a_lost_connect_the_next_connection_has_an_end_of_its_own(
    times: tuple[int, ...],
) -> None:
    """In one session: the connect before the third is lost."""
    first, end, unmatched, second, last = times
    history = [connect(first), disconnect(end), disconnect(unmatched), connect(second)]
    assert state_after(*history) is State.ONLINE
    assert state_after(*history, disconnect(last)) is State.OFFLINE


def test_a_second_disconnect_of_one_connection_is_a_duplicate() -> None:
    presence, _ = after(connect(0), disconnect(60), disconnect(70))
    assert presence.counts.ignored["duplicate"] == 1
    assert sum(presence.counts.disconnects.values()) == 1


def test_a_disconnect_without_session_counts_by_its_time() -> None:
    assert state_after(connect(0, "s1"), disconnect(10, None)) is State.OFFLINE
    assert state_after(connect(20, "s1"), disconnect(10, None)) is State.ONLINE
    assert state_after(connect(0, None), disconnect(0, None)) is State.OFFLINE
    assert state_after(disconnect(0, None), connect(0, None)) is State.ONLINE


def test_an_open_connection_is_remembered_over_many_others() -> None:
    """The disconnects of replaced connections come in the end, each stamped after all connects."""
    connects = [connect(60 * number, f"s{number}") for number in range(20)]
    ends = [disconnect(60 * 20 + number, f"s{number}") for number in range(19)]
    assert state_after(*connects, *ends) is State.ONLINE
    assert state_after(*connects, *ends, disconnect(5_000, "s19")) is State.OFFLINE


def test_the_memory_of_connections_is_bounded() -> None:
    connects = [connect(60 * number, f"s{number}") for number in range(500)]
    presence, _ = after(*connects)
    ambiguous = presence.clients["client"].ambiguous
    assert ambiguous is not None
    assert len(ambiguous.seen) <= 64
    assert presence.clients["client"].session == "s499"
