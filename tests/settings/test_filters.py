import re
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.settings.values import check_topic_filter, overlapping_filters


@pytest.mark.parametrize(
    "text",
    [
        "$aws/events/#",
        "$aws/#",
        "$aws/+/presence/#",
        "$aws/events",
        "$aws/events/presence/connected/+",
        "$aws/events/thing/+/created",
        "$share/presenced/$aws/events/#",
        "$aws/events/presence/connected/a device/ü/#",
    ],
)
def test_filters_of_event_messages_pass(text):
    assert check_topic_filter(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty"),
        ("$aws/events/#/x", "must have # only at the end"),
        ("$aws/events#", "must have # only at the end, after a slash"),
        ("$aws/events/##", "must have # only at the end"),
        ("$aws/events/pres+/x", "must have + alone between two slashes"),
        ("$aws/events/++", "must have + alone"),
        ("$aws/events/\0", "must not contain a NUL character"),
        ("$aws/events/\ud800", "an unpaired surrogate"),
        ("$aws/events/" + "x" * 65535, "must not be longer than 65535 bytes"),
        ("$aws/event/#", "matches no topic below $aws/events/"),
        ("aws/events/#", "matches no topic below $aws/events/"),
        ("#", "matches no topic below $aws/events/"),
        ("+/events/#", "matches no topic below $aws/events/"),
        ("$share/group", "matches no topic below $aws/events/"),
        ("$share//$aws/events/#", "must name its group"),
        ("$share/a+/$aws/events/#", "must name its group"),
        ("$share/$aws/events/#", "matches no topic below $aws/events/"),
    ],
)
def test_bad_filters_are_explained(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_topic_filter(text)


@pytest.mark.parametrize(
    "connections",
    [
        [["$aws/events/#"]],
        [["$aws/events/presence/#"], ["$aws/events/subscriptions/#"]],
        [["$aws/events/presence/connected/+", "$aws/events/presence/connected/+/+"]],
        [["$share/g/$aws/events/#"], ["$share/g/$aws/events/#"]],
    ],
)
def test_separate_filters_do_not_overlap(connections):
    assert list(overlapping_filters(connections)) == []


@pytest.mark.parametrize(
    ("connections", "sentence"),
    [
        ([["a/#"], ["a/#"]], "[1][0] a/# repeats [0][0] a/#"),
        ([["a/#", "a/#"]], "[0][1] a/# repeats [0][0] a/#"),
        ([["a/#"], ["a/b/c"]], "[1][0] a/b/c overlaps [0][0] a/#"),
        ([["a/b/#"], ["a/b"]], "[1][0] a/b overlaps [0][0] a/b/#"),
        ([["a/+/c"], ["a/b/+"]], "[1][0] a/b/+ overlaps [0][0] a/+/c"),
        ([["$share/g/a/#"], ["a/b"]], "[1][0] a/b overlaps [0][0] $share/g/a/#"),
        ([["$share/g/a/#"], ["$share/h/a/#"]], "[1][0] $share/h/a/# overlaps [0][0] $share/g/a/#"),
        ([["$share/g/a/#", "$share/g/a/#"]], "[0][1] $share/g/a/# repeats [0][0] $share/g/a/#"),
    ],
)
def test_filters_that_bring_a_message_twice_are_named(connections, sentence):
    assert list(overlapping_filters(connections)) == [sentence]


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5 section 4.7, as a regular expression."""
    if topic.startswith("$") and topic_filter[0] in "#+":
        return False
    parts = [
        "[^/]*" if level == "+" else ".*" if level == "#" else re.escape(level)
        for level in topic_filter.split("/")
    ]
    pattern = "/".join(parts)
    if topic_filter.endswith("/#"):
        pattern = pattern.removesuffix("/.*") + "(/.*)?"
    return re.fullmatch(pattern, topic) is not None


levels = st.lists(st.sampled_from(["a", "b", "$x", "+"]), min_size=1, max_size=4)
filters = st.tuples(levels, st.booleans()).map(lambda t: "/".join(t[0] + ["#"] * t[1]))
topics = st.lists(st.sampled_from(["a", "b", "$x"]), min_size=1, max_size=5).map("/".join)


@given(filters, filters, st.lists(topics, max_size=20))
def test_filters_that_match_one_topic_overlap(a, b, some_topics):
    if any(matches(a, topic) and matches(b, topic) for topic in some_topics):
        assert list(overlapping_filters([[a], [b]]))


@given(filters, filters)
def test_filters_that_overlap_match_one_topic(a, b):
    if not list(overlapping_filters([[a], [b]])):
        return
    # The longer one, its wildcards filled from the other, is matched by both; or its parent is.
    witness = []
    for pair in zip_longest(a.split("/"), b.split("/"), fillvalue="+"):
        literal = [level for level in pair if level not in "+#"]
        witness.append(literal[0] if literal else "a")
    candidates = ["/".join(witness), "/".join(witness[:-1]) or "a"]
    assert any(matches(a, topic) and matches(b, topic) for topic in candidates)
