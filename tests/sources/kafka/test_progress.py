"""How far a partition is: what proves it, its lag, and whether the library has stopped fetching."""

import math

from presenced.sources.kafka.end_marks import EndMarks
from presenced.sources.kafka.partition import OwnedPartition
from presenced.system.loop import Clocks

CLOCKS = Clocks(lambda: 0.0, lambda: 0.0)


def waits(partition: OwnedPartition, end: int, seconds: float, *, is_drained: bool = True) -> int:
    """Ask for the end four times a second; return how often the partition is to be read again."""
    stalled = 0
    for step in range(round(4 * seconds)):
        now = step / 4
        partition.marks.add(now, end, 0)
        stalled += partition.has_stalled(now, is_drained=is_drained)
    return stalled


def test_a_partition_of_which_nothing_comes_is_read_again_and_again() -> None:
    partition = OwnedPartition(0, CLOCKS)
    assert waits(partition, 10, 2.75) == 0
    assert waits(partition, 10, 3.5) == 1
    assert waits(OwnedPartition(0, CLOCKS), 10, 600) > 5


def test_a_partition_that_is_read_again_gets_more_time_for_it() -> None:
    assert waits(OwnedPartition(0, CLOCKS), 10, 600) < 20


def test_a_partition_whose_records_may_still_be_behind_those_of_others_has_not_stalled() -> None:
    assert waits(OwnedPartition(0, CLOCKS), 10, 600, is_drained=False) == 0


def test_an_end_without_records_is_trusted_once_they_were_read_again() -> None:
    partition = OwnedPartition(0, CLOCKS)
    partition.delivered = 9
    partition.end = 10  # behind the end of a transaction, or of an earlier assignment
    assert waits(partition, 10, 600) == 1
    partition.delivered = 10
    assert waits(partition, 10, 600) == 0


def test_under_a_backlog_the_last_end_is_known_and_the_first_is_reached_first() -> None:
    marks = EndMarks()
    for step in range(100):
        marks.add(float(step), 1000 + step, 0)
    assert marks.end == 1099
    marks.advance(999)
    assert marks.reached == -math.inf
    marks.advance(1000)
    assert marks.reached == 0
    marks.add(100.0, 1100, 1100)
    assert marks.reached == 100


def test_the_end_is_not_known_after_a_gap() -> None:
    marks = EndMarks()
    marks.add(1.0, 10, 10)
    marks.clear()
    assert marks.end is None
    assert marks.reached == 1
