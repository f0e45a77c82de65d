"""When snapshots are due, and which of them settle."""

import math

from hypothesis import given
from hypothesis import strategies as st

from presenced.aws.schedule import PastSnapshots, SnapshotSchedule

T = 120.0
EVERY = 6 * 3600.0


def begin(schedule: SnapshotSchedule, now: float) -> bool:
    """Begin a snapshot that is due; return whether it settles."""
    assert schedule.due <= now
    schedule.note_begin(now)
    return schedule.settles(now)


def test_nothing_is_due_before_the_source_is_up() -> None:
    assert SnapshotSchedule(EVERY, T).due == math.inf


def test_the_first_is_provisional_and_a_second_settles() -> None:
    schedule = SnapshotSchedule(EVERY, T)
    schedule.note_gap(100)
    assert not begin(schedule, 100)
    schedule.note_end(110, settled=False)
    assert schedule.due == 100 + T
    assert begin(schedule, 100 + T)
    schedule.note_end(230, settled=True)
    assert schedule.due == 100 + T + EVERY


def test_a_provisional_one_that_takes_long_is_followed_at_once() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(100)
    begin(schedule, 100)
    schedule.note_end(1000, settled=False)
    assert schedule.due <= 1000
    assert begin(schedule, 1000)


def test_without_an_interval_only_gaps_ask_for_one() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(0)
    begin(schedule, T)
    schedule.note_end(130, settled=True)
    assert schedule.due == math.inf
    schedule.note_gap(5000)
    assert schedule.due == 5000


def test_after_one_gap_follows_the_next_no_sooner_than_ten_minutes() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(0)
    begin(schedule, T)
    schedule.note_end(130, settled=True)
    schedule.note_gap(200)
    assert schedule.due == 130 + 600


def test_a_long_one_makes_the_pause_as_long() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(0)
    begin(schedule, T)
    schedule.note_end(T + 5000, settled=True)
    schedule.note_gap(T + 5001)
    assert schedule.due == T + 10_000


def test_a_gap_during_a_snapshot_is_left_to_the_next() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(0)
    begin(schedule, T)
    schedule.note_gap(T + 5)
    schedule.note_end(T + 10, settled=True)
    assert not schedule.settles(T + 20)
    assert schedule.due == T + 10 + 600


def test_an_index_that_is_being_rebuilt_settles_nothing() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(0)
    assert begin(schedule, T)
    schedule.note_end(T + 10, settled=False)
    assert schedule.due == T + 10 + 600


def test_many_gaps_make_no_more_snapshots() -> None:
    schedule = SnapshotSchedule(0, T)
    begun = 0
    for now in range(3600):
        schedule.note_gap(now)
        if schedule.due <= now:
            begun += 1
            schedule.note_begin(now)
            schedule.note_end(now + 1, settled=schedule.settles(now))
    assert begun == 6


def test_a_failure_is_tried_again_after_a_minute() -> None:
    schedule = SnapshotSchedule(0, T)
    schedule.note_gap(0)
    begin(schedule, 0)
    schedule.note_failure(10)
    assert schedule.due == 70


def resumed(past: PastSnapshots, offset: float = 0.0) -> SnapshotSchedule:
    schedule = SnapshotSchedule(EVERY, T)
    schedule.resume(past, offset)
    return schedule


def test_another_process_goes_on_where_the_last_one_was() -> None:
    past = PastSnapshots()
    past = past.with_end(1000, 1010, 5, settled=False)
    assert resumed(past).due == 1000 + T, "the settling one"
    assert resumed(past, 400).due == 600 + T, "on its own clock"
    past = past.with_end(1000 + T, 1130, 5, settled=True)
    assert resumed(past).due == 1000 + T + EVERY
    past = past.with_gap(5000)
    assert resumed(past).due == 5000
    past = past.with_end(5000, 5010, 5, settled=False)
    assert resumed(past).due == 5000 + T
    assert past.doubtful_since(T) == 5000
    past = past.with_end(5000 + T, 5130, 5, settled=True)
    assert past.doubtful_since(T) is None


def test_a_gap_that_is_reported_late_or_again_is_settled_already() -> None:
    past = PastSnapshots().with_end(1000, 1010, 5, settled=True)
    assert past.with_gap(1000 - T).doubtful_since(T) is None
    assert past.with_gap(1001 - T).doubtful_since(T) == 1001 - T
    assert past.with_gap(500).with_gap(400) == past.with_gap(500)


@given(st.lists(st.tuples(st.sampled_from(["gap", "snapshot"]), st.floats(1, 4000)), max_size=12))
def test_a_resumed_schedule_is_that_of_a_process_that_took_all_snapshots(
    steps: list[tuple[str, float]],
) -> None:
    past, now = PastSnapshots().with_gap(1000.0), 1000.0
    schedule = SnapshotSchedule(EVERY, T)
    schedule.note_gap(now)
    for what, seconds in [("snapshot", 10.0), *steps]:
        if what == "gap":
            now += seconds
            schedule.note_gap(now)
            past = past.with_gap(now)
            continue
        now = began = max(now, schedule.due)
        settles = begin(schedule, now)
        now += seconds
        schedule.note_end(now, settled=settles)
        past = past.with_end(began, now, 1, settled=settles)
        assert math.isclose(resumed(past).due, schedule.due)
        assert resumed(past).settles(now) == schedule.settles(now)
