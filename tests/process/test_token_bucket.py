import pytest

from presenced.system.token_bucket import TokenBucket


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_bucket_lets_a_burst_through_and_then_one_per_interval(clock):
    bucket = TokenBucket(2.0, 3, clock=clock)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    assert bucket.wait == 2.0
    clock.now += 1.5
    assert not bucket.take()
    assert bucket.wait == 0.5
    clock.now += 0.5
    assert bucket.take()
    assert not bucket.take()


def test_a_bucket_never_holds_more_than_its_burst(clock):
    bucket = TokenBucket(1.0, 2, clock=clock)
    clock.now += 1000
    bucket.spend(-5)
    assert bucket.tokens == 2


def test_what_was_overspent_comes_back_first(clock):
    bucket = TokenBucket(1.0, 1, clock=clock)
    bucket.spend(3)
    assert bucket.tokens == -2
    assert bucket.wait == 3
    clock.now += 2.5
    assert not bucket.take()
    clock.now += 0.5
    assert bucket.take()
