from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.throttling import RateLimiter


@given(st.integers(1, 100), st.lists(st.floats(0, 0.5), max_size=300))
def test_no_more_than_the_rate_and_one_seconds_burst(rate: int, pauses: list[float]) -> None:
    limiter, now, allowed = RateLimiter(), 0.0, 0
    for pause in pauses:
        now += pause
        allowed += limiter.allows("key", rate, now)
    assert allowed <= rate + now * rate + 1e-6


@given(st.integers(2, 100))
def test_a_steady_rate_passes(rate: int) -> None:
    limiter = RateLimiter()
    assert all(limiter.allows("key", rate, 1.001 * number / rate) for number in range(500))


def test_keys_are_apart_and_time_may_go_back() -> None:
    limiter = RateLimiter()
    assert limiter.allows("a", 1, 10)
    assert limiter.allows("b", 1, 10)
    assert not limiter.allows("a", 1, 5)
    assert limiter.allows("a", 1, 6)


def test_rate_0_allows_nothing() -> None:
    limiter = RateLimiter()
    assert not any(limiter.allows("a", 0, now) for now in range(5))
