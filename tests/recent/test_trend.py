"""The numbers of a fleet minute by minute."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.presence import State, Transition
from presenced.recent.trend import MAX_MINUTES, Trend, TrendMinute

START = 1_700_000_040  # a full minute


def running_trend() -> Trend:
    """The trend of a daemon that has been running for a minute."""
    trend = Trend()
    trend.sample(START - 1, clients(1))
    return trend


def clients(online: int, offline: int = 0, pending: int = 0) -> Counter[State]:
    return Counter({State.ONLINE: online, State.OFFLINE: offline, State.PENDING: pending})


def transition(state: State, reason: str | None = None) -> Transition:
    return Transition(0.0, 0.0, "a", State.UNKNOWN, state, reason)


def test_a_minute_has_the_clients_at_its_beginning_and_the_transitions_before() -> None:
    trend = running_trend()
    trend.sample(START + 0.1, clients(5))
    trend.count([transition(State.OFFLINE, "CONNECTION_LOST")])
    trend.count([transition(State.OFFLINE, "anything"), transition(State.ONLINE)])
    for seconds in (30, 59.9, 60, 60.3):
        trend.sample(START + seconds, clients(3, 1, 1))
    assert list(trend.since(0)) == [
        TrendMinute(START, 5, 0, 0, 0, 0, {}),
        TrendMinute(START + 60, 3, 1, 1, 1, 2, {"CONNECTION_LOST": 1, "other": 1}),
    ]


def test_a_fleet_without_known_clients_has_no_trend() -> None:
    trend = Trend()
    trend.sample(START, Counter({State.UNKNOWN: 7}))
    assert list(trend.since(0)) == []


@pytest.mark.parametrize("pause", [0, 50, 5000])
def test_the_rest_of_the_minute_of_a_start_is_left_out(pause: int) -> None:
    """Then a few clients have connected, and are not the share of the fleet."""
    trend = running_trend()
    trend.sample(START, clients(1000))
    start = START + 10 + pause
    for seconds, known in (
        (0, clients(0)),
        (2, clients(1, 3)),
        (5, clients(900)),
        (70, clients(990)),
    ):
        trend.sample(start + seconds, known)
    assert {each.at: each.online for each in trend.since(0)} == {
        START: 1000,
        (start + 70) // 60 * 60: 990,
    }


def test_the_share_of_a_time_is_that_of_the_last_minute_before_it() -> None:
    trend = running_trend()
    trend.sample(START, clients(3, 1))
    trend.sample(START + 60, clients(1, 1))
    for seconds, share in ((-1, None), (0, 0.75), (59, 0.75), (60, 0.5), (180, 0.5)):
        found = trend.near(START + seconds)
        assert (found.share_online if found else None) == share
    assert trend.near(START + 181) is None, "presenced did not run"
    last = trend.last_before(START + 181)
    assert last is not None
    assert last == trend.near(START + 180)
    assert trend.last_before(START - 600) is None


def test_25_hours_are_kept_and_all_that_changed_is_unsaved() -> None:
    trend = running_trend()
    trend.unsaved = saved = set()
    kept: set[int] = set()
    for minute in range(MAX_MINUTES + 100):
        trend.sample(START + 60 * minute, clients(minute + 1))
        while saved:
            at = saved.pop()
            (kept.add if trend.get(at) else kept.discard)(at)
    assert [each.at for each in trend.since(0)] == sorted(kept)
    assert len(kept) == MAX_MINUTES
    assert max(kept) == START + 60 * (MAX_MINUTES + 99)


@given(st.lists(st.integers(-400, 400), max_size=40))
def test_minutes_are_in_order_whatever_the_clock_is_set_to(steps: list[int]) -> None:
    trend, now = running_trend(), START
    trend.sample(now, clients(1))
    for step in steps:
        now += step
        trend.sample(now, clients(1))
        times = [each.at for each in trend.since(0)]
        assert times == sorted(set(times))
        assert now - times[-1] < 180
        assert times[-1] - now < 120, "the future is dropped soon"


def test_reasons_are_added_up_between_two_times() -> None:
    trend = Trend()
    trend.restore(
        TrendMinute(START + 60 * n, 1, 0, 0, 0, 1, {"CONNECTION_LOST": n}) for n in range(5)
    )
    assert trend.reasons(START + 60, START + 180) == {"CONNECTION_LOST": 5}


def usual(counts: Sequence[int], at: float) -> float:
    """What is usual at seconds after minutes with so many transitions to offline each."""
    trend = running_trend()
    for minute, count in enumerate(counts):
        trend.count([transition(State.OFFLINE)] * count)
        trend.sample(START + 60 * minute, clients(9))
    return trend.usual(State.OFFLINE, START + 60 * len(counts) + at)


def test_usual_is_the_median_of_the_hour_before() -> None:
    assert usual([9] * 20 + [3] * 31 + [80] * 29, at=0) == 3
    assert usual([3] * 9, at=0) == 0, "too little to tell"
    assert usual([3] * 60, at=30 * 60) == 3
    assert usual([3] * 60, at=55 * 60) == 0, "it ended too long ago"
    assert usual([3] * 60, at=-70 * 60) == 0, "the clock was set back"


def test_a_fleet_in_which_most_minutes_have_nothing_has_something_usual() -> None:
    assert 0.1 < usual([0, 0, 1] * 20, at=0) < 1 / 3
    assert usual([0] * 46 + [100] * 14, at=0) == 0, "an incident is not usual"
