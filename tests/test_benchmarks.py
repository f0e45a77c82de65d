"""The benchmarks' load generator and arithmetic are what they say."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from benchmarks.events import Lives, client_id, random_events
from benchmarks.figures import Figure, take_turns
from benchmarks.index_server import Index
from benchmarks.lost_connects import LONGEST_ABSENCE, EmulatedClients
from benchmarks.packets import publish
from benchmarks.publisher import encoded, packed
from benchmarks.scraping import samples
from brokers import publish_packet
from presenced.aws.answers import thing_page
from presenced.events.decode import decode
from presenced.events.model import LifecycleEvent


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=300),
    st.binary(max_size=20_000),
    st.integers(1, 65535),
)
def test_packets_are_those_of_another_encoder(topic, payload, packet_id):
    assert publish(topic, payload) == publish_packet(topic, payload, qos=0, mid=packet_id)
    assert publish(topic, payload, packet_id=packet_id) == publish_packet(
        topic, payload, qos=1, mid=packet_id
    )


def test_blocks_hold_every_packet_in_order():
    events = random_events(2500, 10)
    assert b"".join(encoded(events, qos=1)) == b"".join(packed(events, qos=1))
    assert len(encoded(events)) == 3


def test_every_event_is_one_that_the_daemon_applies():
    online = {}
    for topic, payload in random_events(2000, 50):
        event = decode(topic, payload, 0.0)
        assert isinstance(event, LifecycleEvent)
        assert not event.topic_disagrees
        assert event.connected is not online.get(event.client_id, False)
        online[event.client_id] = event.connected
        assert topic_matches_sub("$aws/events/presence/+/+", topic)
    assert len(online) == 50


def test_a_disconnect_belongs_to_the_connect_before_it():
    lives = Lives()
    connected, disconnected, again = (
        json.loads(event.payload)
        for events in (lives.connect, lives.disconnect, lives.connect)
        for event in events([7])
    )
    key = ("versionNumber", "sessionIdentifier")
    assert [connected[k] for k in key] == [disconnected[k] for k in key]
    assert again["versionNumber"] == connected["versionNumber"] + 1
    assert again["sessionIdentifier"] != connected["sessionIdentifier"]


def test_an_index_has_every_thing_once():
    index, token, names = Index(250), None, []
    while True:
        page = thing_page(json.dumps(index.page(token)).encode())
        names += [thing.name for thing in page.things]
        assert all(thing.connectivity.timestamp for thing in page.things)
        if (token := page.next_token) is None:
            break
    assert sorted(names) == sorted(map(client_id, range(250)))


def test_in_a_storm_every_client_is_away_for_a_short_time():
    clients = EmulatedClients(50, Random(1))
    away, absences = {}, []
    for at, step in clients.storm(Random(2)):
        message = step(1000 + at)
        name = message.fields["clientId"]
        if message.fields["eventType"] == "disconnected":
            away[name] = at
        else:
            absences.append(at - away.pop(name))
    assert not away
    assert len(absences) == 50
    assert max(absences) <= LONGEST_ABSENCE


def test_no_two_of_a_million_clients_share_an_id():
    assert len({client_id(number) for number in range(1_000_000)}) == 1_000_000


def test_samples_are_those_of_the_very_metric():
    text = b'# HELP a x\na 1.0\na_total 2.0\na{b="c d"} 3.0\naa 4.0\n'
    assert samples(text, "a") == [1.0, 3.0]


@pytest.mark.parametrize(
    ("more_is_better", "ratio", "met"), [(True, 2.0, True), (False, 0.5, False)]
)
def test_a_ratio_tells_how_many_times_better_it_is(more_is_better, ratio, met):
    figure = Figure(
        "x", "s", [1, 4, 40], "y", [2, 1, 3], more_is_better=more_is_better, at_least=1.0
    )
    assert figure.ratio == ratio
    assert figure.met is met


def test_a_limit_holds_for_the_median():
    assert Figure("x", "ms", [1, 2, 90], at_most=2.0).met is True
    assert Figure("x", "ms", [1, 3, 3], at_most=2.0).met is False
    assert Figure("x", "ms", [1]).met is None


def test_subjects_take_turns():
    order = []
    results = take_turns(
        2, {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    )
    assert order == ["a", "b", "a", "b"]
    assert results == {"a": [1, 3], "b": [2, 4]}
