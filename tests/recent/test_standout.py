"""What stands out among offline clients, and what is only chance."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from presenced.recent.standout import Share, stands_out, unusual_reason, z_score


def score(offline: int, of: int, others: int = 10, in_others: int = 1000) -> float:
    """The score of a group in a fleet where so many of the others are offline."""
    return z_score(Share("hall-3", offline, of), offline + others, of + in_others)


def test_a_hall_that_lost_its_connection_stands_out() -> None:
    assert stands_out(score(40, 100), 1)
    assert stands_out(score(40, 100), 10_000)


def test_a_small_group_stands_out_if_nearly_all_of_it_is_offline() -> None:
    assert score(4, 4) == 0, "fewer than five things are no group"
    assert stands_out(score(5, 5), 10_000)
    assert not stands_out(score(1, 5, others=20), 1)


def test_a_group_that_is_the_whole_fleet_has_nothing_to_be_compared_with() -> None:
    assert score(40, 100, others=0, in_others=0) == 0
    assert score(40, 100, others=4, in_others=4) == 0


def test_a_small_difference_is_none_in_a_large_fleet() -> None:
    assert score(52_000, 500_000, others=50_000, in_others=500_000) == 0
    assert stands_out(score(80_000, 500_000, others=50_000, in_others=500_000), 1)


def test_the_worst_part_of_a_site_stands_out_more_than_the_site() -> None:
    site = z_score(Share("site", 44, 500), 49, 1000)
    hall = z_score(Share("hall-3", 40, 100), 49, 1000)
    assert hall > site > 3


def test_nothing_stands_out_by_chance() -> None:
    """A thousand groups of five to fifty, each with the same risk: the worst one is no finding."""
    random = Random(1)
    found = 0
    for _ in range(50):
        sizes = [random.randint(5, 50) for _ in range(1000)]
        shares = [Share("", sum(random.random() < 0.05 for _ in range(n)), n) for n in sizes]
        offline = sum(share.offline for share in shares)
        worst = max(z_score(share, offline, sum(sizes)) for share in shares)
        found += stands_out(worst, len(shares))
    assert found <= 10


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500), st.integers(0, 500))
def test_a_score_is_never_negative(offline: int, online: int, others: int, rest: int) -> None:
    share = Share("", offline, offline + online)
    assert z_score(share, offline + others, offline + online + others + rest) >= 0


def test_a_reason_stands_out_that_is_more_frequent_than_it_was() -> None:
    before = {"CONNECTION_LOST": 900, "MQTT_KEEP_ALIVE_TIMEOUT": 100}
    offline = {"CONNECTION_LOST": 60, "FORBIDDEN_ACCESS": 40}
    now = {"CONNECTION_LOST": 50, "FORBIDDEN_ACCESS": 40}
    assert unusual_reason(now, before, offline) == Share("FORBIDDEN_ACCESS", 40, 100)
    assert unusual_reason({"CONNECTION_LOST": 90}, before, offline) is None
    assert unusual_reason(now, {}, offline) is None, "nothing to compare it with"
    assert unusual_reason(now, before, {"CONNECTION_LOST": 60}) is None, "they are online again"
    assert unusual_reason({}, before, offline) is None
