"""What one connection may have missed, and when it has made up for it."""

import pytest

from presenced.outages import Gap, GapReason, Outages

EXPIRY = 3600.0


def outages(
    expiry: float = EXPIRY, *, absent_for: float | None = None, now: float = 0.0
) -> Outages:
    return Outages(expiry, absent_for=absent_for, now=now)


def resumed(now: float = 100.0) -> Outages:
    """A connection that went down at 0 and came back."""
    one = outages()
    one.up(-50.0, resumed=False)
    one.down(0.0)
    assert one.up(now, resumed=True) is None
    assert one.catching_up
    return one


@pytest.mark.parametrize("expiry", [0.0, EXPIRY])
def test_the_first_connection_of_all_has_missed_nothing(expiry: float) -> None:
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
def test_what_an_outage_may_have_lost(
    expiry: float, away: float, kept: bool, reason: GapReason | None, of_earlier_process: bool
) -> None:
    if of_earlier_process:
        one = outages(expiry, absent_for=away, now=500.0)
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


def test_an_outage_while_catching_up_goes_on_from_the_one_before() -> None:
    one = resumed()
    one.down(110.0)
    assert not one.catching_up
    assert one.missing_since == 0.0
    assert one.up(120.0, resumed=False) == Gap(GapReason.SESSION_LOST, 120.0)


def test_what_is_over_is_told_once() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    one.down(10.0)
    assert one.up(20.0, resumed=False)
    one.down(30.0)
    assert one.up(31.0, resumed=False) == Gap(GapReason.SESSION_LOST, 1.0)


def test_nothing_is_caught_up_with_on_a_new_session() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    assert not one.catching_up
    assert one.missing_since is None


def test_a_session_that_was_there_at_the_first_start_is_caught_up_with() -> None:
    """No state file, but the broker has kept what an earlier process subscribed to."""
    one = outages()
    assert one.up(7.0, resumed=True) is None
    assert one.catching_up
    assert one.holds_from(8.0) == 7.0


def test_its_own_connect_ends_the_queue() -> None:
    one = resumed()
    one.heard(101.0, 0.5, own_connect=True)
    assert not one.catching_up
    assert one.missing_since is None


def test_its_own_connect_of_earlier_does_not() -> None:
    one = resumed()
    one.heard(101.0, 30.0, own_connect=True)
    assert one.catching_up


def test_live_events_in_a_row_end_the_queue() -> None:
    one = resumed()
    for _ in range(9):
        one.heard(103.0, 0.1, own_connect=False)
    assert one.catching_up
    one.heard(103.0, 0.1, own_connect=False)
    assert not one.catching_up


def test_a_single_event_that_seems_new_does_not() -> None:
    one = resumed()
    one.heard(101.0, -3600.0, own_connect=False)
    for _ in range(50):
        one.heard(101.0, 60.0, own_connect=False)
        one.heard(101.0, -3600.0, own_connect=False)
        one.heard(101.0, None, own_connect=False)
    assert one.catching_up


def test_live_events_of_the_connection_before_do_not_count() -> None:
    one = resumed()
    for _ in range(9):
        one.heard(101.0, 0.1, own_connect=False)
    one.down(102.0)
    one.up(103.0, resumed=True)
    one.heard(103.5, 0.1, own_connect=False)
    assert one.catching_up


def test_quiet_ends_the_queue() -> None:
    one = resumed()
    one.look(100.9, None, waiting=False)
    assert one.catching_up
    one.look(101.0, 100.5, waiting=False)
    assert one.catching_up, "a message came half a second ago"
    one.look(101.5, 100.5, waiting=False)
    assert not one.catching_up


def test_it_is_not_quiet_while_messages_wait_to_be_applied() -> None:
    one = resumed()
    one.look(1000.0, 101.0, waiting=True)
    assert one.catching_up


def test_a_message_of_before_the_outage_makes_no_quiet() -> None:
    one = resumed(now=100.0)
    one.look(100.5, -60.0, waiting=False)
    assert one.catching_up


def test_only_a_kept_session_holds() -> None:
    clean = outages(0.0, absent_for=10.0, now=0.0)
    assert clean.holds_from(0.0) is None
    kept = outages(absent_for=10.0, now=0.0)
    assert kept.holds_from(0.0) == -10.0


def test_a_session_holds_while_it_is_within_its_expiry() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    assert one.holds_from(1.0) is None
    one.down(10.0)
    assert one.holds_from(10.0 + EXPIRY) == 10.0
    assert one.holds_from(10.0 + EXPIRY + 0.1) is None


def test_what_is_being_received_holds_however_long_it_takes() -> None:
    one = resumed()
    assert one.holds_from(10 * EXPIRY) == 0.0
    one.heard(10 * EXPIRY, 0.0, own_connect=True)
    assert one.holds_from(10 * EXPIRY) is None


def test_a_lost_session_holds_nothing() -> None:
    one = outages()
    one.up(0.0, resumed=False)
    one.down(10.0)
    one.up(20.0, resumed=False)
    assert one.holds_from(20.0) is None


def test_the_queue_is_not_over_while_the_broker_waits_for_acknowledgements() -> None:
    """It sends no more until it has them, and then needs a moment."""
    one = resumed()
    one.look(103.0, 100.1, waiting=True)
    one.look(103.5, 100.1, waiting=False)
    assert one.catching_up
    one.look(104.1, 100.1, waiting=False)
    assert not one.catching_up


def test_what_the_broker_holds_back_is_waited_for_as_a_queue_is() -> None:
    one = resumed()
    one.look(103.0, None, waiting=False)
    assert one.holds_from(103.0) is None
    one.hold_back(110.0, 105.0)
    one.look(110.0, 105.0, waiting=True)
    assert (one.catching_up, one.holds_from(110.0)) == (True, 105.0)
    one.look(111.0, 110.5, waiting=False)
    assert one.catching_up
    one.look(111.5, 110.5, waiting=False)
    assert one.holds_from(111.5) is None


def test_a_connection_that_is_down_is_not_held_back_besides() -> None:
    one = resumed()
    one.down(102.0)
    one.hold_back(110.0, 105.0)
    assert not one.catching_up
