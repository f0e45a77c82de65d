"""The position of a partition, and its topics, among the records of its state."""

import pytest

from presenced.sources.kafka.partition import POSITION_KEY, TOPICS_KEY, Record
from presenced.sources.kafka.restorer import Positions
from presenced.sources.kafka.topic_ids import TopicIds

CLIENT: Record = (b'["clients","a"]', b"[]")


def test_a_position_is_taken_out_of_the_records() -> None:
    positions = Positions()
    records = [CLIENT, (POSITION_KEY, b"12"), (POSITION_KEY, b"15")]
    assert list(positions.among(iter(records))) == [CLIENT]
    assert positions.found == {POSITION_KEY: 15}


@pytest.mark.parametrize("value", [b"x", b"", b"-1", b"1.5", b"null"])
def test_a_damaged_position_is_not_found_and_reaches_the_count_of_damage(value: bytes) -> None:
    positions = Positions()
    records = [(POSITION_KEY, b"12"), (POSITION_KEY, value), CLIENT]
    assert list(positions.among(iter(records))) == [(None, value), CLIENT]
    assert positions.found == {}


def test_the_topics_are_those_of_the_last_transaction() -> None:
    former, last = TopicIds("e", "s", "ge", "gs"), TopicIds("e", "s2", "ge", "gs")
    positions = Positions()
    records = [(TOPICS_KEY, former.encode()), CLIENT, (TOPICS_KEY, last.encode())]
    assert list(positions.among(iter(records))) == [CLIENT]
    assert positions.topics == last
    assert last.differing(former) == {"state"}


@pytest.mark.parametrize("value", [b"", b"e s ge", b"\xff"])
def test_topics_that_are_damaged_are_not_known(value: bytes) -> None:
    positions = Positions()
    assert list(positions.among(iter([(TOPICS_KEY, value)]))) == []
    assert positions.topics is None
