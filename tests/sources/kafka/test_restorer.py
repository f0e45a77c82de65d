"""The position of a partition among the records of its state."""

import pytest

from presenced.sources.kafka.partition import POSITION_KEY, Record
from presenced.sources.kafka.restorer import Positions

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
