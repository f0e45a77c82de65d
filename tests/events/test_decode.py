"""Topics and payloads, and the events or rejections that they give."""

import json
from pathlib import Path

import msgspec
import pytest

from presenced.events.decode import MAX_PAYLOAD, decode
from presenced.events.model import (
    EVENT_TYPES,
    CertificateEvent,
    CommandExecutionEvent,
    ConnectFailedEvent,
    JobEvent,
    JobExecutionEvent,
    LifecycleEvent,
    Rejected,
    SubscriptionEvent,
    ThingEvent,
    ThingGroupEvent,
    ThingGroupHierarchyEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
    ThingTypeEvent,
)

NOW = 1_700_000_000.5
CONNECTED = "$aws/events/presence/connected/"
DISCONNECTED = "$aws/events/presence/disconnected/"
FIXTURES = Path(__file__).parent / "fixtures.jsonl"


def decoded(topic: str, payload: object) -> msgspec.Struct:
    return decode(topic, json.dumps(payload).encode(), NOW)


def reason(topic: str, payload: bytes) -> str:
    with pytest.raises(Rejected) as rejected:
        decode(topic, payload, NOW)
    return rejected.value.reason.value


def test_connected() -> None:
    payload = {
        "clientId": "a",
        "timestamp": 1672742949382,
        "eventType": "connected",
        "sessionIdentifier": "s",
        "principalIdentifier": "p",
        "ipAddress": None,
        "versionNumber": 8,
        "thingName": "t",
        "clientInitiatedDisconnect": False,
        "a new field": {"of": ["any", "shape"]},
    }
    assert decoded(CONNECTED + "a", payload) == LifecycleEvent(
        type="connected",
        client_id="a",
        connected=True,
        timestamp=1672742949382,
        version=8,
        session="s",
        thing_name="t",
    )


def test_disconnected() -> None:
    payload = {
        "clientId": "a",
        "timestamp": 1672742949397,
        "eventType": "disconnected",
        "sessionIdentifier": "s",
        "disconnectReason": "CONNECTION_LOST",
        "clientInitiatedDisconnect": False,
        "versionNumber": 8,
    }
    assert decoded(DISCONNECTED + "a", payload) == LifecycleEvent(
        type="disconnected",
        client_id="a",
        connected=False,
        timestamp=1672742949397,
        version=8,
        session="s",
        reason="CONNECTION_LOST",
        client_initiated=False,
    )


def test_other_events_of_clients() -> None:
    failed = decoded(
        "$aws/events/presence/connect_failed/a", {"connectFailureReason": "AUTHORIZATION_FAILED"}
    )
    assert failed == ConnectFailedEvent(
        type="connect_failed", client_id="a", reason="AUTHORIZATION_FAILED"
    )
    for kind in ("subscribed", "unsubscribed"):
        event = decoded(f"$aws/events/subscriptions/{kind}/a/b", {"topics": ["x"], "timestamp": 5})
        assert event == SubscriptionEvent(type=kind, client_id="a/b", timestamp=5)


@pytest.mark.parametrize(
    ("topic", "payload_id", "expected"),
    [
        ("a/b c/d", None, "a/b c/d"),
        ("", "x", "x"),
        ("topic", "payload", "payload"),
        ("topic", "", "topic"),
        ("ü/\N{SNOWMAN}", None, "ü/\N{SNOWMAN}"),
    ],
)
def test_client_id_comes_from_the_payload_else_from_the_topic(
    topic: str, payload_id: str | None, expected: str
) -> None:
    payload = {"timestamp": 5} if payload_id is None else {"clientId": payload_id, "timestamp": 5}
    assert decoded(CONNECTED + topic, payload).client_id == expected


@pytest.mark.parametrize(
    ("payload", "connected"),
    [({"eventType": "disconnected"}, False), ({"eventType": "CONNECTED"}, True), ({}, True)],
)
def test_the_payload_decides_where_the_topic_disagrees(payload: dict, connected: bool) -> None:
    event = decoded(CONNECTED + "a", {"versionNumber": 1, **payload})
    assert event.connected is connected
    assert event.topic_disagrees is not connected


def test_a_subscription_event_on_a_presence_topic() -> None:
    event = decoded(CONNECTED + "a", {"eventType": "subscribed", "timestamp": 5})
    assert (event.family, event.type, event.topic_disagrees) == (
        "subscriptions",
        "subscribed",
        True,
    )


@pytest.mark.parametrize(
    ("written", "timestamp"),
    [
        (1672742949382, 1672742949382),
        ("1672742949382", 1672742949382),
        (1672742949382.0, 1672742949382),
        (1672742949, 1672742949000),
        ("1672742949", 1672742949000),
        (1672742949.5, 1672742949500),
        (9_999_999_999, 9_999_999_999_000),
        (10_000_000_000, 10_000_000_000),
        (999_999_999, 999_999_999),
        (0, 0),
    ],
)
def test_timestamps(written: object, timestamp: int) -> None:
    assert decoded(CONNECTED + "a", {"timestamp": written}).timestamp == timestamp


def test_a_lifecycle_event_without_timestamp_has_the_received_time() -> None:
    event = decoded(CONNECTED + "a", {"timestamp": None, "versionNumber": 1})
    assert (event.timestamp, event.untimed) == (1_700_000_000_500, True)


@pytest.mark.parametrize(
    ("written", "version"),
    [
        (0, 0),
        ("0", 0),
        ("120", 120),
        (8.0, 8),
        (None, None),
        (2**63 - 1, 2**63 - 1),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_versions(written: object, version: int | None) -> None:
    payload = {"versionNumber": written, "timestamp": 5}
    assert decoded(CONNECTED + "a", payload).version == version


EMPTY = [
    {},
    {"clientId": "a"},
    {"eventType": "connected", "thingName": "t", "disconnectReason": "CONNECTION_LOST"},
    {"timestamp": None, "versionNumber": None, "sessionIdentifier": None},
    {"sessionIdentifier": ""},
    {"timestamp": "", "versionNumber": "soon"},
    {"time": 1672742949382, "version": 8, "session": "s"},
    {"event": {}},
    {"Event": {"clientId": "a"}, "timestamp": 1672742949382},
    {"event": "text"},
]


@pytest.mark.parametrize("payload", EMPTY, ids=json.dumps)
@pytest.mark.parametrize(
    "topic",
    [
        "presence/connected",
        "presence/disconnected",
        "presence/connect_failed",
        "subscriptions/subscribed",
        "subscriptions/unsubscribed",
    ],
)
def test_a_payload_that_tells_of_no_connection_is_no_event(topic: str, payload: dict) -> None:
    topic = f"$aws/events/{topic}/a"
    payload = {key: value for key, value in payload.items() if key != "eventType"}
    assert reason(topic, json.dumps(payload).encode()) == "invalid_payload"


@pytest.mark.parametrize(
    "payload",
    [{"timestamp": 5}, {"timestamp": 0}, {"versionNumber": 0}, {"sessionIdentifier": "s"}],
)
def test_one_field_of_a_connection_is_enough(payload: dict) -> None:
    for topic in (CONNECTED, DISCONNECTED, "$aws/events/subscriptions/subscribed/"):
        assert decoded(topic + "a", payload).client_id == "a"


@pytest.mark.parametrize("payload", [{}, {"a new field": 1}, {"operation": None}, {"event": {}}])
@pytest.mark.parametrize(
    "topic",
    [
        "thing/a/created",
        "thing/a/deleted",
        "thingType/a/created",
        "thingTypeAssociation/thing/a/thingType/b/added",
        "thingGroup/a/deleted",
        "thingGroupMembership/thingGroup/a/thing/b/added",
        "thingGroupHierarchy/thingGroup/a/childThingGroup/b/removed",
        "job/a/completed",
        "jobExecution/a/failed",
        "certificates/registered/a",
        "commandExecution/a/SUCCEEDED",
    ],
)
def test_a_topic_without_a_payload_changes_nothing(topic: str, payload: dict) -> None:
    assert reason(f"$aws/events/{topic}", json.dumps(payload).encode()) == "invalid_payload"


@pytest.mark.parametrize("written", [True, "true", "TRUE", 1])
def test_booleans(written: object) -> None:
    payload = {"clientInitiatedDisconnect": written, "versionNumber": 1}
    event = decoded(DISCONNECTED + "a", payload)
    assert event.client_initiated is True


@pytest.mark.parametrize("written", [False, "false", "", "perhaps"])
def test_what_a_disconnect_says_does_not_matter_for_a_connect(written: object) -> None:
    event = decoded(CONNECTED + "a", {"clientInitiatedDisconnect": written, "timestamp": 5})
    assert event == LifecycleEvent(type="connected", client_id="a", connected=True, timestamp=5)


@pytest.mark.parametrize("key", ["event", "Event"])
def test_events_wrapped_by_a_rule(key: str) -> None:
    inner = {"clientId": "in", "eventType": "connected", "versionNumber": 3, "timestamp": 10**12}
    event = decoded(CONNECTED + "out", {key: inner, "clientId": "out", "timestamp": 5})
    assert (event.client_id, event.version, event.timestamp) == ("in", 3, 10**12)
    assert decoded(CONNECTED + "out", {key: "no object", "timestamp": 5}).client_id == "out"
    assert decoded(CONNECTED + "out", {"event": None, "Event": inner}).client_id == "in"


@pytest.mark.parametrize(
    "payload",
    [
        {"clientId": 5},
        {"clientId": ["a"]},
        {"clientId": "a" * 1025},
        {"clientId": "nul\0"},
        {"timestamp": True},
        {"timestamp": "2026-03-09T12:00:00Z"},
        {"timestamp": -1},
        {"timestamp": 10**15},
        {"timestamp": 10**40},
        {"timestamp": "1e400"},
        {"timestamp": "nan"},
        {"timestamp": {}},
        {"versionNumber": -1},
        {"versionNumber": 2**63},
        {"versionNumber": 8.5},
        {"versionNumber": "8a"},
        {"versionNumber": False},
        {"eventType": "hello"},
        {"eventType": 1},
        {"sessionIdentifier": 1},
        {"disconnectReason": []},
        {"clientInitiatedDisconnect": 5, "eventType": "disconnected"},
        {"clientInitiatedDisconnect": "perhaps", "eventType": "disconnected"},
        {"event": {"clientId": 5}},
        [],
        "text",
        5,
        None,
        {"versionNumber": 10**30},
        {"versionNumber": "0" * 5000 + "1"},
        {"timestamp": "1" * 5000},
    ],
)
def test_json_that_is_not_an_event(payload: object) -> None:
    assert reason(CONNECTED + "a", json.dumps(payload).encode()) == "invalid_payload"


@pytest.mark.parametrize("number", ["9" * 5000, "1e400", "-" + "9" * 5000])
def test_huge_numbers_are_valid_json(number: str) -> None:
    payload = '{"versionNumber": ' + number + "}"
    assert reason(CONNECTED + "a", payload.encode()) == "invalid_payload"


def test_no_client_id_anywhere() -> None:
    assert reason(CONNECTED, b'{"clientId":""}') == "invalid_payload"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b'{"clientId": "a",}',
        b'{"clientId": "a"',
        b"{'clientId': 'a'}",
        b'{"clientId": "\xff"}',
        b'{"clientId": "\\ud800"}',
        b'{"clientId": "a"} {}',
        b'{"timestamp": NaN}',
        b'{"clientId": 5, nonsense',
        b"\xef\xbb\xbf{}",
        b"\x00",
    ],
)
def test_malformed_json(payload: bytes) -> None:
    assert reason(CONNECTED + "a", payload) == "malformed_json"


def test_deep_nesting() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert reason(CONNECTED + "a", b'{"x":' + deep[:60_000] + deep[-60_000:] + b"}") in (
        "invalid_payload",
        "malformed_json",
    )
    assert reason(CONNECTED + "a", b'{"clientId":5,"x":' + b"[" * 120_000) in (
        "invalid_payload",
        "malformed_json",
    )


def test_size() -> None:
    payload = b'{"timestamp":5,"x":"' + b"x" * (MAX_PAYLOAD - 22) + b'"}'
    assert len(payload) == MAX_PAYLOAD
    assert decode(CONNECTED + "a", payload, NOW).type == "connected"
    assert reason(CONNECTED + "a", payload + b" ") == "too_large"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "$aws/events",
        "$aws/events/",
        "$aws/events/presence",
        "$aws/events/presence/connected",
        "$aws/events/presence/reconnected/a",
        "$aws/events/subscriptions/connected/a",
        "$aws/events/thing/a",
        "$aws/events/thing/a/renamed",
        "$aws/events/thing//created",
        "$aws/events/thing/a/b/created",
        "$aws/events/thingTypeAssociation/thing/a/type/b/added",
        "$aws/events/job/a/finished",
        "$aws/events/certificates/revoked/a",
        "$aws/events/policy/a/created",
        "$events/presence/connected/a",
        "aws/events/presence/connected/a",
        "$AWS/events/presence/connected/a",
    ],
)
def test_unknown_topics(topic: str) -> None:
    assert reason(topic, b"{}") == "unknown_topic"
    assert reason(topic, b"x" * (MAX_PAYLOAD + 1)) == "unknown_topic", "routed by topic first"


def samples() -> list[tuple[str, dict, str]]:
    """Topic, payload and expected event of each family, operation and older form."""
    lines = FIXTURES.read_text().splitlines()
    return [(s["topic"], s["payload"], s["event"]) for s in map(json.loads, lines)]


CLASSES = {
    cls.__name__: cls
    for cls in (
        CertificateEvent,
        CommandExecutionEvent,
        JobEvent,
        JobExecutionEvent,
        ThingEvent,
        ThingGroupEvent,
        ThingGroupHierarchyEvent,
        ThingGroupMembershipEvent,
        ThingTypeAssociationEvent,
        ThingTypeEvent,
    )
}


@pytest.mark.parametrize(("topic", "payload", "event"), samples())
def test_registry_jobs_certificates_and_commands(topic: str, payload: dict, event: dict) -> None:
    expected = dict(event)
    cls = CLASSES[expected.pop("class")]
    assert decoded(topic, payload) == cls(**expected)


def test_the_fixtures_hold_every_family_and_type() -> None:
    seen = {(CLASSES[e["class"]].family, e["type"]) for _, _, e in samples()}
    wanted = {
        (family, kind)
        for family, kinds in EVENT_TYPES.items()
        for kind in kinds
        if family not in ("presence", "subscriptions", "status")
    }
    assert seen == wanted


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("thing/a/created", {"operation": "CREATED|UPDATED|DELETED"}),
        ("thing/a/created", {"eventType": "NO_SUCH_EVENT"}),
        ("thing/a/created", {"attributes": ["x"]}),
        ("thingType/a/updated", {"isDeprecated": "yes"}),
        ("thing/a/created", {"eventType": "THING_GROUP_EVENT", "operation": "CREATED"}),
        ("thingTypeAssociation/thing/a/b", {}),
        ("job/a/completed", {"operation": "succeeded|failed"}),
        ("job/a/completed", {"eventType": "THING_EVENT"}),
    ],
)
def test_invalid_payloads_of_other_families(topic: str, payload: dict) -> None:
    assert reason("$aws/events/" + topic, json.dumps(payload).encode()) == "invalid_payload"


def test_rejections_do_not_quote_the_payload() -> None:
    with pytest.raises(Rejected) as rejected:
        decode(CONNECTED + "a", b'{"clientId": {"secret": "203.0.113.1"}}', NOW)
    assert "203" not in str(rejected.value)
    assert "secret" not in str(rejected.value)


ARN = "arn:aws:iot:eu-west-1:123456789012:thinggroup/"


@pytest.mark.parametrize(
    ("written", "ancestors"),
    [
        (None, []),
        ([], []),
        ([{"groupArn": ARN + "country"}, {"groupArn": ARN + "site"}], ["country", "site"]),
        (
            [
                {"groupArn": "arn:aws-cn:iot:cn-north-1:1:thinggroup/country", "groupId": "g-0"},
                {"groupArn": "arn:aws-us-gov:iot:us-gov-west-1:1:thinggroup/site"},
            ],
            ["country", "site"],
        ),
        ([{"groupId": "g-0"}, {"groupArn": ARN + "site"}], ["", "site"]),
        ([{"groupArn": ARN + "country"}, {"groupId": "g-4"}], ["country", "site"]),
        ([{"groupArn": "odd"}, None, {"groupArn": None}, {}], ["", "", "", "site"]),
        ([{"groupArn": ARN + "nul\0"}, {"groupArn": ARN + "g" * 1025}], ["", "site"]),
        ([{"groupArn": ARN + "g"}] * 33, []),
        ([{"groupArn": 7}], []),
        (["country"], []),
        ("country", []),
        ({"groupArn": ARN + "country"}, []),
        (7, []),
    ],
)
def test_the_groups_above_a_group(written: object, ancestors: list[str]) -> None:
    payload = {"parentGroupName": "site", "rootToParentThingGroups": written, "timestamp": 5}
    event = decoded("$aws/events/thingGroup/hall/updated", payload)
    assert event == ThingGroupEvent(
        type="updated", timestamp=5, thing_group="hall", parent="site", ancestors=ancestors
    )


def test_a_parent_that_only_the_list_of_ancestors_names() -> None:
    groups = [{"groupArn": ARN + "country"}, {"groupArn": ARN + "site"}]
    payload = {"rootToParentThingGroups": groups, "timestamp": 5}
    assert decoded("$aws/events/thingGroup/hall/updated", payload).parent == "site"


def test_attributes_beyond_the_limits_of_aws_are_ignored() -> None:
    attributes = {
        "n" * 128: "v" * 800,
        "n" * 129: "a name too long",
        "value too long": "v" * 801,
        **{f"a{number}": "" for number in range(60)},
    }
    event = decoded("$aws/events/thing/a/created", {"attributes": attributes})
    assert len(event.attributes) == 50
    assert event.attributes["n" * 128] == "v" * 800
    assert not {"n" * 129, "value too long"} & event.attributes.keys()


def test_names_of_the_registry_at_their_limit() -> None:
    name = "g" * 1024
    payload = {"timestamp": 5}
    assert decoded(f"$aws/events/thingGroup/{name}/created", payload).thing_group == name
    assert reason(f"$aws/events/thingGroup/{name}g/created", json.dumps(payload).encode()) == (
        "invalid_payload"
    )
    assert reason(
        "$aws/events/thing/a/created", json.dumps({"thingName": name + "g"}).encode()
    ) == ("invalid_payload")
    for topic, field in [
        ("thing/a/updated", "thingTypeName"),
        ("thingGroup/a/updated", "parentGroupName"),
    ]:
        payload = json.dumps({field: name + "g"}).encode()
        assert reason(f"$aws/events/{topic}", payload) == "invalid_payload"


def test_text_kept_for_each_client_is_cut() -> None:
    """A hostile publisher must not fill the memory or the state file."""
    payload = {"sessionIdentifier": "s" * 50_000, "disconnectReason": "R" * 50_000}
    event = decoded(DISCONNECTED + "a", payload)
    assert (event.session, event.reason) == ("s" * 128, "R" * 64)
    subscribed = decoded("$aws/events/subscriptions/subscribed/a", payload)
    assert subscribed.session == "s" * 128
    refused = decoded(
        "$aws/events/presence/connect_failed/a", {"connectFailureReason": "R" * 100_000}
    )
    assert refused.reason == "R" * 64
    long_name = json.dumps({"thingName": "t" * 1025}).encode()
    for topic in (CONNECTED, "$aws/events/subscriptions/subscribed/"):
        assert reason(topic + "a", long_name) == "invalid_payload"
