"""`since`: the received time of the event that led to a state, unless that event came late."""

from histories import A, lifecycle
from presenced.events.model import LifecycleEvent
from presenced.presence import OrderingRules, Presence, PresenceRules, State
from recorders import fire

RULES = PresenceRules(offline_delay=5, ordering=OrderingRules(timestamp_accuracy=A))
NOON = 1_700_000_000.0
HALF_AN_HOUR = 1800.0
LIMIT = A / 1000


def event(*, connected: bool, at: float, version: int = 1) -> LifecycleEvent:
    return lifecycle(
        connected=connected, timestamp=round(at * 1000), version=version, session=f"s{version}"
    )


def test_an_event_in_time_counts_from_its_reception() -> None:
    presence = Presence(RULES)
    change = presence.apply(event(connected=True, at=NOON - LIMIT), NOON, 0)
    assert change.transition is not None
    assert change.transition.since == NOON


def test_a_late_connect_counts_from_its_event_time() -> None:
    presence = Presence(RULES)
    change = presence.apply(event(connected=True, at=NOON - HALF_AN_HOUR), NOON, 0)
    assert change.transition is not None
    assert (change.transition.since, change.transition.time) == (NOON - HALF_AN_HOUR, NOON)
    assert presence.clients["client"].since == NOON - HALF_AN_HOUR
    assert presence.clients["client"].transition == NOON - HALF_AN_HOUR


def test_a_late_disconnect_counts_from_its_event_time_and_waits_from_its_reception() -> None:
    presence = Presence(RULES)
    presence.apply(event(connected=True, at=NOON - 7200), NOON - 7200, 0)
    change = presence.apply(event(connected=False, at=NOON - HALF_AN_HOUR), NOON, 100)
    assert (change.after, change.transition) == (State.PENDING, None)
    assert fire(presence, 104.9) == []
    (went,) = fire(presence, 105, offset=NOON - 100)
    assert went.transition is not None
    assert (went.transition.since, went.transition.time) == (NOON - HALF_AN_HOUR, NOON + 5)


def test_a_client_first_known_by_a_late_disconnect_is_offline_since_then() -> None:
    presence = Presence(RULES)
    change = presence.apply(event(connected=False, at=NOON - HALF_AN_HOUR), NOON, 0)
    assert change.transition is not None
    assert (change.transition.since, change.transition.time) == (NOON - HALF_AN_HOUR, NOON)


def test_time_offline_is_that_between_late_events_too() -> None:
    presence = Presence(RULES)
    presence.apply(event(connected=False, at=NOON - HALF_AN_HOUR), NOON, 0)
    presence.apply(event(connected=True, at=NOON - 600, version=2), NOON, 0)
    assert presence.counts.offline_duration.sum == HALF_AN_HOUR - 600


def test_a_late_sign_of_life_counts_from_its_event_time() -> None:
    presence = Presence(RULES)
    late = round((NOON - HALF_AN_HOUR) * 1000)
    presence.suppose_online("client", late, NOON)
    assert presence.clients["client"].since == NOON - HALF_AN_HOUR
