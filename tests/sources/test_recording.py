"""Recordings: what is written is what is read."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from presenced.events.message import Message
from presenced.sources.recording import parse_line, recording_line

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=8) | st.just("base64"), values, max_size=3)


def message(topic: str, payload: bytes, received: float = 1.5) -> Message:
    return Message(topic=topic, payload=payload, qos=1, received=received, moment=9.0)


@settings(deadline=None)
@given(
    topic=st.text(max_size=40),
    payload=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | objects.map(lambda fields: json.dumps(fields).encode())
    | objects.map(lambda fields: json.dumps(fields, ensure_ascii=False, indent=1).encode()),
    received=st.floats(0, 253_402_300_799),
)
@example("t", b'{"base64": "AAAA"}', 0.0)
@example("t", b'{"base64": "AAAA", "base64": 1}', 0.0)
@example("t", b'{"number": 1e999}', 0.0)
@example("t", b'{"a": 1}\n', 0.0)
@example("t", b'{"a": "\xff"}', 0.0)
@example("t", b'{"a":' * 2000, 0.0)
@example("t", b"", 0.0)
def test_a_line_holds_a_message_to_the_last_byte(
    topic: str, payload: bytes, received: float
) -> None:
    line = recording_line(message(topic, payload, received))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    json.loads(line)
    read = parse_line(line)
    assert (read.topic, read.payload, read.received) == (topic, payload, received)


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        (b'{"clientId": "a"}', {"clientId": "a"}),
        (b"[1]", "[1]"),
        (b"no JSON", "no JSON"),
        (b"\xff", {"base64": "/w=="}),
    ],
)
def test_objects_are_written_unchanged(payload: bytes, written: object) -> None:
    fields = json.loads(recording_line(message("t", payload)))
    assert fields == {"received": 1.5, "topic": "t", "payload": written}
