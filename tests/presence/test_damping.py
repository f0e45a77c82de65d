"""Damping, against the sum of all flaps, each decayed since it happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.presence.damping import MAX_HALF_LIVES, Damping, DampingRules

START = 1_700_000_000.0
RULES = DampingRules(half_life=900.0, suppress_after=3.0, reuse_below=0.75)


def penalties(made: Damping, now: float) -> dict[str, float]:
    """The penalties of all clients that have one."""
    return {name: each for n in range(31) if (each := made.penalty(name := f"c{n}", now))}


def damping(flaps: int = 0, *, limit: int = 10, every: float = 0.0) -> Damping:
    made = Damping(RULES, limit)
    for number in range(flaps):
        made.add("a", START + number * every, START + number * every)
    return made


@given(st.lists(st.tuples(st.floats(0, 1800), st.floats(0, 7200)), max_size=8), st.floats(0, 7200))
def test_the_penalty_is_the_sum_of_decayed_flaps(
    flaps: list[tuple[float, float]], later: float
) -> None:
    """They come late, so that the order of their times is another one."""
    made, now = damping(), START
    times = []
    for pause, late in flaps:
        now += pause
        times.append(now - late)
        made.add("a", now - late, now)
    now += later
    expected = sum(0.5 ** ((now - time) / 900) for time in times)
    assert made.penalty("a", now) == pytest.approx(expected, rel=1e-3)


@given(st.data())
def test_the_penalty_is_the_same_in_any_order_of_reception(data: st.DataObject) -> None:
    """A queue without order may deliver an event hours after later ones."""
    times = [START + 1200.0 * number for number in range(8)]
    made = damping()
    for at in data.draw(st.permutations(times)):
        made.add("a", at, at)
    expected = sum(0.5 ** ((times[-1] - at) / 900) for at in times)
    assert made.penalty("a", times[-1]) == pytest.approx(expected, rel=1e-3)


def test_an_event_that_waited_for_long_releases_no_client() -> None:
    made = damping(5)
    made.add("a", START - 7200, START - 7200)
    assert made.held(START) == ["a"]


@given(st.lists(st.floats(0, 600), min_size=1, max_size=100))
def test_no_client_is_held_for_longer_than_four_half_lives(pauses: list[float]) -> None:
    made, now = damping(), START
    for pause in pauses:
        now += pause
        made.add("a", now, now)
        assert made.penalty("a", now) <= RULES.ceiling * 1.001
        until = made.held_until("a", now)
        assert until is None or until <= now + MAX_HALF_LIVES * RULES.half_life + 0.001
    assert made.held(now + MAX_HALF_LIVES * RULES.half_life + 0.001) == []


@given(st.lists(st.tuples(st.floats(0, 900), st.integers(1, 30)), max_size=100))
def test_it_is_bounded_and_keeps_the_highest(flaps: list[tuple[float, int]]) -> None:
    made, now = damping(limit=6), START
    for pause, client in flaps:
        now += pause
        before = penalties(made, now)
        made.add(f"c{client}", now, now)
        after = penalties(made, now)
        assert len(made) == len(after) <= 6
        if lost := before.keys() - after.keys():
            assert max(before[key] for key in lost) <= min(after.values()) * (1 + 1e-6)
        assert set(made.held(now)) <= after.keys()


def test_a_client_is_held_from_one_limit_to_the_other():
    made = damping(3)
    assert made.held(START) == []
    made.add("a", START, START)
    assert made.held(START) == ["a"]
    # From 4 to 0.75 are 2.4 half-lives.
    until = made.held_until("a", START)
    assert until == pytest.approx(START + 2.415 * 900, abs=1)
    assert made.held(until - 1) == ["a"]
    assert made.held(until) == []
    assert made.held_until("a", until) is None


def test_between_the_limits_a_client_that_was_released_is_not_held():
    made = damping(4)
    released = START + 2.415 * 900 + 1
    made.add("a", released, released)
    assert made.penalty("a", released) > RULES.reuse_below
    assert made.held(released) == []


def test_those_with_the_highest_penalty_come_first():
    made = damping(5)
    for _ in range(4):
        made.add("b", START, START)
    for _ in range(6):
        made.add("c", START, START)
    assert made.held(START) == ["c", "a", "b"]


def test_other_rules_apply_to_the_penalties_that_there_are():
    made = damping(4)
    later = START + 900.0
    made.use(DampingRules(half_life=60.0, suppress_after=3.0, reuse_below=1.0), later)
    assert made.penalty("a", later) == pytest.approx(2.0)
    assert made.held(later) == ["a"]
    assert made.held(later + 61) == []
    made.use(DampingRules(half_life=900.0, suppress_after=0.5, reuse_below=0.1), later + 61)
    assert made.held(later + 61) == ["a"]
    made.use(DampingRules(half_life=900.0, suppress_after=5.0, reuse_below=4.0), later + 61)
    assert made.held(later + 61) == []


def test_after_the_clock_was_set_back_a_penalty_begins_anew():
    made = damping(12)
    back = START - 86400.0
    assert made.held(back) == []
    assert made.penalty("a", back) == 0.0
    made.add("a", back, back)
    assert made.penalty("a", back) == pytest.approx(1.0)
    assert made.held(back) == []


def test_a_client_that_is_removed_begins_anew():
    made = damping(10)
    made.remove("a")
    assert (made.penalty("a", START), made.held(START), len(made)) == (0.0, [], 0)
