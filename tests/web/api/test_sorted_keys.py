import gc
import random
from bisect import bisect_left, bisect_right

from hypothesis import given
from hypothesis import strategies as st

from presenced.web.api.sorted_keys import SortedKeys


def keys_of(numbers) -> SortedKeys[int]:
    """Keys in small blocks, so that few of them make many blocks."""
    keys: SortedKeys[int] = SortedKeys(block_size=4)
    for number in numbers:
        keys.add(number)
    return keys


NUMBERS = st.integers(0, 60)
CHANGES = st.lists(st.tuples(st.booleans(), NUMBERS), max_size=150)


@given(st.lists(NUMBERS), CHANGES)
def test_keys_are_those_of_a_set(first, changes):
    expected = set(first)
    keys = keys_of(first)
    for added, number in changes:
        if added:
            keys.add(number)
            expected.add(number)
        else:
            keys.discard(number)
            expected.discard(number)
    assert keys.next(None, 100) == sorted(expected)
    assert len(keys) == len(expected)


@given(st.sets(NUMBERS), CHANGES, st.none() | NUMBERS, st.integers(0, 70), st.booleans())
def test_the_first_after_a_key_in_both_directions(first, changes, start, limit, inclusive):
    keys = keys_of(first)
    for added, number in changes:
        (keys.add if added else keys.discard)(number)
    ordered = keys.next(None, 100)
    begin = 0 if start is None else (bisect_left if inclusive else bisect_right)(ordered, start)
    assert keys.next(start, limit, inclusive=inclusive) == ordered[begin:][:limit]
    end = (
        len(ordered)
        if start is None
        else (bisect_right if inclusive else bisect_left)(ordered, start)
    )
    backwards = keys.next(start, limit, descending=True, inclusive=inclusive)
    assert backwards == ordered[:end][::-1][:limit]


def test_a_collection_never_has_many_blocks_to_look_at():
    """The collector counts what is made less what is freed: a replaced block is both."""
    keys: SortedKeys[str] = SortedKeys()
    for number in range(0, 40_000, 2):
        keys.add(f"{number:05}")
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
