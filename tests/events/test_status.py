"""Status topics: from a message to what it says about a client."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.events.model import Rejected, RejectionReason
from presenced.events.status import StatusDecoder, StatusTopic

TEXT = StatusTopic("devices/+/status", "{1}", "online", "offline")


def decoded(topic: StatusTopic, name: str, payload: bytes) -> tuple[str, bool] | None:
    event = StatusDecoder([topic]).decode(name, payload, retained=False)
    return None if event is None else (event.client_id, event.connected)


@pytest.mark.parametrize(
    ("topic_filter", "client_id", "topic", "expected"),
    [
        ("devices/+/status", "{1}", "devices/a b/status", "a b"),
        ("devices/+/status", "{1}", "devices/a/b/status", None),
        ("devices/+/status", "{1}", "devices/a/status/x", None),
        ("+/+/lwt", "{2}", "site/7/lwt", "7"),
        ("+/+/lwt", "{1}-{2}", "site/7/lwt", "site-7"),
        ("+/+/lwt", "{2}/{1}{2}", "site/7/lwt", "7/site7"),
        ("lwt/#", "{1}", "lwt/line/7", "line/7"),
        ("+/lwt", "{1}", "$SYS/lwt", None),
        ("#", "{1}", "a/b", "a/b"),
        ("#", "{1}", "$aws/events/x", None),
        ("a.c/+", "{1}", "abc/x", None),
        ("home/+/tele/LWT", "tasmota_{1}", "home/x/tele/LWT", "tasmota_x"),
    ],
)
def test_the_client_id_is_in_the_topic(
    topic_filter: str, client_id: str, topic: str, expected: str | None
) -> None:
    status = StatusTopic(topic_filter, client_id, "1", "0")
    assert decoded(status, topic, b"1") == (None if expected is None else (expected, True))


@pytest.mark.parametrize("topic", ["lwt", "lwt/", "devices//status"])
def test_a_topic_without_a_client_id_is_rejected(topic: str) -> None:
    decoder = StatusDecoder([StatusTopic("lwt/#", "{1}", "1", "0"), TEXT])
    with pytest.raises(Rejected) as rejected:
        decoder.decode(topic, b"online" if topic.startswith("d") else b"1", retained=False)
    assert rejected.value.reason is RejectionReason.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("payload", "connected"),
    [
        (b"online", True),
        (b" offline\n", False),
        (b"b25saW5l", True),  # an IoT rule encodes what is not JSON
    ],
)
def test_texts(payload: bytes, connected: bool) -> None:
    assert decoded(TEXT, "devices/a/status", payload) == ("a", connected)


@pytest.mark.parametrize(
    ("pointer", "online", "offline", "value"),
    [
        ("/state", "up", "down", {"state": "up", "topic": "t"}),
        ("/a/b", "true", "false", {"a": {"b": True}}),
        ("/a/0", "1", "0", {"a": [1]}),
        ("/a~1b/c~0d", "null", "0", {"a/b": {"c~d": None}}),
        ("/", "x", "y", {"": "x"}),
        ("/12", "12", "0", list(range(13))),
        ("/00", "x", "y", {"00": "x"}),
    ],
)
def test_values_in_json(pointer: str, online: str, offline: str, value: object) -> None:
    status = StatusTopic("s/+", "{1}", online, offline, pointer)
    assert decoded(status, "s/a", json.dumps(value).encode()) == ("a", True)


@pytest.mark.parametrize(
    ("pointer", "payload", "reason"),
    [
        (None, b"sleeping", "invalid_payload"),
        (None, b"", "invalid_payload"),
        (None, b"\xff", "invalid_payload"),
        (None, b"o" * (128 * 1024 + 1), "too_large"),
        ("/state", b"online", "malformed_json"),
        ("/state", b"\xff", "malformed_json"),
        ("/state", b"[" * 100_000, "malformed_json"),
        ("/state", b"{}", "invalid_payload"),
        ("/state", b'{"state": {}}', "invalid_payload"),
        ("/state/9999999999999999999999", b'{"state": [1]}', "invalid_payload"),
        ("/00", b'["online"]', "invalid_payload"),
        ("/\N{ARABIC-INDIC DIGIT ZERO}", b'["online"]', "invalid_payload"),
        ("/-", b'["online"]', "invalid_payload"),
    ],
)
def test_what_says_neither_is_rejected(pointer: str | None, payload: bytes, reason: str) -> None:
    status = TEXT._replace(pointer=pointer)
    with pytest.raises(Rejected) as rejected:
        decoded(status, "devices/a/status", payload)
    assert rejected.value.reason == reason
    assert "online" not in rejected.value.detail.replace("neither online", "")


@given(st.text(), st.binary(), st.sampled_from([None, "/a/0"]))
def test_no_message_raises_anything_else(topic: str, payload: bytes, pointer: str | None) -> None:
    decoder = StatusDecoder([TEXT, StatusTopic("#", "{1}", "1", "0", pointer)])
    try:
        event = decoder.decode(topic, payload, retained=True)
    except Rejected:
        return
    assert event is None or event.retained
