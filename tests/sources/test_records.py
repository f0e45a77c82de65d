"""Records of rules, in every form that the documentation promises."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from presenced.events.decode import decode
from presenced.events.model import LifecycleEvent, Rejected
from presenced.events.status import StatusDecoder, StatusTopic
from presenced.sources.records import UnreadableRecordError, read_record

TOPIC = "$aws/events/presence/connected/pump/7"
PAYLOAD = {
    "clientId": "pump/7",
    "timestamp": 1764200000123,
    "eventType": "connected",
    "sessionIdentifier": "00000000-0000-0000-0000-000000000000",
    "principalIdentifier": "x",
    "versionNumber": 3,
}


def encoded(value):
    return json.dumps(value).encode()


def in_base64(body):
    return base64.b64encode(body)


FLAT = encoded({**PAYLOAD, "topic": TOPIC})
TEXT = json.dumps(PAYLOAD)
FORMS = {
    "flat": (FLAT, None),
    "flat with a header": (FLAT, "$aws/events/presence/disconnected/x"),
    "topic first": (encoded({"topic": TOPIC, **PAYLOAD}), None),
    "flat and indented": (json.dumps({**PAYLOAD, "topic": TOPIC}, indent=1).encode(), None),
    "whitespace around it": (b" \n" + FLAT + b"\n", None),
    "flat in base64": (in_base64(FLAT), None),
    "an object beside it": (encoded({"topic": TOPIC, "payload": PAYLOAD}), None),
    "text beside it": (encoded({"topic": TOPIC, "payload": TEXT}), None),
    "base64 beside it": (
        encoded({"topic": TOPIC, "payload": in_base64(TEXT.encode()).decode()}),
        None,
    ),
    "all in base64": (in_base64(encoded({"topic": TOPIC, "payload": PAYLOAD})), None),
    "bare": (encoded(PAYLOAD), TOPIC),
    "bare in base64": (in_base64(encoded(PAYLOAD)), TOPIC),
    "a rule's envelope": (encoded({"topic": TOPIC, "event": PAYLOAD}), None),
    "another one": (encoded({"topic": TOPIC, "Event": PAYLOAD}), None),
    "an envelope beside it": (encoded({"topic": TOPIC, "payload": {"event": PAYLOAD}}), None),
    "an envelope with a header": (encoded({"event": PAYLOAD}), TOPIC),
    "an empty topic and a header": (encoded({**PAYLOAD, "topic": ""}), TOPIC),
    "a topic of null and a header": (encoded({**PAYLOAD, "topic": None}), TOPIC),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_same_event(name):
    topic, payload = read_record(*FORMS[name])
    assert topic == TOPIC
    event = decode(topic, payload, 1764200001.0)
    assert isinstance(event, LifecycleEvent)
    assert (event.client_id, event.version, event.connected) == ("pump/7", 3, True)
    assert event.timestamp == PAYLOAD["timestamp"]
    assert not event.topic_disagrees


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "neither JSON nor base64"),
        (b"hello", "neither JSON nor base64"),
        (b"\xff\xfe", "neither JSON nor base64"),
        (b'{"topic": "a"', "neither JSON nor base64"),
        (in_base64(b"hello"), "neither JSON nor base64"),
        (b"[]", "not a JSON object"),
        (b'{"topic": 5}', "not a JSON object with a text as its topic"),
        (b"{}", "SELECT *, topic() AS topic"),
        (encoded(PAYLOAD), "SELECT *, topic() AS topic"),
        (b'{"topic": ""}', "SELECT *, topic() AS topic"),
        (b'{"a": ' + b"[" * 100_000, "neither JSON nor base64"),
    ],
)
def test_what_has_no_topic_is_unreadable(body, text):
    with pytest.raises(UnreadableRecordError, match=text.replace("*", r"\*").split("(")[0]):
        read_record(body)


def test_the_error_repeats_nothing_of_the_record():
    with pytest.raises(UnreadableRecordError) as caught:
        read_record(b'{"principalIdentifier": "secret", "topic": {"a": "secret"}}')
    assert "secret" not in str(caught.value)


def test_with_a_header_every_body_is_a_payload_for_the_pipeline_to_count():
    assert read_record(b"\xff{", TOPIC) == (TOPIC, b"\xff{")
    assert read_record(b'{"topic": 5}', TOPIC) == (TOPIC, b'{"topic": 5}')


@pytest.mark.parametrize("payload", [b"null", b"5", b"true", b"[1]", b'"x"', b'"\xff"'])
def test_a_payload_that_is_no_event_is_rejected_by_the_pipeline(payload):
    topic, body = read_record(b'{"topic": "%s", "payload": %s}' % (TOPIC.encode(), payload))
    with pytest.raises(Rejected):
        decode(topic, body, 0.0)


bodies = st.one_of(
    st.binary(),
    st.binary().map(in_base64),
    st.binary().map(lambda raw: b"{" + raw + b"}"),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(encoded),
    st.fixed_dictionaries(
        {},
        optional={
            "topic": st.text() | st.none() | st.integers(),
            "payload": st.text() | st.dictionaries(st.text(), st.text()) | st.integers(),
        },
    ).map(encoded),
)


@given(bodies, st.none() | st.text())
@example(b'{"topic": "\\ud800", "payload": "\\udfff"}', None)
@example(b'{"topic": "a", "payload": "' + b"A" * 7 + b'"}', None)
def test_any_bytes_are_read_or_unreadable(body, header):
    try:
        topic, payload = read_record(body, header)
    except UnreadableRecordError:
        assert not header
    else:
        assert topic
        assert isinstance(payload, bytes)


@given(st.text(min_size=1), st.dictionaries(st.text(), st.text() | st.integers()))
def test_a_payload_beside_its_topic_comes_back(topic, payload):
    read, raw = read_record(encoded({"topic": topic, "payload": payload}))
    assert read == topic
    assert json.loads(raw) == payload


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (encoded({"topic": "devices/a/status", "payload": "online"}), None),
        (encoded({"topic": "devices/a/status", "payload": in_base64(b"online").decode()}), None),
        (encoded({"state": "online", "topic": "devices/a/status"}), "/state"),
        (encoded({"topic": "devices/a/status", "payload": {"state": "online"}}), "/state"),
    ],
)
def test_status_messages_that_a_rule_sends(body, pointer):
    topic, payload = read_record(body)
    status = StatusTopic("devices/+/status", "{1}", "online", "offline", pointer)
    event = StatusDecoder([status]).decode(topic, payload, retained=False)
    assert (event.client_id, event.connected) == ("a", True)
