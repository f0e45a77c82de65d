"""Offsets that are skipped are read again, unless the topic is known to lack them."""

from presenced.events.message import Message
from presenced.sources.kafka.holes import HoleCheck


def messages(*offsets: int) -> list[Message]:
    return [Message("", b"", 1, 0.0, 0.0, offset=offset) for offset in offsets]


def offsets(taken: list[Message]) -> list[int]:
    return [each.offset for each in taken]


def test_records_of_an_earlier_assignment_are_left_out() -> None:
    taken, read_from = HoleCheck().following(5, messages(2, 3, 5, 6))
    assert (offsets(taken), read_from) == ([5, 6], None)


def test_what_follows_a_hole_waits_until_the_hole_was_read_again() -> None:
    holes = HoleCheck()
    taken, read_from = holes.following(5, messages(5, 8, 9))
    assert (offsets(taken), read_from) == ([5], 6)
    taken, read_from = holes.following(6, messages(8, 9))
    assert (offsets(taken), read_from) == ([8, 9], None)


def test_records_that_were_skipped_come_when_they_are_read_again() -> None:
    holes = HoleCheck()
    assert holes.following(6, messages(8, 9)) == ([], 6)
    taken, read_from = holes.following(6, messages(6, 7, 8, 9))
    assert (offsets(taken), read_from) == ([6, 7, 8, 9], None)


def test_ends_of_transactions_are_not_read_again_each_time() -> None:
    holes = HoleCheck()
    holes.following(1, messages(2, 3))
    taken, read_from = holes.following(1, messages(2, 3, 5, 6, 8))
    assert (offsets(taken), read_from) == ([2, 3, 5, 6, 8], None)


def test_a_large_hole_is_read_again_although_the_topic_has_ends_of_transactions() -> None:
    holes = HoleCheck()
    holes.following(1, messages(2, 3))
    holes.following(1, messages(2, 3))
    assert holes.following(4, messages(500, 501)) == ([], 4)
    taken, read_from = holes.following(4, messages(4, 5))
    assert (offsets(taken), read_from) == ([4, 5], None)
