import gc
import random
from bisect import bisect_left, bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.web.api import sorted_keys
from presenced.web.api.sorted_keys import SortedKeys


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """So that few keys make many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "_FIRST", 3)
        patch.setattr(sorted_keys, "_FULL", 4)
        yield


NUMBERS = st.integers(0, 60)
CHANGES = st.lists(st.tuples(st.booleans(), NUMBERS), max_size=150)


@given(st.lists(NUMBERS), CHANGES)
def test_keys_are_those_of_a_set(first, changes):
    expected = set(first)
    keys = SortedKeys(expected)
    for added, number in changes:
        if added:
            assert keys.add(number) is (number not in expected)
            expected.add(number)
        else:
            assert keys.discard(number) is (number in expected)
            expected.discard(number)
    assert keys.next(None, 100) == sorted(expected)
    assert len(keys) == len(expected)
    assert [number for number in range(62) if number in keys] == sorted(expected)


@given(st.sets(NUMBERS), CHANGES, st.none() | NUMBERS, st.integers(0, 70), st.booleans())
def test_the_first_after_a_key_in_both_directions(first, changes, start, most, inclusive):
    keys = SortedKeys(first)
    for added, number in changes:
        (keys.add if added else keys.discard)(number)
    ordered = keys.next(None, 100)
    begin = 0 if start is None else (bisect_left if inclusive else bisect_right)(ordered, start)
    assert keys.next(start, most, inclusive=inclusive) == ordered[begin:][:most]
    end = (
        len(ordered)
        if start is None
        else (bisect_right if inclusive else bisect_left)(ordered, start)
    )
    backwards = keys.next(start, most, descending=True, inclusive=inclusive)
    assert backwards == ordered[:end][::-1][:most]


def test_a_collection_never_has_many_blocks_to_look_at():
    """The collector counts what is made less what is freed: a replaced block is both."""
    keys = SortedKeys(f"{number:05}" for number in range(0, 40_000, 2))
    gc.collect()
    gc.disable()
    try:
        for number in random.Random(1).sample(range(1, 40_000, 2), 5000):
            keys.add(f"{number:05}")
        young = [each for each in gc.get_objects(0) if type(each) is tuple and len(each) > 1]
    finally:
        gc.enable()
    assert len(young) < 1000
    assert len(keys) == 25_000
