"""Label names from attribute names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.metrics.metric import label_names, label_text
from presenced.settings.values import RESERVED

# What AWS allows in the name of an attribute.
NAMES = st.text("abzAZ019_.,@/:#=[]-", min_size=1, max_size=6)


@given(st.sets(NAMES, max_size=30), st.sets(NAMES, max_size=3))
def test_label_names_are_valid_and_none_comes_twice(names: set[str], taken: set[str]) -> None:
    labels = label_names(names, RESERVED | taken)
    assert labels.keys() == names
    assert len(set(labels.values())) == len(names)
    assert not set(labels.values()) & (RESERVED | taken)
    for label in labels.values():
        assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", label)
        assert not label.startswith("__"), "kept for Prometheus"


@given(st.lists(NAMES, unique=True, max_size=10), st.randoms())
def test_the_order_of_names_does_not_matter(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert label_names(names) == label_names(shuffled)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["site"], ["site"]),
        (["a.b", "a-b", "a_b"], ["a_b_3", "a_b_2", "a_b"]),
        (["7", "__x", "-", "="], ["_7", "_x", "_", "_2"]),
        (["client_id", "state", "le"], ["client_id_2", "state_2", "le_2"]),
    ],
)
def test_examples(names: list[str], labels: list[str]) -> None:
    assert [label_names(names)[name] for name in names] == labels


def test_values_are_escaped() -> None:
    assert label_text({"a": 'x"y\\z\n', "b": ""}) == 'a="x\\"y\\\\z\\n",b=""'
