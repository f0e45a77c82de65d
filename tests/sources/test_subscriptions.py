"""What one MQTT session holds, and which of its messages it keeps."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from presenced.sources.mqtt.subscriptions import Subscriptions, carries_presence, covers

EVERYTHING = "$aws/events/#"
PRESENCE = "$aws/events/presence/#"
CONNECTED = "$aws/events/presence/connected/#"
THINGS = "$aws/events/thing/#"


def wanting(*filters: str, held: dict[str, int] | None = None, qos: int = 1) -> Subscriptions:
    subscriptions = Subscriptions(held)
    subscriptions.want(filters, qos)
    return subscriptions


def test_granted_filters_are_held_until_unsubscribed() -> None:
    subscriptions = wanting(PRESENCE, THINGS)
    assert subscriptions.held is None, "nothing is known"
    subscriptions.granted(PRESENCE, 1)
    subscriptions.granted(THINGS, 0)
    assert subscriptions.held == {PRESENCE: 1, THINGS: 0}
    assert subscriptions.unwanted == []
    subscriptions.want([PRESENCE], 1)
    assert subscriptions.unwanted == [THINGS]
    subscriptions.unsubscribed(THINGS)
    assert subscriptions.held == {PRESENCE: 1}
    assert subscriptions.unwanted == []


def test_a_new_session_holds_nothing() -> None:
    subscriptions = wanting(PRESENCE, held={THINGS: 1})
    assert subscriptions.unwanted == [THINGS]
    subscriptions.up(resumed=False, whole=True)
    assert subscriptions.unwanted == []
    assert not subscriptions.granted(PRESENCE, 1), "that it is new has been told as a lost session"


@pytest.mark.parametrize(
    ("held", "missed"),
    [
        ({PRESENCE: 1}, False),
        ({EVERYTHING: 1}, False),
        ({THINGS: 1}, True),
        ({CONNECTED: 1}, True),
        ({EVERYTHING: 0}, True),
        ({}, True),
        (None, False),
    ],
)
def test_a_filter_that_the_resumed_session_did_not_hold_has_missed_something(
    held: dict[str, int] | None, missed: bool
) -> None:
    subscriptions = wanting(PRESENCE, held=held)
    subscriptions.up(resumed=True, whole=True)
    assert subscriptions.granted(PRESENCE, 1) is missed
    subscriptions.up(resumed=True, whole=True)
    assert not subscriptions.granted(PRESENCE, 1), "now it is held"


def test_a_filter_without_presence_misses_none() -> None:
    subscriptions = wanting(THINGS, held={PRESENCE: 1})
    subscriptions.up(resumed=True, whole=True)
    assert not subscriptions.granted(THINGS, 1)


@pytest.mark.parametrize("others", [[], [THINGS]])
def test_an_unsubscribed_filter_covers_no_later_one(others: list[str]) -> None:
    subscriptions = wanting(PRESENCE, THINGS, held={EVERYTHING: 1})
    subscriptions.up(resumed=True, whole=True)
    for each in others:
        subscriptions.granted(each, 1)
    subscriptions.unsubscribed(EVERYTHING)
    assert subscriptions.granted(PRESENCE, 1)


def test_unsubscribing_keeps_the_other_filters() -> None:
    subscriptions = wanting(PRESENCE, held={PRESENCE: 1, THINGS: 1})
    subscriptions.up(resumed=True, whole=True)
    subscriptions.unsubscribed(THINGS)
    assert not subscriptions.granted(PRESENCE, 1)


def test_a_session_that_is_not_whole_is_a_gap_already() -> None:
    subscriptions = wanting(PRESENCE, held={THINGS: 1})
    subscriptions.up(resumed=True, whole=False)
    assert not subscriptions.granted(PRESENCE, 1)
    assert subscriptions.unwanted == [THINGS], "to be ended all the same"


def test_filters_granted_one_after_the_other_are_no_gaps_among_themselves() -> None:
    subscriptions = wanting(PRESENCE, THINGS, CONNECTED)
    subscriptions.up(resumed=False, whole=True)
    assert not subscriptions.granted(THINGS, 1)
    assert not subscriptions.granted(CONNECTED, 1)


@pytest.mark.parametrize("asked", [0, 1])
def test_a_grant_at_qos_0_keeps_no_presence(asked: int) -> None:
    subscriptions = wanting(PRESENCE, THINGS, qos=asked)
    assert subscriptions.keeps_presence
    subscriptions.granted(THINGS, 0)
    assert subscriptions.keeps_presence, "things are no presence"
    subscriptions.granted(PRESENCE, 0)
    assert not subscriptions.keeps_presence
    assert list(subscriptions.shortfalls) == ([PRESENCE] if asked else [])
    subscriptions.granted(PRESENCE, asked)
    assert subscriptions.keeps_presence is bool(asked)
    assert subscriptions.shortfalls == {}


def test_events_at_qos_0_keep_no_presence_until_the_next_grant() -> None:
    subscriptions = wanting(PRESENCE, THINGS)
    assert not subscriptions.received_at_qos_0(), "nothing was granted yet"
    subscriptions.granted(PRESENCE, 1)
    subscriptions.granted(THINGS, 1)
    assert subscriptions.received_at_qos_0()
    assert not subscriptions.received_at_qos_0(), "no news"
    assert subscriptions.held == {PRESENCE: 0, THINGS: 1}
    assert not subscriptions.keeps_presence
    assert "the broker granted QoS 1" in str(subscriptions.shortfalls[PRESENCE])
    subscriptions.granted(PRESENCE, 1)
    assert subscriptions.keeps_presence
    assert subscriptions.shortfalls == {}


def test_a_grant_at_qos_0_explains_events_at_qos_0() -> None:
    subscriptions = wanting(PRESENCE)
    subscriptions.granted(PRESENCE, 0)
    assert not subscriptions.received_at_qos_0()
    assert "granted $aws/events/presence/# at QoS 0 only" in str(subscriptions.shortfalls[PRESENCE])


def test_an_unwanted_filter_is_no_shortfall() -> None:
    subscriptions = wanting(PRESENCE)
    subscriptions.granted(PRESENCE, 0)
    subscriptions.want([CONNECTED], 1)
    assert subscriptions.shortfalls == {}
    assert subscriptions.keeps_presence


@pytest.mark.parametrize(
    ("wide", "narrow", "whether"),
    [
        (EVERYTHING, "$share/g/$aws/events/presence/#", True),
        ("$share/g/$aws/events/#", PRESENCE, False),
        ("$share/g/$aws/events/#", "$share/g/$aws/events/#", True),
        ("#", PRESENCE, False),
        ("+/events/#", PRESENCE, False),
    ],
)
def test_special_topics_and_shared_subscriptions(wide: str, narrow: str, whether: bool) -> None:
    assert covers(wide, narrow) is whether


def matches(topic_filter: str, topic: tuple[str, ...]) -> bool:
    """MQTT 5 section 4.7, level by level."""
    levels = topic_filter.split("/")
    if levels[-1] == "#":
        levels.pop()
        if len(topic) < len(levels):
            return False
    elif len(topic) != len(levels):
        return False
    return all(level in ("+", told) for level, told in zip(levels, topic, strict=False))


FILTERS = [
    "/".join([*levels, *end])
    for count in range(4)
    for levels in itertools.product("ab+", repeat=count)
    for end in ([], ["#"])
    if levels or end
]
# One level that no filter names, and one more than they have.
TOPICS = [topic for count in range(1, 6) for topic in itertools.product("abc", repeat=count)]


@given(st.sampled_from(FILTERS), st.sampled_from(FILTERS))
@example("+/#", "#")
def test_covering_is_matching_all_that_the_other_matches(wide: str, narrow: str) -> None:
    every = all(matches(wide, topic) for topic in TOPICS if matches(narrow, topic))
    assert covers(wide, narrow) is every


@given(st.sampled_from(FILTERS))
def test_a_filter_that_covers_presence_carries_it(topic_filter: str) -> None:
    prefixed = "$aws/events/" + topic_filter.replace("a", "presence")
    assert carries_presence([prefixed]) or not covers(prefixed, PRESENCE)
