"""What one connection may have missed, and when it has made up for it."""

import pytest

from presenced.sources.gaps import Gap, GapReason
from presenced.sources.mqtt.connection_gap import ConnectionGap

EXPIRY = 3600.0


def outages(expiry: float = EXPIRY, *, unused_since: float | None = None) -> ConnectionGap:
    return ConnectionGap(expiry, unused_since=unused_since, missing_since=unused_since)


def resumed(now: float = 100.0) -> ConnectionGap:
    """A connection that went down at 0 and came back."""
    one = outages()
    one.up(-50.0, resumed=False)
    one.down(0.0)
    assert one.up(now, resumed=True) is None
    assert one.catching_up
    return one


@pytest.mark.parametrize("expiry", [0.0, EXPIRY])
def test_the_first_connection_has_no_gap(expiry: float) -> None:
    assert outages(expiry).up(10.0, resumed=False) is None


@pytest.mark.parametrize(
    ("expiry", "away", "kept", "reason"),
    [
        (EXPIRY, 10.0, True, None),
        (EXPIRY, EXPIRY, True, None),
        (EXPIRY, 10.0, False, GapReason.SESSION_LOST),
        (EXPIRY, EXPIRY + 1, False, GapReason.SESSION_EXPIRED),
        (EXPIRY, EXPIRY + 1, True, GapReason.SESSION_EXPIRED),
        (0.0, 10.0, False, GapReason.CLEAN_SESSION),
        (0.0, EXPIRY + 1, False, GapReason.CLEAN_SESSION),
    ],
)
@pytest.mark.parametrize("of_earlier_process", [True, False])
def test_gap_of_an_outage(
    expiry: float, away: float, kept: bool, reason: GapReason | None, of_earlier_process: bool
) -> None:
    if of_earlier_process:
        one = outages(expiry, unused_since=500.0 - away)
        gap = one.up(500.0, resumed=kept)
    else:
        one = outages(expiry)
        one.up(5.0, resumed=False)
        one.down(500.0)
        gap = one.up(500.0 + away, resumed=kept)
    assert gap == (None if reason is None else Gap(reason, away))


def test_an_outage_begins_with_the_first_of_several_failures() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    one.down(10.0)
    one.down(60.0)
    assert one.up(70.0, resumed=False) == Gap(GapReason.SESSION_LOST, 60.0)


def test_an_outage_while_catching_up_continues_the_previous_one() -> None:
    one = resumed()
    one.down(110.0)
    assert not one.catching_up
    assert one.missing_since == 0.0
    assert one.up(120.0, resumed=False) == Gap(GapReason.SESSION_LOST, 120.0)


def test_a_gap_is_reported_once() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    one.down(10.0)
    assert one.up(20.0, resumed=False)
    one.down(30.0)
    assert one.up(31.0, resumed=False) == Gap(GapReason.SESSION_LOST, 1.0)


def test_a_new_session_does_not_catch_up() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    assert not one.catching_up
    assert one.missing_since is None


def test_a_session_resumed_at_the_first_start_catches_up() -> None:
    """No state file, but the broker has kept what an earlier process subscribed to."""
    one = outages()
    assert one.up(7.0, resumed=True) is None
    assert one.catching_up
    assert one.holds_from(8.0) == 7.0


def look(one: ConnectionGap, *times: float) -> None:
    for now in times:
        one.check(now, stalled=False)


def test_quiet_ends_the_queue() -> None:
    one = resumed()
    look(one, 101.9)
    assert one.catching_up
    one.received(101.95, 30.0, own_connect=False)
    look(one, 103.9)
    assert one.catching_up, "one of the queue came less than two seconds ago"
    look(one, 104.0)
    assert not one.catching_up
    assert one.missing_since is None


def stream(
    one: ConnectionGap, begin: float, seconds: float, age: float, *, rate: int = 10
) -> float:
    """Events that each happened `age` seconds ago, looked at as the daemon does."""
    for step in range(round(seconds * rate)):
        now = begin + step / rate
        one.received(now, age, own_connect=False)
        look(one, now)
    return begin + seconds


def test_new_events_count_as_quiet() -> None:
    one = resumed()
    stream(one, 100.0, 3.5, age=0.1)
    assert not one.catching_up


def test_new_events_that_overtake_the_queue_do_not_end_it() -> None:
    """AWS sends what it stored slowly, and what happens meanwhile at once."""
    one = resumed()
    for step in range(300):
        now = 100.0 + step / 10
        for _ in range(9):
            one.received(now, 0.0, own_connect=False)
        one.received(now, 20.0 + step / 10, own_connect=False)
        look(one, now)
    assert one.catching_up
    look(one, 132.0)
    assert not one.catching_up


def test_an_occasional_late_event_is_no_queue() -> None:
    one = resumed()
    for step in range(65):
        now = 100.0 + step / 10
        one.received(now, 0.0 if step % 19 else 500.0, own_connect=False)
        if step > 10:
            look(one, now)
    look(one, 108.0)
    assert not one.catching_up


@pytest.mark.parametrize("age", [None, 30.0])
def test_catching_up_waits_for_events_that_may_be_queued(age: float | None) -> None:
    one = resumed()
    for step in range(300):
        one.received(100.0 + step / 10, age, own_connect=False)
        look(one, 100.0 + step / 10)
    assert one.catching_up


@pytest.mark.parametrize("ahead", [-50.0, -3.0, 0.0, 3.0, 50.0])
def test_own_connect_shows_the_clock_difference(ahead: float) -> None:
    one = resumed()
    one.received(100.3, 0.3 + ahead, own_connect=True)
    stored = resumed()
    stored.received(100.3, 0.3 + ahead, own_connect=True)
    for step in range(40):
        now = 100.4 + step / 10
        one.received(now, 0.1 + ahead, own_connect=False)
        stored.received(now, step / 10 + 2.0 + ahead, own_connect=False)
        look(one, now)
        look(stored, now)
    assert not one.catching_up
    assert stored.catching_up


def test_an_earlier_own_connect_is_not_compared() -> None:
    one = resumed()
    one.received(100.3, 150.0, own_connect=True)
    stream(one, 100.4, 10.0, age=120.0)
    assert one.catching_up


def test_a_clock_far_ahead_prolongs_catching_up_by_its_difference() -> None:
    one = resumed()
    assert stream(one, 100.0, 60.0, age=60.1) == 160.0
    assert one.catching_up
    stream(one, 160.0, 3.5, age=60.1)
    assert not one.catching_up


def test_each_connection_waits_again() -> None:
    one = resumed()
    look(one, 101.0)
    one.down(101.0)
    one.up(101.2, resumed=True)
    look(one, 103.1)
    assert one.catching_up
    look(one, 103.2)
    assert not one.catching_up


def test_the_clock_difference_is_forgotten_on_the_next_connection() -> None:
    """It may have been set since."""
    one = resumed()
    one.received(100.3, 50.3, own_connect=True)
    one.down(101.0)
    one.up(161.0, resumed=True)
    for step in range(100):
        one.received(161.0 + step / 10, step / 10 + 30.0, own_connect=False)
        look(one, 161.0 + step / 10)
    assert one.catching_up


def test_a_queued_own_connect_of_a_flap_is_not_compared() -> None:
    """Down at 0, up for a second at 60, down again for ten."""
    one = resumed(now=60.0)
    one.down(61.0)
    one.up(71.0, resumed=True)
    one.received(71.1, 11.1, own_connect=True)
    for step in range(100):
        one.received(71.2 + step / 10, step / 10 + 5.0, own_connect=False)
        look(one, 71.2 + step / 10)
    assert one.catching_up


def test_own_connect_shows_the_clock_difference_despite_a_slow_disk() -> None:
    one = resumed()
    one.hold_back(105.0, 100.5)
    one.received(105.1, 5.1, own_connect=True)
    for step in range(100):
        one.received(105.2 + step / 10, step / 10 + 2.0, own_connect=False)
        look(one, 105.2 + step / 10)
    assert one.catching_up, "what was held back goes on coming"


def test_it_is_not_quiet_while_the_broker_waits_for_acknowledgements() -> None:
    one = resumed()
    one.check(1000.0, stalled=True)
    assert one.catching_up
    look(one, 1001.9)
    assert one.catching_up
    look(one, 1002.0)
    assert not one.catching_up


def test_only_a_kept_session_holds() -> None:
    clean = outages(0.0, unused_since=-10.0)
    assert clean.holds_from(0.0) is None
    kept = outages(unused_since=-10.0)
    assert kept.holds_from(0.0) == -10.0


def test_a_session_holds_while_it_is_within_its_expiry() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    assert one.holds_from(1.0) is None
    one.down(10.0)
    assert one.holds_from(10.0 + EXPIRY) == 10.0
    assert one.holds_from(10.0 + EXPIRY + 0.1) is None


def test_receiving_a_queue_holds_for_any_time() -> None:
    one = resumed()
    assert one.holds_from(10 * EXPIRY) == 0.0
    look(one, 10 * EXPIRY)
    assert one.holds_from(10 * EXPIRY) is None


def test_a_broker_counts_the_expiry_from_the_last_use() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    one.down(100.0)
    one.up(3000.0, resumed=True)
    one.down(3001.0)
    assert one.holds_from(3001.0 + EXPIRY) == 100.0
    assert one.up(3001.0 + EXPIRY, resumed=True) is None
    one.down(6700.0)
    assert one.up(6701.0 + EXPIRY, resumed=True) == Gap(GapReason.SESSION_EXPIRED, 10201.0)


def test_messages_missing_in_an_earlier_process_hold() -> None:
    one = ConnectionGap(EXPIRY, unused_since=-10.0, missing_since=-5000.0)
    assert one.holds_from(0.0) == -5000.0
    assert one.up(0.0, resumed=True) is None


def test_a_lost_session_holds_nothing() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    one.down(10.0)
    one.up(20.0, resumed=False)
    assert one.holds_from(20.0) is None


def test_held_back_messages_are_like_a_queue() -> None:
    one = resumed()
    look(one, 103.0)
    assert one.holds_from(103.0) is None
    one.hold_back(110.0, 105.0)
    one.check(110.0, stalled=True)
    assert (one.catching_up, one.holds_from(110.0)) == (True, 105.0)
    one.received(110.5, 3.0, own_connect=False)
    look(one, 112.4)
    assert one.catching_up
    look(one, 112.5)
    assert one.holds_from(112.5) is None


def test_held_back_messages_count_without_a_session() -> None:
    one = outages(0.0)
    one.up(0.0, resumed=False)
    one.hold_back(10.0, 8.0)
    assert one.holds_from(10.0) == 8.0
    look(one, 12.0)
    assert one.holds_from(12.0) is None
    one.hold_back(20.0, 18.0)
    one.down(21.0)
    assert one.holds_from(21.0) is None


def test_a_connection_that_is_down_is_not_held_back() -> None:
    one = resumed()
    one.down(102.0)
    one.hold_back(110.0, 105.0)
    assert not one.catching_up
