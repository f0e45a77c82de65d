import pytest

from presenced.web.limits import RecentKeys, limit_key, network_key


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
        ("/run/x.sock", "/run/y.sock", False),
    ],
)
def test_addresses_of_one_subscriber(one, other, same):
    assert (limit_key(one) == limit_key(other)) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:1::1", "2001:db8:1:ffff::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_addresses_of_one_network(one, other, same):
    assert (network_key(one) == network_key(other)) is same


def test_recent_keys_are_forgotten_with_time_and_when_there_are_many(clock):
    keys = RecentKeys(10.0, 2, clock=clock)
    keys.add("a")
    clock.now += 9
    assert "a" in keys
    keys.add("a")
    clock.now += 9
    assert "a" in keys
    clock.now += 1
    assert "a" not in keys
    for key in "bcd":
        keys.add(key)
    assert [key in keys for key in "abcd"] == [False, False, True, True]
    keys.discard("d")
    assert "d" not in keys
