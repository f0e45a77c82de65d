import re
from itertools import zip_longest

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from presenced.events.topics import EVENT_FILTERS, route
from presenced.settings.topic_filters import check_topic_filter, overlapping_filters


@pytest.mark.parametrize(
    "text",
    [
        "$aws/events/#",
        "$aws/#",
        "$aws/+/presence/#",
        "$aws/events/presence/connected/+",
        "$aws/events/presence/connected//",
        "$aws/events/presence/connected/+/+/#",
        "$aws/events/+/+/+",
        "$aws/events/+/connected/#",
        "$aws/events/thing/+/created/#",
        "$aws/events/thingTypeAssociation/thing/+/thingType/+/created",
        "$aws/events/thingTypeAssociation/thing/pump/+",
        "$aws/events/commandExecution/+/SOME_NEW_STATUS",
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
        ("$share//$aws/events/#", "must name its group"),
        ("$share/a+/$aws/events/#", "must name its group"),
        ("$share/$aws/events/#", "must name its group"),
    ],
)
def test_bad_filters_are_explained(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_topic_filter(text)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("$aws/event/#", "$aws/events/#"),
        ("aws/events/presence/#", "$aws/events/presence/#"),
        ("#", "$aws/events/#"),
        ("+/events/#", "$aws/events/#"),
        ("/$aws/events/#", "$aws/events/#"),
        ("devices/+/status", "$aws/events/#"),
        ("$aws/things/+/shadow/#", "$aws/events/#"),
        ("$aws/events", "$aws/events/#"),
        ("$aws/events/+", "$aws/events/#"),
        ("$aws/events/presence", "$aws/events/presence/#"),
        ("$aws/events/presence/+", "$aws/events/presence/#"),
        ("$aws/+/presence/+", "$aws/+/presence/#"),
        ("$aws/events/presences/#", "$aws/events/presence/#"),
        ("$aws/events/Presence/#", "$aws/events/presence/#"),
        ("$aws/events/presence/connected", "$aws/events/presence/connected/#"),
        ("$aws/events/presence/disconnected/", "$aws/events/presence/disconnected/#"),
        ("$aws/events/presence/conected/+", "$aws/events/presence/connected/+"),
        ("$aws/events/+/connected", "$aws/events/+/connected/#"),
        ("$aws/events/subscriptions/connected/#", "$aws/events/subscriptions/#"),
        ("$aws/events/things/+/created", "$aws/events/thing/+/created"),
        ("$aws/events/thing//created", "$aws/events/thing/+/created"),
        ("$aws/events/thing/+/CREATED", "$aws/events/thing/+/created"),
        ("$aws/events/thing/+/created/+", "$aws/events/thing/+/created"),
        ("$aws/events/thing/+/+/+", "$aws/events/thing/+/+"),
        ("$aws/events/policy/+/created", "$aws/events/#"),
        ("$share/group/$aws/events/presence/+", "$share/group/$aws/events/presence/#"),
        ("$share/group", "$share/group/$aws/events/#"),
    ],
)
def test_a_filter_that_no_event_matches_is_refused_with_the_nearest_one_that_does(text, nearest):
    with pytest.raises(ValueError, match="matches no topic on which AWS IoT Core publishes") as e:
        check_topic_filter(text)
    assert e.value.nearest == nearest
    assert check_topic_filter(nearest) == nearest


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


words = sorted({level for text in EVENT_FILTERS for level in text.split("/")} - {"+", "#"})
event_levels = st.sampled_from([*words, "+", "", "a", "CREATED"])
event_filters = st.tuples(
    st.just(["$aws", "events"]) | st.lists(event_levels, max_size=2),
    st.lists(event_levels, max_size=7),
    st.sampled_from([[], ["#"]]),
).map(lambda parts: "/".join([level for part in parts for level in part]))


def nearest_passing(text):
    try:
        return check_topic_filter(text)
    except ValueError as error:
        return error.nearest


@given(event_filters)
def test_the_nearest_filter_is_one_that_passes(text):
    assume(text)
    near = nearest_passing(text)
    assert near is None or check_topic_filter(near) == near


names = st.text(st.characters(blacklist_characters="/+#\0", codec="utf-8"), min_size=1, max_size=9)
client_ids = st.lists(st.just("") | names, min_size=1, max_size=4).map("/".join).filter(bool)


@st.composite
def event_topics(draw):
    """A topic on which AWS publishes events."""
    levels = draw(st.sampled_from(EVENT_FILTERS)).split("/")
    chosen = [draw(names) if level == "+" else level for level in levels]
    return "/".join([draw(client_ids) if level == "#" else level for level in chosen])


@given(event_topics(), st.data())
def test_every_filter_of_an_event_topic_passes(topic, data):
    levels = topic.split("/")
    text = "/".join(data.draw(st.sampled_from([level, "+"])) for level in levels[1:])
    end = data.draw(st.integers(1, len(levels)))
    assert check_topic_filter(f"$aws/{text}")
    assert check_topic_filter("/".join([*levels[:end], "#"]))


@given(event_topics())
def test_topics_that_filters_stand_for_are_those_that_are_decoded(topic):
    assert route(topic)


@given(event_filters.filter(lambda text: text and not set(text) & set("+#")))
def test_a_topic_that_passes_as_a_filter_is_decoded(topic):
    if nearest_passing(topic) == topic:
        assert route(topic)
