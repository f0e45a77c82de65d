"""`decode_published` returns nothing that `decode_client_event` would not return."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from presenced.events.clients import decode_client_event, decode_published
from presenced.events.topics import route

CONNECTED, DISCONNECTED = "$aws/events/presence/connected/", "$aws/events/presence/disconnected/"
ORDINARY = {
    "clientId": "a",
    "timestamp": 1672742949382,
    "eventType": "connected",
    "sessionIdentifier": "f7a2c3d4-0000-4000-8000-0123456789ab",
    "principalIdentifier": "p",
    "ipAddress": "192.0.2.1",
    "versionNumber": 8,
    "thingName": "t",
    "clientInitiatedDisconnect": False,
    "disconnectReason": "CONNECTION_LOST",
    "connectFailureReason": None,
    "operation": None,
    "event": None,
    "Event": None,
}
FIXTURES = [
    (line["topic"], line["payload"])
    for line in map(json.loads, (Path(__file__).parent / "fixtures.jsonl").read_text().splitlines())
]

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 10**9, 10**10 - 1, 10**10, 2**63 - 1, 2**63, 253_402_300_799_999]),
    st.sampled_from([253_402_300_800_000, 10**40, -1, 8.0, 8.5, 1e18, 1672742949382.0, 1e300]),
    st.sampled_from(["connected", "disconnected", "CONNECTED", "8", "true", "", "a\0b"]),
    st.sampled_from(["x" * 1024, "x" * 1025, "\ud800", "ü" * 1024]),
    st.floats(allow_nan=True),
    st.text(max_size=4),
    st.just({}),
    st.just({"clientId": "b", "versionNumber": 3}),
    st.lists(st.integers(), max_size=2),
)


def texts(fields: dict[str, object]) -> st.SearchStrategy[bytes]:
    """A payload, unchanged, with one byte replaced, or with something after it."""
    text = json.dumps(fields).encode()
    return st.one_of(
        st.just(text),
        st.builds(
            lambda at, byte: text[:at] + bytes([byte]) + text[at + 1 :],
            st.integers(0, len(text) - 1),
            st.integers(0, 255),
        ),
        st.sampled_from([text + b" ", text + b"}", text[:-1] + b', "clientId": 5}', text * 2]),
    )


payloads = st.builds(
    lambda changed, left_out: {
        key: value for key, value in {**ORDINARY, **changed}.items() if key not in left_out
    },
    st.dictionaries(st.sampled_from([*ORDINARY, "untimed", "connected", "type"]), odd, max_size=3),
    st.sets(st.sampled_from(sorted(ORDINARY)), max_size=3),
).flatmap(texts)


def is_decoded(topic: str, payload: bytes) -> bool:
    """Whether `decode_published` returned an event, which is then compared."""
    event = decode_published(topic, payload)
    if event is None:
        return False
    found = route(topic)
    assert event == decode_client_event(found, payload, 0.0)
    return True


@given(topic=st.sampled_from([CONNECTED + "a", DISCONNECTED + "a/b", CONNECTED]), payload=payloads)
@example(CONNECTED + "a", json.dumps(ORDINARY).encode())
@settings(max_examples=3000)
def test_both_decoders_return_the_same_event(topic: str, payload: bytes) -> None:
    is_decoded(topic, payload)


@pytest.mark.parametrize(("topic", "payload"), FIXTURES)
def test_both_decoders_return_the_same_recorded_event(topic: str, payload: object) -> None:
    is_decoded(
        topic, payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    )


@pytest.mark.parametrize(
    ("topic", "kind"), [(CONNECTED, "connected"), (DISCONNECTED, "disconnected")]
)
def test_ordinary_events_are_decoded(topic: str, kind: str) -> None:
    assert is_decoded(topic + "a", json.dumps({**ORDINARY, "eventType": kind}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"eventType": "disconnected"},
        {"event": {"clientId": "b"}},
        {"Event": {"clientId": "b"}},
        {"clientId": "a\0"},
        {"clientId": ""},
        {"operation": 5},
        {"timestamp": 1672742949},
    ],
    ids=str,
)
def test_other_events_are_not_decoded(change: dict[str, object]) -> None:
    assert decode_published(CONNECTED + "a", json.dumps({**ORDINARY, **change}).encode()) is None
