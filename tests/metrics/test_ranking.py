"""Names in order, against a sorted list."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.metrics.series import Ranking

names = st.text("abc", max_size=4)


def drained(ranking: Ranking) -> list[str]:
    """All names, from the first to the last."""
    found = []
    while ranking:
        found.append(ranking.first)
        ranking.discard(found[-1])
    return found


@given(st.lists(st.tuples(st.booleans(), names), max_size=100))
def test_it_is_as_a_sorted_set(steps: list[tuple[bool, str]]) -> None:
    ranking, wanted = Ranking(), set()
    for there, name in steps:
        if there:
            ranking.add(name)
            wanted.add(name)
        else:
            ranking.discard(name)
            wanted.discard(name)
        assert bool(ranking) is bool(wanted)
        if wanted:
            assert (ranking.first, ranking.last) == (min(wanted), max(wanted))
    assert drained(ranking) == sorted(wanted)


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_many_names_in_any_order(order: str) -> None:
    ranked = [f"{number:05}" for number in range(10_000)]
    added = {
        "ascending": ranked,
        "descending": ranked[::-1],
        "random": Random(1).sample(ranked, len(ranked)),
    }[order]
    ranking = Ranking()
    for name in added:
        ranking.add(name)
    for name in ranked[::3]:
        ranking.discard(name)
    left = [name for number, name in enumerate(ranked) if number % 3]
    assert (ranking.first, ranking.last) == (left[0], left[-1])
    assert drained(ranking) == left
