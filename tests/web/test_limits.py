import pytest

from presenced.web.limits import limit_key


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
