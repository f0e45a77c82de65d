"""Clients by class."""

import re

from hypothesis import given
from hypothesis import strategies as st

from presenced.metrics.classes import ClassCounts
from presenced.presence import Client, State


def test_no_pattern_makes_no_classes() -> None:
    classes = ClassCounts()
    classes.count(Client("a"), State.ONLINE, 1)
    assert (classes.labels, list(classes.samples())) == ((), [])


def test_groups_and_states() -> None:
    classes = ClassCounts(re.compile(r"^(?P<kind>[a-z]+)-(?P<site>\w+)?"))
    for client_id in ("pump-north", "pump-north", "pump-", "7"):
        classes.count(Client(client_id), State.ONLINE, 1)
    classes.count(Client("pump-north"), State.ONLINE, -1)
    classes.count(Client("pump-north"), State.PENDING, 1)
    assert classes.labels == ("kind", "site")
    assert {labels: n for labels, n in classes.samples() if n} == {
        ("pump", "north", "online"): 1,
        ("pump", "north", "pending"): 1,
        ("pump", "", "online"): 1,
    }


def test_a_million_distinct_classes_are_counted_within_the_limit() -> None:
    classes = ClassCounts(re.compile("(?P<serial>.+)"))
    for number in range(1_000_000):
        classes.count(Client(f"c{number}"), State.ONLINE, 1)
    shown = dict(classes.samples())
    assert len({labels[0] for labels in shown}) == 1001
    assert shown["other", "online"] == 1_000_000 - 1000


def test_a_class_has_no_text_longer_than_a_client_id_of_aws() -> None:
    classes = ClassCounts(re.compile("(?P<kind>[^/]+)/(?P<site>.*)"))
    for client_id in ("pump/" + "x" * 128, "pump/" + "x" * 129, "ü" * 65 + "/x", "pump/x"):
        classes.count(Client(client_id), State.ONLINE, 1)
    assert {labels: n for labels, n in classes.samples() if n} == {
        ("pump", "x" * 128, "online"): 1,
        ("other", "other", "online"): 2,
        ("pump", "x", "online"): 1,
    }


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_the_limit_of_classes_loses_no_client(steps: list[tuple[int, bool]]) -> None:
    """Classes beyond the limit are `other`, and counts return to 0."""
    classes = ClassCounts(re.compile("(?P<number>[0-9]+)"), limit=5)
    here: list[int] = []
    for number, arrives in steps:
        if arrives:
            here.append(number)
            classes.count(Client(str(number)), State.ONLINE, 1)
        elif here:
            classes.count(Client(str(here.pop())), State.ONLINE, -1)
    shown = dict(classes.samples())
    assert len({labels[0] for labels in shown}) <= 6
    assert sum(shown.values()) == len(here)
    assert min(shown.values(), default=0) >= 0
