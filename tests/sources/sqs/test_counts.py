"""Ages of messages, and the clocks that date them."""

from hypothesis import given
from hypothesis import strategies as st

from presenced.aws.client import Answer
from presenced.sources.clock_skew import ClockSkew
from presenced.sources.sqs.clock_skew import TOLERANCE, note_answer
from presenced.sources.sqs.counts import SqsCounts
from presenced.system.loop import Clocks


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1000)), max_size=50))
def test_the_oldest_of_the_last_minute(received):
    counts, now, seen = SqsCounts(), 0.0, []
    assert counts.oldest_age(now) == 0
    for pause, age in received:
        now += pause
        counts.note_age(now, age)
        seen.append((now, age))
        assert counts.oldest_age(now) == max(a for at, a in seen if at >= now - 60)
    assert counts.oldest_age(now + 61) == 0


def answer(ahead, seconds=0.1):
    return Answer(None, 100.0, 100.0 + seconds, b"", ahead)


def skew_of(*answers):
    skew = ClockSkew(Clocks(lambda: 0.0, lambda: 0.0), TOLERANCE)
    for each in answers:
        note_answer(skew, each)
    return skew.seconds


def test_a_clock_that_is_right_is_not_corrected():
    assert skew_of() == 0
    assert skew_of(answer(0.1), answer(0.9), answer(1.9)) == 0
    assert skew_of(answer(None)) == 0


def test_the_least_lead_counts_because_dates_have_no_fractions():
    assert skew_of(answer(10.9), answer(10.1), answer(10.5)) == 10.1
    assert skew_of(answer(-10.0)) == -10.0


def test_an_answer_that_took_long_says_nothing():
    assert skew_of(answer(20.0, seconds=20)) == 0


def test_a_corrected_clock_is_noticed():
    assert skew_of(*[answer(10.0)] * 5, *[answer(0.2)] * 20) == 0


def test_a_clock_that_is_set_is_known_before_the_next_answer():
    wall = 1000.0
    skew = ClockSkew(Clocks(lambda: 50.0, lambda: wall), TOLERANCE)
    for _ in range(20):
        note_answer(skew, answer(-60.0))
    assert skew.seconds == -60
    wall += 60
    assert skew.seconds == 0
    wall += 3600
    assert skew.seconds == 3600


def test_the_time_of_a_standstill_is_no_lead():
    now = {"monotonic": 0.0, "wall": 1000.0}
    skew = ClockSkew(Clocks(lambda: now["monotonic"], lambda: now["wall"]), TOLERANCE)
    note_answer(skew, answer(0.5))
    now["wall"] += 300  # suspended: the monotonic clock stood still
    note_answer(skew, answer(0.5))
    assert skew.seconds == 0
