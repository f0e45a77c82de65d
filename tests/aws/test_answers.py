"""Answers, held against what botocore reads from the same bytes, by AWS's own models."""

import json
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from botocore.parsers import create_parser
from botocore.session import Session

from presenced.aws import answers
from presenced.aws.answers import Connectivity, ThingRow
from presenced.aws.errors import Cause
from presenced.aws.operations import OPERATIONS
from presenced.aws.refusals import refusal
from presenced.aws.transport import HttpAnswer

# Made up after AWS's models: no account was recorded.
LINES = [
    json.loads(line) for line in (Path(__file__).parent / "answers.jsonl").read_text().splitlines()
]
ODD = next(line for line in LINES if "numbers and booleans as text" in line["note"])
BY_NAME = {operation.name: operation for operation in OPERATIONS}
READERS = {
    "SearchIndex": answers.thing_page,
    "DescribeIndex": answers.index_description,
    "GetIndexingConfiguration": answers.indexing_configuration,
    "GetThingConnectivityData": answers.thing_connectivity,
    "GetConnection": answers.connection,
    "ListSubscriptions": answers.subscription_page,
    "DescribeEventConfigurations": answers.event_types,
    "ListThingGroups": answers.name_page,
    "DescribeThingGroup": answers.thing_group,
    "ListBillingGroups": answers.name_page,
}


def lines(*, ok):
    chosen = [
        line
        for line in LINES
        # botocore leaves text where a number should be as it is.
        if line["operation"] in BY_NAME and (line["status"] == 200) == ok and line is not ODD
    ]
    return pytest.mark.parametrize("line", chosen, ids=[line["note"] for line in chosen])


@pytest.fixture(scope="module")
def models():
    session = Session()
    return {
        "iot": session.get_service_model("iot"),
        "iotdata": session.get_service_model("iot-data"),
    }


def by_botocore(models, line):
    model = models[BY_NAME[line["operation"]].service].operation_model(line["operation"])
    response = {
        "status_code": line["status"],
        "headers": {name.lower(): value for name, value in line.get("headers", {}).items()},
        "body": json.dumps(line["body"]).encode(),
    }
    return create_parser("rest-json").parse(response, model.output_shape)


def milliseconds(time):
    return round(time.timestamp() * 1000) if isinstance(time, datetime) else time


def reason(seen):
    named = seen.get("disconnectReason")
    return None if seen["connected"] or named in ("NONE", "UNKNOWN") else named


def expected_connectivity(seen):
    since = "connectedSince" if seen["connected"] else "disconnectedSince"
    time = seen.get("timestamp") or seen.get(since)
    return Connectivity(seen["connected"], milliseconds(time), reason(seen))


def expected_row(row):
    return ThingRow(
        name=row["thingName"],
        thing_id=row.get("thingId"),
        thing_type=row.get("thingTypeName"),
        groups=tuple(row.get("thingGroupNames", ())),
        attributes=row.get("attributes", {}),
        connectivity=(
            expected_connectivity(row["connectivity"]) if "connectivity" in row else None
        ),
    )


def expected(name, parsed):
    match name:
        case "SearchIndex":
            rows = tuple(map(expected_row, parsed["things"]))
            return answers.ThingPage(rows, parsed.get("nextToken"))
        case "GetThingConnectivityData" | "GetConnection":
            return expected_connectivity(parsed)
        case "DescribeIndex":
            return answers.IndexDescription(parsed["indexStatus"])
        case "GetIndexingConfiguration":
            things = parsed["thingIndexingConfiguration"]
            return answers.IndexingConfiguration(
                things["thingIndexingMode"], things["thingConnectivityIndexingMode"]
            )
        case "ListSubscriptions":
            held = (
                answers.Subscription(s["topicFilter"], s["qos"]) for s in parsed["subscriptions"]
            )
            return answers.SubscriptionPage(tuple(held), parsed["nextToken"])
        case "DescribeEventConfigurations":
            types = parsed["eventConfigurations"]
            return {kind: switch["Enabled"] for kind, switch in types.items()}
        case "ListThingGroups" | "ListBillingGroups":
            groups = parsed.get("thingGroups") or parsed["billingGroups"]
            names = tuple(group["groupName"] for group in groups)
            return answers.NamePage(names, parsed.get("nextToken"))
        case "DescribeThingGroup":
            return answers.ThingGroup(
                parsed["thingGroupName"],
                parsed.get("thingGroupId"),
                parsed["version"],
                parsed["thingGroupMetadata"].get("parentGroupName"),
            )
    raise AssertionError(name)


@lines(ok=True)
def test_answers_are_read_as_botocore_reads_them(models, line):
    name = line["operation"]
    value = READERS[name](json.dumps(line["body"]).encode())
    assert value == expected(name, by_botocore(models, line))


@lines(ok=False)
def test_errors_are_named_as_botocore_names_them(models, line):
    code = by_botocore(models, line)["Error"]["Code"]
    body = json.dumps(line["body"]).encode()
    error = refusal(
        BY_NAME[line["operation"]],
        HttpAnswer(line["status"], line["headers"], body, 0.0),
        "eu-west-1",
    )
    assert (
        error.cause
        == {
            "IndexNotReadyException": Cause.INDEX_BUILDING,
            "ResourceNotFoundException": Cause.INDEX_OFF
            if line["operation"] == "SearchIndex"
            else Cause.NOT_FOUND,
            "ThrottlingException": Cause.THROTTLED,
            "AccessDeniedException": Cause.DENIED,
            "InvalidSignatureException": Cause.CLOCK,
        }[code]
    )


def test_every_operation_has_an_answer_here():
    assert {line["operation"] for line in LINES} == {*BY_NAME, "credentials"}


def test_text_is_read_as_numbers_and_unknown_fields_are_ignored():
    page = answers.thing_page(json.dumps(ODD["body"]).encode())
    row = ThingRow("odd-1", None, None, (), {}, Connectivity(True, 1764200000123))
    assert page == answers.ThingPage((row,), None)


@pytest.mark.parametrize("timestamp", [1764200000.123, "1764200000.123", 1764200000123])
def test_times_are_milliseconds_whatever_the_unit(timestamp):
    answer = {"connected": True, "timestamp": timestamp}
    found = answers.thing_connectivity(json.dumps(answer).encode())
    assert found == Connectivity(True, 1764200000123)


@pytest.mark.parametrize("timestamp", [None, 0, -1])
def test_no_time_is_none(timestamp):
    answer = {"connected": False, "timestamp": timestamp, "disconnectReason": "CLIENT_ERROR"}
    found = answers.thing_connectivity(json.dumps(answer).encode())
    assert found == Connectivity(False, None, "CLIENT_ERROR")


@pytest.mark.parametrize("read", READERS.values())
@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"null", b"\xff\xfe", b"{" * 100_000])
def test_garbage_is_one_kind_of_error(read, body):
    with pytest.raises(msgspec.MsgspecError):
        read(body)


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (answers.thing_page, b'{"things": [{}]}'),
        (answers.thing_page, b'{"things": [{"thingName": 5}]}'),
        (answers.thing_connectivity, b"{}"),
        (answers.connection, b'{"connected": "maybe"}'),
        (answers.thing_group, b"{}"),
    ],
)
def test_an_answer_without_what_it_is_about_is_an_error(read, body):
    with pytest.raises(msgspec.MsgspecError):
        read(body)
