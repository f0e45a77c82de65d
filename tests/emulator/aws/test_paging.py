import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.aws.errors import AwsError
from presenced_emulator.aws.paging import Pager


@given(st.integers(), st.integers(0, 60), st.integers(1, 20), st.floats(0, 0.9))
def test_every_entry_once(seed: int, count: int, limit: int, short_pages: float) -> None:
    pager = Pager(random.Random(seed))
    entries = [(f"{number:03}", number) for number in range(count)]
    token, found, tokens = None, [], set()
    while True:
        page = pager.begin("things", token, limit, short_pages)
        shown, token = pager.cut(page, entries)
        assert len(shown) <= limit
        found += shown
        if token is None:
            break
        assert token not in tokens
        tokens.add(token)
    assert found == list(range(count))


def test_short_pages() -> None:
    pager = Pager(random.Random(1))
    entries = [(f"{number:03}", number) for number in range(10)]
    pages = [pager.cut(pager.begin("things", None, 3, 1.0), entries) for _ in range(50)]
    assert {len(shown) for shown, _ in pages} == {0, 1, 2}
    assert all(token is not None for _, token in pages)


@pytest.mark.parametrize("token", ["", "x", "bnVsbA==", "WzEsMl0=", "ä"])
def test_wrong_tokens(token: str) -> None:
    with pytest.raises(AwsError, match="Invalid nextToken"):
        Pager(random.Random(1)).begin("things", token, 1)
