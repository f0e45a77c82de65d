"""Anonymised messages: they contain no name and have the same effect on the daemon."""

import io
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from presenced.commands.recorded_answers import read_answers
from presenced.commands.recorder.anonymize import Anonymizer
from presenced.commands.replay import Replay
from presenced.events.decode import MAX_PAYLOAD, decode
from presenced.events.message import Message
from presenced.events.model import EVENT_TYPES, Rejected, RejectionReason
from presenced.events.topics import route, topic_of
from presenced.settings import Settings, load_settings
from presenced.sources.recording import (
    RecordedAnswer,
    answer_line,
    parse_line,
    read_recording,
    recording_line,
)
from presenced.system import log

NOW = 1_700_000_000.0
FIXTURES = Path(__file__).parents[2] / "events" / "fixtures.jsonl"
SETTINGS = {
    "presence.offline_delay_by_reason": {"BATTERY_CHANGED": "1m"},
    "presence.ignore_clients": ["iotconsole-*", "lab-?[a-c]*-x", "spelled-out"],
    "metrics.thing_attributes": ["site"],
}
NAMES = [
    "a",
    "b/c d",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    "presenced",
    "presenced-record",
    "iotconsole-1",
    "iotconsole-2",
    "lab-1b-x",
    "spelled-out",
    "",
]


@cache
def settings_with(**more: str) -> Settings:
    overrides = {**SETTINGS, **more}
    return load_settings(None, environ={}, overrides=overrides, require_endpoint=False)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    log.configure("critical")


def message(topic: str, payload: bytes, received: float = NOW) -> Message:
    return Message(topic=topic, payload=payload, qos=0, received=received, moment=received)


def samples() -> list[tuple[str, dict[str, Any]]]:
    """A message of every family and type."""
    lines = FIXTURES.read_text().splitlines()
    found = [(line["topic"], line["payload"]) for line in map(json.loads, lines)]
    for kind in (*EVENT_TYPES["presence"], *EVENT_TYPES["subscriptions"]):
        family = "presence" if kind in EVENT_TYPES["presence"] else "subscriptions"
        fields = {
            "clientId": "a",
            "thingName": "pump-1",
            "timestamp": 1_700_000_000_000,
            "eventType": kind,
            "sessionIdentifier": "s1",
            "principalIdentifier": "ab" * 32,
            "ipAddress": "192.0.2.7",
            "versionNumber": 8,
            "clientInitiatedDisconnect": True,
            "disconnectReason": "CONNECTION_LOST",
            "connectFailureReason": "AUTHORIZATION_FAILED",
            "topics": ["devices/a/commands"],
        }
        found.append((f"$aws/events/{family}/{kind}/a", fields))
    return [(topic, fields) for topic, fields in found if fields]


SAMPLES = samples()
CLIENT_SAMPLES = [
    each for each in SAMPLES if "/presence/" in each[0] or "/subscriptions/" in each[0]
]

# Made once: to make a strategy costs as much as to draw from it.
names = st.sampled_from(NAMES)
one_in_ten = st.sampled_from([True] + [False] * 9)
samples_mostly_of_clients = st.sampled_from(CLIENT_SAMPLES) | st.sampled_from(SAMPLES)
topics = st.sampled_from([topic for topic, _ in SAMPLES]) | st.just("odd/topic")
minutes_off = st.sampled_from([0, 1, -1, 3, -3, 70])
wrappers = st.sampled_from([None] * 8 + ["event", "Event"])
damages = st.sampled_from([None] * 9 + ["cut", "bytes", "large"])
few_bytes = st.binary(max_size=20)
changed_values = {
    "clientId": names | st.none() | st.just(7),
    "thingName": names | st.none(),
    "thingTypeName": st.sampled_from(["pump", "", "t2"]) | st.none(),
    "sessionIdentifier": st.sampled_from(["s1", "s2", "", "0" * 32]) | st.none(),
    "versionNumber": st.integers(0, 9) | st.sampled_from(["8", "x", 1.5, 2**70, True]) | st.none(),
    "eventType": st.sampled_from(["connected", "disconnected", "Subscribed", "thingEvent", "odd"]),
    "operation": st.sampled_from(["CREATED", "deleted", "odd", None]),
    "status": st.sampled_from(["SUCCEEDED", "odd", "", None]),
    "disconnectReason": st.sampled_from(["BATTERY_CHANGED", "ODD", "SERVER_ERROR", "", 7, None]),
    "connectFailureReason": st.sampled_from(["ODD", "", None]),
    "clientInitiatedDisconnect": st.sampled_from([True, "false", "odd", None]),
    "thingArn": st.sampled_from(["arn:aws:iot:x:1:thing/a", "a", "", "x/", None]),
    "groupArn": st.sampled_from(["arn:aws:iot:x:1:thinggroup/north", "a", ""]),
    "rootToParentThingGroups": st.none()
    | st.sampled_from([7, ["plants"], [{"groupArn": 7}]])
    | st.permutations(
        [
            {"groupArn": "arn:aws:iot:x:1:thinggroup/plants", "groupId": "g-1"},
            {"groupArn": "arn:aws-cn:iot:x:1:thinggroup/sites"},
            {"groupArn": "odd", "groupId": ""},
            {},
            None,
        ]
    ).map(lambda groups: groups[:3]),
    "attributes": st.dictionaries(
        st.sampled_from(["site", "model", "k" * 129]),
        st.sampled_from(["north", "", "v" * 801]) | st.none(),
    ),
    "principalIdentifier": st.sampled_from([7, None, "p"]),
    "ipAddress": st.sampled_from(["::1", "odd", 7, None]),
    "topics": st.sampled_from([None, 7, ["a", 7]]),
    "unknown": st.sampled_from([{"deep": [1]}, "text", 2**80]),
}
changed_keys = st.lists(st.sampled_from(sorted(changed_values)), max_size=3)


@st.composite
def damaged_samples(draw: st.DrawFn, number: int) -> tuple[str, bytes]:
    """One message: a sample, with other values, wrapped, or broken."""
    topic, fields = draw(samples_mostly_of_clients)
    fields = deepcopy(fields)
    for key in draw(changed_keys):
        fields[key] = draw(changed_values[key])
    if draw(one_in_ten):
        fields.pop(draw(st.sampled_from(sorted(fields))))
    if topic in dict(CLIENT_SAMPLES):
        minutes = draw(minutes_off)
        fields["timestamp"] = round(NOW * 1000) + minutes * 60_000 + number
        topic = topic[: -len("a")] + draw(names)
    elif "timestamp" in fields:  # registry events at the same time are ordered by name
        fields["timestamp"] = round(NOW * 1000) + number
    if draw(one_in_ten):
        topic = draw(topics)
    wrapper = draw(wrappers)
    payload = json.dumps({wrapper: fields, "clientId": "outer"} if wrapper else fields).encode()
    damage = draw(damages)
    if damage == "cut":
        payload = payload[: len(payload) // 2]
    elif damage == "bytes":
        payload = draw(few_bytes)
    elif damage == "large":
        payload += b" " * MAX_PAYLOAD
    return topic, payload


@st.composite
def recordings(draw: st.DrawFn) -> list[Message]:
    received, messages = NOW, []
    for number in range(draw(st.integers(1, 25))):
        received += draw(st.sampled_from([0.0, 0.001, 1.0, 6.0, 90.0]))
        if messages and draw(st.integers(0, 5)) == 0:
            earlier = draw(st.sampled_from(messages))
            topic, payload = earlier.topic, earlier.payload
        else:
            topic, payload = draw(damaged_samples(number))
        messages.append(message(topic, payload, received))
    return messages


def replayed(messages: list[Message], shown: Any, wanted: Settings) -> str:
    out = io.BytesIO()
    Replay(wanted, out, shown).run(iter(messages), settle=True)
    return out.getvalue().decode()


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def one_to_one(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether each left value is always paired with the same right value, and vice versa."""
    different = set(pairs)
    return (
        len({left for left, _ in different})
        == len({right for _, right in different})
        == len(different)
    )


def metrics(text: str, rename: Callable[[str, str], str]) -> Iterator[tuple[Any, ...]]:
    kinds = {"client_id": "client", "thing_type": "type", "thing_group": "group", "site": "value"}
    for line in text.splitlines():
        if line.startswith("iot_"):
            sample = sample_of(line)
            labels = {
                label: rename(kinds[label], value) if label in kinds else value
                for label, value in sample.labels.items()
            }
            yield sample.name, tuple(sorted(labels.items())), sample.value


@cache  # most lines are the same in all recordings
def sample_of(line: str) -> Sample:
    (family,) = text_string_to_metric_families(line)
    (sample,) = family.samples
    return sample


def compare(messages: list[Message]) -> None:
    """Compare a replay of messages with a replay of their anonymised copies."""
    wanted = settings_with()
    anonymizer = Anonymizer(wanted)
    anonymous = [parse_line(recording_line(anonymizer(each))) for each in messages]

    for shown in ("transitions", "clients"):
        was = json_lines(replayed(messages, shown, wanted))
        now = json_lines(replayed(anonymous, shown, wanted))
        for line in was:
            line["client_id"] = anonymizer.client(line["client_id"])
        if shown == "clients":
            was.sort(key=lambda line: line["client_id"])
        assert len(was) == len(now)
        for key in ("session", "reason"):
            assert one_to_one(
                [(a.pop(key, 0), b.pop(key, 0)) for a, b in zip(was, now, strict=True)]
            )
        assert was == now

    was = sorted(metrics(replayed(messages, "metrics", wanted), anonymizer.name))
    assert was == sorted(metrics(replayed(anonymous, "metrics", wanted), lambda _, name: name))


@given(recordings())
@settings(max_examples=400, deadline=None)
def test_a_replay_has_the_same_result_except_for_names(messages: list[Message]) -> None:
    compare(messages)


def test_messages_that_differ_in_removed_fields_stay_different() -> None:
    """Jobs carry nothing to order them by: only identical payloads count once."""
    topic = "$aws/events/job/j/completed"
    comments = ["one", "two", "one", ""]
    payloads = [json.dumps({"timestamp": 5, "comment": each}).encode() for each in comments]
    payloads += [b'{ "timestamp": 5 }', b'{"timestamp": 5}']
    compare([message(topic, payload) for payload in payloads])


@pytest.mark.parametrize(
    "attributes",
    [
        {**{f"key-{n}": "x" for n in range(50)}, "site": "north"},
        {**{f"key-{n}": "x" for n in range(49)}, "site": "north"},
        {**{"k" * (129 + n): "x" for n in range(50)}, "site": "north"},
        {"site": "v" * 801},
        {"site": "v" * 800},
        {"site": None},
    ],
    ids=len,
)
def test_attributes_at_the_limits_of_aws(attributes: dict[str, str | None]) -> None:
    thing = {"eventType": "THING_EVENT", "thingName": "a", "attributes": attributes}
    connected, lifecycle = CLIENT_SAMPLES[0]
    assert "/connected/" in connected
    lifecycle = {key: value for key, value in lifecycle.items() if key != "thingName"}
    compare(
        [
            message("$aws/events/thing/a/created", json.dumps(thing).encode()),
            message(connected, json.dumps(lifecycle).encode()),
        ]
    )


def test_own_and_ignored_clients_stay_ignored() -> None:
    topic, fields = CLIENT_SAMPLES[0]
    compare(
        [
            message(topic, json.dumps({**fields, "clientId": name, "thingName": None}).encode())
            for name in NAMES
            if name
        ]
    )


SECRET = "Secr3t"
secrets = st.sampled_from(
    [SECRET, f"{SECRET}-1", f"x/{SECRET}/y", f"{SECRET} {{}}", f"AROA:{SECRET}"]
)


@st.composite
def messages_with_secrets(draw: st.DrawFn) -> Message:
    """A message with secrets wherever one may be, valid or damaged."""
    topic, fields = draw(st.sampled_from(SAMPLES))
    kept = {"eventType", "operation", "timestamp", "versionNumber"}
    replaced = {key: value if key in kept else draw(secrets) for key, value in fields.items()}
    for key in draw(st.sets(st.sampled_from(sorted(fields)), max_size=3)):
        replaced[key] = draw(
            secrets
            | st.lists(secrets, max_size=2)
            | st.dictionaries(secrets | st.just("userPropertyKey"), secrets, max_size=2)
            | st.just(fields[key])
        )
    for key in ("attributes", "propagatingAttributes", "isDeprecated", "searchableAttributes"):
        if key in fields and draw(st.booleans()):
            replaced[key] = {
                "attributes": {draw(secrets): draw(secrets), "site": draw(secrets)},
                "propagatingAttributes": [{"userPropertyKey": draw(secrets), draw(secrets): 1}],
                "isDeprecated": False,
                "searchableAttributes": [draw(secrets)],
            }[key]
    if "clientInitiatedDisconnect" in fields:
        replaced["clientInitiatedDisconnect"] = draw(secrets | st.booleans())
    replaced[draw(secrets)] = draw(secrets)
    levels = topic.split("/")
    place = draw(st.integers(2, len(levels) - 1))
    levels[place] = draw(secrets)
    topic = draw(st.sampled_from([topic, "/".join(levels), f"{SECRET}/{topic}"]))
    payload = json.dumps(replaced).encode()
    if draw(st.booleans()):
        payload = json.dumps({draw(st.sampled_from(["event", "Event"])): replaced}).encode()
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "prefix", "large"]))
    if damage == "cut":
        payload = payload[:-1]
    elif damage == "prefix":
        payload = b"\xff" + payload
    elif damage == "large":
        payload += SECRET.encode() * (MAX_PAYLOAD // 6)
    return message(topic, payload)


@given(messages_with_secrets())
@settings(max_examples=1500, deadline=None)
def test_no_name_is_left(original: Message) -> None:
    line = recording_line(Anonymizer(settings_with())(original))
    assert SECRET.lower() not in line.decode().lower()
    assert SECRET.encode().hex() not in line.decode()


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_a_rejected_message_is_rejected_for_the_same_reason(reason: RejectionReason) -> None:
    topic = "$aws/events/presence/connected/a"
    originals = {
        RejectionReason.MALFORMED_JSON: (topic, b"{a}"),
        RejectionReason.INVALID_PAYLOAD: (topic, b'{"clientId": 7}'),
        RejectionReason.UNKNOWN_TOPIC: ("$aws/events/a", b"{}"),
        RejectionReason.TOO_LARGE: (topic, b"a" * (MAX_PAYLOAD + 1)),
    }[reason]
    anonymous = Anonymizer(settings_with())(message(*originals))
    with pytest.raises(Rejected) as rejected:
        decode(anonymous.topic, anonymous.payload, NOW)
    assert rejected.value.reason is reason


@pytest.mark.parametrize("topic", [topic for topic, _ in SAMPLES])
def test_topic_of_reverses_route(topic: str) -> None:
    assert route(topic_of(route(topic))) == route(topic)


def test_pseudonyms_are_stable_within_a_recording_only() -> None:
    topic, fields = CLIENT_SAMPLES[0]
    original = message(topic, json.dumps(fields).encode())
    anonymizer = Anonymizer(settings_with())
    assert anonymizer(original) == anonymizer(original)
    assert anonymizer(original) != Anonymizer(settings_with())(original)


def test_known_fields_are_replaced_and_not_removed() -> None:
    topic, fields = CLIENT_SAMPLES[0]
    anonymous = Anonymizer(settings_with())(message(topic, json.dumps(fields).encode()))
    replaced_fields = json.loads(anonymous.payload)
    assert replaced_fields.pop("original")
    assert replaced_fields.keys() == fields.keys()
    same = {key for key in fields if replaced_fields[key] == fields[key]}
    replaced = {"clientId", "thingName", "sessionIdentifier", "principalIdentifier", "ipAddress"}
    assert fields.keys() - same == {*replaced, "topics"}
    assert anonymous.topic.endswith(replaced_fields["clientId"])


def test_addresses_are_documentation_addresses_with_the_ip_version() -> None:
    topic, fields = CLIENT_SAMPLES[0]
    anonymizer = Anonymizer(settings_with())

    def address(text: str) -> str:
        payload = json.dumps({**fields, "ipAddress": text}).encode()
        return json.loads(anonymizer(message(topic, payload)).payload)["ipAddress"]

    assert address("192.0.2.7").startswith("2001:db8:4:")
    assert address("2A01::1") == address("2a01:0:0::1")
    assert address("2a01::1").startswith("2001:db8:6:")
    assert address("somewhere").startswith("2001:db8:0:")
    assert address("192.0.2.7") != address("192.0.2.8")


ANSWERS = Path(__file__).parents[2] / "aws" / "answers.jsonl"
_OPERATIONS = ("SearchIndex", "GetThingConnectivityData", "GetConnection")


def recorded_answers() -> list[RecordedAnswer]:
    """The published answers, in seconds after each other."""
    published = [json.loads(line) for line in ANSWERS.read_text().splitlines()]
    told = [each for each in published if each["operation"] in _OPERATIONS]
    return [
        RecordedAnswer(
            received=(at := 1_764_200_400.0 + number),
            moment=at,
            asked=at - 0.5,
            operation=each["operation"],
            body=json.dumps(each["body"], indent=1).encode(),
            client_id=each["body"].get("clientId") or each["body"].get("thingName", ""),
        )
        for number, each in enumerate(told)
        if each["status"] == 200
    ]


def replayed_items(items: list[Any], shown: Any) -> str:
    out = io.BytesIO()
    lines = [(recording_line if isinstance(i, Message) else answer_line)(i) for i in items]
    problems: list[Any] = []
    read = read_recording(lines, lambda *each: problems.append(each))
    Replay(settings_with(), out, shown).run(
        read_answers(read, lambda *each: problems.append(each)), settle=True
    )
    assert problems == []
    return out.getvalue().decode()


def test_anonymous_answers_have_the_same_result_except_for_names() -> None:
    """Also together with events: a client has one pseudonym in both."""
    thing = {"eventType": "THING_EVENT", "operation": "CREATED", "thingName": "pump-2"}
    connect = {"clientId": "pump-2", "timestamp": 1_764_200_500_000, "versionNumber": 1}
    later = 1_764_200_500.0
    messages = [
        message("$aws/events/thing/pump-2/created", json.dumps(thing).encode(), later),
        message("$aws/events/presence/connected/pump-2", json.dumps(connect).encode(), later),
    ]
    originals: list[Any] = [*recorded_answers(), *messages]
    anonymizer = Anonymizer(settings_with())
    anonymous = [
        anonymizer(each) if isinstance(each, Message) else anonymizer.answer(each)
        for each in originals
    ]
    was = json_lines(replayed_items(originals, "clients"))
    now = json_lines(replayed_items(anonymous, "clients"))
    assert {each["client_id"]: each["state"] for each in was}["pump-2"] == "online"
    for line in was:
        line["client_id"] = anonymizer.client(line["client_id"])
    assert sorted(was, key=lambda line: line["client_id"]) == now
    shown = sorted(metrics(replayed_items(originals, "metrics"), anonymizer.name))
    assert shown == sorted(metrics(replayed_items(anonymous, "metrics"), lambda _, name: name))


def test_what_an_answer_says_besides_is_left_out() -> None:
    state = {
        "connected": False,
        "timestamp": 1_764_200_000_123,
        "disconnectReason": "CONNECTION_LOST",
        "clientId": SECRET,
        "keepAliveDuration": 60,
        "cleanSession": True,
        "sessionExpiry": 0,
        SECRET: SECRET,
    }
    thing = {
        "thingName": SECRET,
        "thingId": SECRET,
        "thingTypeName": SECRET,
        "thingGroupNames": [SECRET],
        "attributes": {SECRET: SECRET, "site": SECRET},
        "shadow": json.dumps({"reported": SECRET}),
        "deviceDefender": SECRET,
        "connectivity": state,
    }
    body = json.dumps({"things": [thing, {**thing, "connectivity": None}], "nextToken": SECRET})
    answer = RecordedAnswer(
        received=NOW, moment=NOW, asked=NOW, operation="SearchIndex", body=body.encode()
    )
    anonymizer = Anonymizer(settings_with())
    line = answer_line(anonymizer.answer(answer))
    assert SECRET.lower() not in line.decode().lower()
    changed = json.loads(line)["answer"]
    first, second = changed["things"]
    assert first.keys() == thing.keys() - {"shadow", "deviceDefender"}
    assert first["connectivity"].keys() == state.keys() - {SECRET}
    assert first["connectivity"]["clientId"] == first["thingName"] == anonymizer.client(SECRET)
    assert first["thingGroupNames"] == [anonymizer.name("group", SECRET)]
    assert second["connectivity"] is None
    assert changed["nextToken"]
