"""Sorted names, compared with a sorted list."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.metrics.series import SortedNames

names = st.text("abc", max_size=4)


def drained(sorted_names: SortedNames) -> list[str]:
    """All names, from the first to the last."""
    found = []
    while sorted_names:
        found.append(sorted_names.first)
        sorted_names.discard(found[-1])
    return found


@given(st.lists(st.tuples(st.booleans(), names), max_size=100))
def test_it_equals_a_sorted_set(steps: list[tuple[bool, str]]) -> None:
    sorted_names, wanted = SortedNames(), set()
    for there, name in steps:
        if there:
            sorted_names.add(name)
            wanted.add(name)
        else:
            sorted_names.discard(name)
            wanted.discard(name)
        assert bool(sorted_names) is bool(wanted)
        if wanted:
            assert (sorted_names.first, sorted_names.last) == (min(wanted), max(wanted))
    assert drained(sorted_names) == sorted(wanted)


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_many_names_in_any_order(order: str) -> None:
    ranked = [f"{number:05}" for number in range(10_000)]
    added = {
        "ascending": ranked,
        "descending": ranked[::-1],
        "random": Random(1).sample(ranked, len(ranked)),
    }[order]
    sorted_names = SortedNames()
    for name in added:
        sorted_names.add(name)
    for name in ranked[::3]:
        sorted_names.discard(name)
    left = [name for number, name in enumerate(ranked) if number % 3]
    assert (sorted_names.first, sorted_names.last) == (left[0], left[-1])
    assert drained(sorted_names) == left
