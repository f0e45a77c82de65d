"""Asking AWS before a client goes offline: when, how often, and what if there is no answer."""

import pytest

from histories import lifecycle
from presenced.presence import Presence, PresenceRules, State
from presenced.presence.lookups import (
    LONGEST_QUEUE,
    LOOKUP_TIMEOUT,
    LookupBudget,
    VerifyOffline,
)
from presenced.presence.record import Row
from recorders import fire

NOON = 1_700_000_000.0
DELAY = 5.0


class Bench:
    """Clients that have disconnected at NOON, and what happens then."""

    def __init__(self, number: int = 1, mode: VerifyOffline = "always", rate: float = 50) -> None:
        self.presence = Presence(PresenceRules(offline_delay=DELAY))
        self.budget = LookupBudget(rate)
        self.presence.lookups.use(mode, self.budget)
        self.now = NOON
        for client in range(number):
            for connected in (True, False):
                self.hear(f"c{client}", connected=connected)

    def hear(
        self, client_id: str = "c0", *, connected: bool, at: float | None = None, version: int = 1
    ) -> None:
        """Apply an event of now, or of another time; each version has a session of its own."""
        event = lifecycle(
            connected=connected,
            timestamp=round((self.now if at is None else at) * 1000),
            version=version,
            session=f"s{version}",
            client_id=client_id,
        )
        self.presence.apply(event, self.now, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        fire(self.presence, self.now)

    def answer(self, client_id: str, *, connected: bool, since: float = NOON - 3600) -> None:
        row = Row(
            client_id,
            connected,
            round(since * 1000),
            self.now,
            self.presence.gap_epoch,
            "GetConnection",
            is_answer=True,
        )
        self.presence.record.merge(row, self.now)

    def state(self, client_id: str = "c0") -> State:
        return self.presence.clients[client_id].state

    def is_unverified(self, client_id: str = "c0") -> bool:
        return self.presence.is_unverified(self.presence.clients[client_id])


def test_a_client_that_aws_calls_connected_stays_online() -> None:
    bench = Bench()
    bench.wait(DELAY)
    assert bench.state() is State.PENDING
    assert bench.presence.lookups.take(bench.now) == ["c0"]
    bench.answer("c0", connected=True)
    assert bench.state() is State.ONLINE
    assert bench.presence.counts.offline_prevented == 1
    bench.wait(1000)
    assert bench.state() is State.ONLINE
    assert bench.presence.counts.transitions[State.OFFLINE] == 0


def test_a_client_that_aws_calls_disconnected_goes_offline_at_once() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.lookups.take(bench.now)
    bench.answer("c0", connected=False)
    assert bench.state() is State.OFFLINE
    assert not bench.is_unverified()
    assert bench.presence.counts.offline_prevented == 0


def test_a_client_that_was_connected_in_between_has_its_whole_delay_again() -> None:
    """Its connect was lost: AWS's record shows a later disconnect than the one that is known."""
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.lookups.take(bench.now)
    again = bench.now - 2
    bench.answer("c0", connected=False, since=again)
    assert bench.state() is State.PENDING
    assert bench.presence.clients["c0"].since == again
    bench.wait(DELAY - 2.1)
    assert not bench.presence.lookups
    bench.wait(0.1)
    assert bench.presence.lookups.take(bench.now) == ["c0"]
    bench.answer("c0", connected=False, since=again)
    assert bench.state() is State.OFFLINE
    assert bench.presence.clients["c0"].since == again


def test_a_clock_that_is_behind_that_of_aws_delays_nothing() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.lookups.take(bench.now)
    bench.answer("c0", connected=False, since=NOON + 0.9)
    assert bench.state() is State.OFFLINE


def test_without_an_answer_it_goes_offline_unverified_after_two_seconds() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.lookups.take(bench.now)
    bench.wait(LOOKUP_TIMEOUT - 0.001)
    assert bench.state() is State.PENDING
    bench.wait(0.001)
    assert bench.state() is State.OFFLINE
    assert bench.is_unverified()


def test_a_failed_lookup_ends_the_wait() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.record.give_up_lookup("c0", bench.now)
    bench.wait(0)
    assert bench.state() is State.OFFLINE
    assert bench.is_unverified()


def test_an_answer_that_comes_too_late_is_compared_with_the_events() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.wait(LOOKUP_TIMEOUT)
    bench.answer("c0", connected=True)
    assert bench.state() is State.OFFLINE, "AWS's record is older than the disconnect"


def test_an_answer_that_an_event_beats_does_not_make_the_client_wait_again() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.lookups.take(bench.now)
    row = Row("c0", False, None, NOON, bench.presence.gap_epoch, "GetConnection", is_answer=True)
    late = lifecycle(
        connected=False, timestamp=round(NOON * 1000), version=1, session="s1", client_id="c0"
    )
    assert bench.presence.record.merge(row, bench.now, late) is None
    bench.wait(LOOKUP_TIMEOUT)
    assert bench.state() is State.OFFLINE


def test_a_row_of_a_takeover_that_ended_leaves_the_client_offline() -> None:
    bench = Bench(number=0)
    row = Row(
        "c0", False, round((NOON - 1) * 1000), NOON, 0, "SearchIndex", reason="DUPLICATE_CLIENTID"
    )
    bench.presence.record.merge(row, NOON)
    assert bench.state() is State.PENDING
    bench.presence.lookups.use("never", None)
    bench.wait(DELAY)
    assert bench.state() is State.OFFLINE


def test_a_row_confirms_the_end_of_a_connection_that_a_takeover_left_in_doubt() -> None:
    bench = Bench(number=0, mode="unverified")
    bench.presence.record.merge(Row("c0", True, round(NOON * 1000), NOON, 0, "SearchIndex"), NOON)
    copy = lifecycle(
        connected=False,
        timestamp=round(NOON * 1000),
        version=3,
        session="s",
        reason="DUPLICATE_CLIENTID",
        client_id="c0",
    )
    bench.now = NOON + 90
    bench.presence.apply(copy, bench.now, bench.now)
    ended = Row("c0", False, round((NOON + 30) * 1000), bench.now, 0, "SearchIndex")
    bench.presence.record.merge(ended, bench.now)
    bench.wait(DELAY)
    assert bench.state() is State.OFFLINE


def test_a_row_from_the_future_counts_from_when_it_was_asked_for() -> None:
    bench = Bench(number=0)
    row = Row("c0", False, round((NOON + 110) * 1000), NOON, 0, "SearchIndex")
    bench.presence.record.merge(row, NOON)
    assert bench.presence.clients["c0"].since == NOON
    bench.presence.lookups.use("never", None)
    bench.wait(DELAY)
    assert bench.state() is State.OFFLINE


def test_a_connect_ends_the_wait() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.hear(connected=True, version=2)
    assert bench.state() is State.ONLINE
    bench.hear(connected=False, version=2)
    bench.wait(DELAY)
    assert bench.state() is State.PENDING, "it is looked up again"


def test_a_mass_disconnect_asks_no_more_than_the_budget_allows() -> None:
    """The budget of a second at once, and what it gains while clients may wait for their turn."""
    bench = Bench(number=50_000)
    bench.wait(DELAY)
    lookups, counts = bench.presence.lookups, bench.presence.counts
    covered = 50 + int(LONGEST_QUEUE * 50)
    assert counts.clients[State.OFFLINE] == 50_000 - covered
    assert counts.unverified[State.OFFLINE] == 50_000 - covered
    assert len(lookups.take(bench.now)) == 50
    assert len(lookups.take(bench.now + 0.5)) == 25
    assert len(lookups.take(bench.now + LONGEST_QUEUE)) == 50
    bench.wait(LOOKUP_TIMEOUT)
    assert counts.clients[State.OFFLINE] == 50_000


def test_a_client_that_waits_for_its_turn_stays_online_if_aws_calls_it_connected() -> None:
    bench = Bench(number=2, rate=1)
    bench.wait(DELAY)
    assert bench.presence.lookups.take(bench.now) == ["c0"]
    assert bench.state("c1") is State.PENDING
    bench.wait(1.0)
    assert bench.presence.lookups.take(bench.now) == ["c1"]
    bench.answer("c1", connected=True)
    assert bench.state("c1") is State.ONLINE
    bench.wait(LOOKUP_TIMEOUT)
    assert bench.state("c0") is State.OFFLINE, "it had no answer"


def test_a_client_that_connects_gives_its_turn_to_the_next() -> None:
    bench = Bench(number=3, rate=1)
    bench.presence.lookups.take(bench.now)
    bench.wait(DELAY)
    assert bench.state("c2") is State.OFFLINE
    bench.hear(connected=True, version=2)
    assert bench.presence.lookups.take(bench.now) == ["c1"]


def test_a_lookup_that_could_not_be_made_is_the_next_one() -> None:
    bench = Bench(rate=1)
    bench.wait(DELAY)
    lookups = bench.presence.lookups
    lookups.want("x0")
    (client_id,) = lookups.take(bench.now)
    lookups.put_back(client_id)
    assert lookups.take(bench.now) == ["c0"]
    bench.wait(LOOKUP_TIMEOUT)
    lookups.put_back("x0")
    assert bench.state() is State.OFFLINE


def test_a_client_that_went_offline_unasked_is_looked_up_later() -> None:
    bench = Bench(number=4, rate=1)
    bench.wait(DELAY)
    assert bench.state("c2") is State.OFFLINE
    assert bench.state("c3") is State.OFFLINE
    asked = [bench.presence.lookups.take(bench.now + second) for second in range(4)]
    assert asked == [["c0"], ["c1"], ["c2"], ["c3"]]


@pytest.mark.parametrize(("gap", "asked"), [(False, []), (True, ["c0"])])
def test_only_clients_in_doubt_are_asked_about(gap: bool, asked: list[str]) -> None:
    bench = Bench(mode="unverified")
    if gap:
        bench.presence.note_gap(bench.now)
    bench.wait(DELAY)
    assert bench.presence.lookups.take(bench.now) == asked


def test_never_means_never() -> None:
    bench = Bench(mode="never")
    bench.presence.note_gap(bench.now)
    bench.wait(DELAY)
    assert bench.presence.lookups.take(bench.now) == []
    assert bench.state() is State.OFFLINE


def test_lookups_that_may_wait_come_when_the_budget_allows() -> None:
    bench = Bench(rate=2)
    for number in range(5):
        bench.presence.lookups.want(f"x{number}")
    bench.presence.lookups.want("x0")
    assert bench.presence.lookups.take(bench.now) == ["x0"]
    assert bench.presence.lookups.take(bench.now + 0.4) == []
    assert bench.presence.lookups.take(bench.now + 1.0) == ["x1"]


def test_lookups_that_may_wait_leave_half_of_the_budget_to_the_others() -> None:
    bench = Bench(number=10, rate=20)
    for number in range(100):
        bench.presence.lookups.want(f"x{number}")
    assert len(bench.presence.lookups.take(bench.now)) == 10
    bench.wait(DELAY)
    taken = bench.presence.lookups.take(bench.now)
    assert {f"c{number}" for number in range(10)} <= set(taken)


def test_a_copy_of_a_disconnect_after_its_connection_was_seen_again_is_a_duplicate() -> None:
    bench = Bench()
    bench.wait(DELAY)
    bench.presence.lookups.take(bench.now)
    bench.answer("c0", connected=True)
    for _ in range(3):
        bench.hear(connected=False, at=NOON)
    counts = bench.presence.counts
    assert bench.state() is State.ONLINE
    assert (counts.ignored["duplicate"], counts.offline_prevented) == (3, 1)


def test_a_row_of_before_a_gap_takes_no_later_verification_away() -> None:
    bench = Bench()
    bench.presence.lookups.use("never", None)
    bench.wait(DELAY)
    row = Row("c0", False, round(NOON * 1000), bench.now, bench.presence.gap_epoch, "SearchIndex")
    bench.presence.note_gap(bench.now)
    bench.hear(connected=True, version=2)
    assert not bench.is_unverified()
    confirming = Row("c0", True, round(bench.now * 1000), bench.now, row.gap_epoch, "SearchIndex")
    assert bench.presence.record.merge(confirming, bench.now) is None
    assert not bench.is_unverified()


def test_a_row_is_compared_with_a_sign_of_life() -> None:
    bench = Bench(number=0)
    bench.presence.suppose_online("c0", round(NOON * 1000), NOON)
    bench.presence.note_gap(NOON + 1)
    older = Row("c0", False, round((NOON - 3600) * 1000), NOON + 2, 1, "SearchIndex")
    assert bench.presence.record.merge(older, NOON + 2) is None
    assert bench.state() is State.ONLINE


def test_nothing_is_wanted_when_aws_is_not_asked() -> None:
    bench = Bench()
    bench.presence.lookups.use("never", None)
    bench.presence.lookups.want("c0")
    bench.wait(DELAY)
    assert bench.presence.lookups.take(bench.now) == []
    assert bench.state() is State.OFFLINE


def test_fleets_that_share_a_budget_wait_for_it_together() -> None:
    one, other = Bench(4, rate=2), Bench(4, rate=2)
    other.presence.lookups.use("always", one.budget)
    one.wait(DELAY)
    other.wait(DELAY)
    states = [bench.state(f"c{number}") for bench in (one, other) for number in range(4)]
    assert states.count(State.PENDING) == 2 + int(2 * LONGEST_QUEUE)
    assert states.count(State.OFFLINE) == 3
    one.presence.lookups.use("never", None)
    assert len(other.presence.lookups.take(other.now)) == 1, "no place is kept for the first"


def test_a_budget_that_grows_or_shrinks_counts_at_once() -> None:
    bench = Bench(10, rate=10)
    bench.budget.use_rate(1)
    bench.wait(DELAY)
    waiting = [
        client_id for client_id in bench.presence.clients if bench.state(client_id) is State.PENDING
    ]
    assert len(waiting) == 1 + int(LONGEST_QUEUE)
    bench.budget.use_rate(100)
    bench.wait(1)
    assert len(bench.presence.lookups.take(bench.now)) == 10


def test_without_any_budget_clients_go_offline_and_are_looked_up_later() -> None:
    bench = Bench(2)
    bench.presence.lookups.use("always", LookupBudget(0.0))
    bench.wait(DELAY)
    assert bench.state() is State.OFFLINE
    assert bench.is_unverified()
    assert bench.presence.lookups.take(bench.now) == []
    bench.presence.lookups.use("always", LookupBudget(50.0))
    assert bench.presence.lookups.take(bench.now) == ["c0", "c1"]
