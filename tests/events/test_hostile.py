"""Hostile payloads are counted, and a valid event among them is applied."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.events.decode import decode
from presenced.events.message import Message
from presenced.events.model import EVENT_TYPES, Event, Rejected, RejectionReason
from presenced.fleet import Fleet
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules, State
from presenced.system import log

VALID = {
    "clientId": "a",
    "timestamp": 1672742949382,
    "eventType": "connected",
    "sessionIdentifier": "s",
    "versionNumber": 8,
}
HOSTILE = 100_000

topics = st.text(max_size=80) | st.builds(
    lambda parts: "$aws/events/" + "/".join(parts),
    st.lists(
        st.sampled_from(
            ["presence", "connected", "disconnected", "thing", "thingGroup", "created", "added"]
        )
        | st.text(max_size=5),
        max_size=7,
    ),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
fields = st.dictionaries(
    st.sampled_from(
        [*VALID, "operation", "thingName", "attributes", "event", "Event", "disconnectReason"]
    ),
    values,
)


@given(topic=topics, payload=st.binary(max_size=200) | fields.map(lambda f: json.dumps(f).encode()))
@settings(max_examples=1000)
def test_decoding_gives_an_event_or_a_rejection(topic: str, payload: bytes) -> None:
    try:
        event = decode(topic, payload, 0.0)
    except Rejected:
        return
    assert isinstance(event, Event)
    assert event.type in EVENT_TYPES[event.family]


def mutations(rng: random.Random) -> bytes:
    """A damaged payload, or random bytes."""
    payload = json.dumps(VALID).encode()
    match rng.randrange(8):
        case 0:
            return rng.randbytes(rng.randrange(64))
        case 1:
            return payload[: rng.randrange(len(payload))]
        case 2:
            at = rng.randrange(len(payload))
            return payload[:at] + rng.randbytes(1) + payload[at + 1 :]
        case 3:
            key = rng.choice(list(VALID))
            value = rng.choice(
                [None, True, -1, 10**40, 1e308, "", "x" * 5000, "0" * 5000, [], {}, "\ud800"]
            )
            return json.dumps({**VALID, key: value}).encode()
        case 4:
            depth = rng.choice([10, 5000])
            return b'{"clientId":"a","x":' + b"[" * depth + b"]" * depth + b"}"
        case 5:
            return json.dumps({**VALID, "clientId": "".join(chr(rng.randrange(0x3000)))}).encode()
        case 6:
            return payload + payload
        case _:
            return b'{"clientId":"' + b"y" * rng.randrange(200_000 if rng.random() < 0.01 else 99)


def test_a_hundred_thousand_hostile_payloads(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    rng = random.Random(7)
    pipeline = Pipeline(Fleet(PresenceRules()))
    kinds = ["connected/h", "disconnected/h", "connect_failed/h", "nonsense/h", "connected/", ""]

    def hostile() -> Message:
        topic = "$aws/events/presence/" + rng.choice(kinds) + str(rng.randrange(50))
        return Message(topic=topic, payload=mutations(rng), qos=1, received=0.0, moment=0.0)

    batch = [hostile() for _ in range(HOSTILE)]
    valid = json.dumps({**VALID, "clientId": "the valid one"}).encode()
    batch[HOSTILE // 2] = Message(
        topic="$aws/events/presence/connected/v", payload=valid, qos=1, received=0.0, moment=0.0
    )
    pipeline.process(batch)

    counted = sum(pipeline.counts.decoded.values()) + sum(pipeline.counts.rejected.values())
    assert counted == HOSTILE
    assert all(pipeline.counts.rejected.values()), "every reason occurs"
    assert pipeline.counts.faults == 0
    shown = capsys.readouterr().err.splitlines()
    assert len([line for line in shown if "message rejected" in line]) == len(RejectionReason)
    assert pipeline.fleet.presence.clients["the valid one"].state is State.ONLINE
