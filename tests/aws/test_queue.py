"""Requests about a queue and their answers, held against botocore's and AWS's own models."""

import asyncio
import json
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from awscrt import auth
from botocore.awsrequest import AWSResponse
from botocore.parsers import create_parser
from botocore.session import Session

from aws_server import KEY_ID, SECRET, TOKEN, AwsServer, Says, make_client, run
from presenced.aws import queue as queues
from presenced.aws.errors import AwsError, Cause
from presenced.aws.queue import OPERATIONS, EntryFailure, Queue, QueueMessage
from presenced.aws.signing import signed_headers
from presenced.system.loop import Clocks

CLOCKS = Clocks(time.monotonic, time.time)
URL = "https://sqs.eu-west-1.amazonaws.com/111122223333/presenced"
QUEUE = Queue(URL)
HANDLES = ["AQEB/+==", "AQEC"]
ENTRIES = [{"Id": "0", "ReceiptHandle": HANDLES[0]}, {"Id": "1", "ReceiptHandle": HANDLES[1]}]

CASES = [
    (
        QUEUE.receive(wait=20, visibility=30),
        "receive_message",
        {
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 20,
            "VisibilityTimeout": 30,
            "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
            "MessageAttributeNames": ["topic"],
        },
    ),
    (QUEUE.delete(HANDLES), "delete_message_batch", {"Entries": ENTRIES}),
    (
        QUEUE.change_visibility(HANDLES, 30),
        "change_message_visibility_batch",
        {"Entries": [{**each, "VisibilityTimeout": 30} for each in ENTRIES]},
    ),
    (QUEUE.describe(), "get_queue_attributes", {"AttributeNames": ["All"]}),
]
SERVICE = Session().get_service_model("sqs")


@pytest.fixture(scope="module")
def prepared():
    """Returns the request that botocore would send."""
    session = Session()
    session.set_credentials(KEY_ID, SECRET, TOKEN)
    client = session.create_client("sqs", "eu-west-1")

    def prepare(method, arguments):
        seen = []

        def stop(request, **_):
            seen.append(request)
            response = AWSResponse(request.url, 200, {}, None)
            response._content = b"{}"
            return response

        client.meta.events.register("before-send", stop)
        getattr(client, method)(QueueUrl=URL, **arguments)
        client.meta.events.unregister("before-send", stop)
        return seen[0]

    return prepare


@pytest.mark.parametrize(("request_", "method", "arguments"), CASES)
def test_requests_and_signatures_are_those_of_botocore(prepared, request_, method, arguments):
    theirs = prepared(method, arguments)
    assert request_.base_url + request_.target == theirs.url
    assert request_.operation.method == theirs.method
    assert json.loads(request_.body) == json.loads(theirs.body)
    for name, value in request_.headers.items():
        assert theirs.headers[name].decode() == value
    stamp = theirs.headers["X-Amz-Date"].decode()
    headers = asyncio.run(
        signed_headers(
            "POST",
            theirs.url,
            # botocore asks for the names that errors had in the older protocol; it signs that.
            {**request_.headers, "X-Amzn-Query-Mode": "true"},
            theirs.body,
            signer=auth.AwsCredentialsProvider.new_static(KEY_ID, SECRET, TOKEN),
            region="eu-west-1",
            service=request_.operation.service,
            date=datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
        )
    )
    assert headers["Authorization"] == theirs.headers["Authorization"].decode()


def test_names_are_those_of_the_models():
    assert {request.operation.name for request, *_ in CASES} == set(OPERATIONS)
    assert set(OPERATIONS) <= set(SERVICE.operation_names)
    assert SERVICE.signing_name == "sqs"
    target = SERVICE.metadata["targetPrefix"]
    assert CASES[0][0].headers["X-Amz-Target"] == f"{target}.ReceiveMessage"
    assert CASES[0][0].headers["Content-Type"].endswith(SERVICE.metadata["jsonVersion"])


def parsed_by_botocore(name, body):
    shape = SERVICE.operation_model(name).output_shape
    response = {"status_code": 200, "headers": {}, "body": json.dumps(body).encode()}
    return create_parser("json").parse(response, shape)


def test_messages_as_botocore_reads_them():
    body = {
        "Messages": [
            {
                "MessageId": "1",
                "ReceiptHandle": "AQEB",
                "MD5OfBody": "0",
                "Body": '{"a": "ü"}',
                "Attributes": {"SentTimestamp": "1764200000123", "ApproximateReceiveCount": "2"},
                "MessageAttributes": {"topic": {"DataType": "String", "StringValue": "a/b"}},
            },
            {"ReceiptHandle": "AQEC", "Attributes": {"SentTimestamp": "1764200000124"}},
        ]
    }
    first, second = queues.received_messages(json.dumps(body).encode())
    theirs = parsed_by_botocore("ReceiveMessage", body)["Messages"][0]
    assert first == QueueMessage("AQEB", '{"a": "ü"}', 1764200000.123, 2, "a/b")
    assert first.receipt_handle == theirs["ReceiptHandle"]
    assert first.body == theirs["Body"]
    assert first.sent * 1000 == int(theirs["Attributes"]["SentTimestamp"])
    assert first.receives == int(theirs["Attributes"]["ApproximateReceiveCount"])
    assert first.topic == theirs["MessageAttributes"]["topic"]["StringValue"]
    assert second == QueueMessage("AQEC", "", 1764200000.124, 1, None)
    assert queues.received_messages(b"{}") == ()


def test_failures_of_a_batch_as_botocore_reads_them():
    body = {
        "Successful": [{"Id": "0"}],
        "Failed": [{"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}],
    }
    found = queues.failures(json.dumps(body).encode())
    theirs = parsed_by_botocore("DeleteMessageBatch", body)["Failed"][0]
    assert found == (EntryFailure("1", "ReceiptHandleIsInvalid", sender_fault=True),)
    assert (found[0].id, found[0].code) == (theirs["Id"], theirs["Code"])
    assert found[0].sender_fault is theirs["SenderFault"]
    assert queues.failures(b"{}") == ()


def test_attributes():
    body = {
        "Attributes": {
            "ApproximateNumberOfMessages": "7",
            "ApproximateNumberOfMessagesNotVisible": "2",
            "MessageRetentionPeriod": "345600",
            "DelaySeconds": "0",
            "KmsMasterKeyId": "alias/aws/sqs",
            "RedrivePolicy": '{"deadLetterTargetArn":"arn:aws:sqs:x:y:dead","maxReceiveCount":"5"}',
        }
    }
    found = queues.queue_attributes(json.dumps(body).encode())
    assert (found.messages, found.in_flight, found.retention, found.delay) == (7, 2, 345600, 0)
    assert (found.redrive.max_receive_count, found.kms_key) == (5, "alias/aws/sqs")
    assert not found.fifo
    assert queues.queue_attributes(b'{"Attributes": {"FifoQueue": "true"}}').fifo


DENIED = (
    "User: arn:aws:sts::111122223333:assumed-role/presenced/0123456789abcdef is not authorized to"
    " perform: sqs:receivemessage on resource: arn:aws:sqs:eu-west-1:111122223333:presenced"
)


def kind(name, message="", status=400):
    return Says(status, {"__type": f"com.amazonaws.sqs#{name}", "message": message})


@pytest.mark.parametrize(
    ("answer", "cause", "result", "texts"),
    [
        (
            kind("QueueDoesNotExist", "The specified queue does not exist."),
            Cause.NO_QUEUE,
            "failed",
            ["no queue presenced in eu-west-1", "aws sqs get-queue-url"],
        ),
        (
            kind("AWS.SimpleQueueService.NonExistentQueue"),
            Cause.NO_QUEUE,
            "failed",
            ["no queue presenced"],
        ),
        (
            kind("AccessDeniedException", DENIED),
            Cause.DENIED,
            "denied",
            [
                '"Action": "sqs:ReceiveMessage"',
                '"Resource": "arn:aws:sqs:eu-west-1:ACCOUNT:presenced"',
            ],
        ),
        (kind("AccessDenied", DENIED, 403), Cause.DENIED, "denied", ["sqs:ReceiveMessage"]),
        (
            kind("KmsAccessDenied", DENIED),
            Cause.KEY,
            "denied",
            ['"Action": "kms:Decrypt"', "arn:aws:kms:eu-west-1:ACCOUNT:key/KEY"],
        ),
        (kind("KmsDisabled"), Cause.KEY, "denied", ["KmsDisabled", "aws kms describe-key"]),
        (kind("OverLimit", status=403), Cause.THROTTLED, "throttled", ["OverLimit"]),
        (kind("RequestThrottled"), Cause.THROTTLED, "throttled", ["sqs.receivers"]),
        (kind("ThrottlingException"), Cause.THROTTLED, "throttled", ["sqs.receivers"]),
        (
            kind("InvalidClientTokenId", status=403),
            Cause.CREDENTIALS,
            "denied",
            ["does not accept the credentials"],
        ),
        (kind("InternalError", status=500), Cause.UNAVAILABLE, "failed", ["internal error"]),
        (
            kind("InvalidParameterValue", "Value 11 is invalid"),
            Cause.INVALID_REQUEST,
            "failed",
            ["Value 11 is invalid", "Check aws.region and sqs.queue_url"],
        ),
        (Says(404, b"<html>"), Cause.UNREADABLE, "failed", ["Check sqs.queue_url"]),
    ],
)
def test_each_refusal_has_its_cause_and_remedy(answer, cause, result, texts):
    async def scenario():
        async with AwsServer([answer]) as aws:
            client = make_client(aws.url, CLOCKS)
            queue = Queue(f"{aws.url}/111122223333/presenced")
            with pytest.raises(AwsError) as caught:
                await client.send(queue.receive(wait=1, visibility=30), attempts=1)
            await client.close()
        error = caught.value
        assert (error.cause, error.result) == (cause, result)
        for text in texts:
            assert text in str(error)
        assert "111122223333" not in str(error)
        assert "0123456789abcdef" not in str(error)

    run(scenario)


def test_a_batch_needs_the_permission_of_its_single_operation():
    assert QUEUE.delete(HANDLES).operation.permission == "sqs:DeleteMessage"
    changed = QUEUE.change_visibility(HANDLES, 0).operation
    assert changed.permission == "sqs:ChangeMessageVisibility"
    assert QUEUE.describe().operation.permission == "sqs:GetQueueAttributes"


def test_a_request_goes_to_the_host_of_the_queue():
    async def scenario():
        async with AwsServer([Says(body={})]) as aws:
            client = make_client("http://localhost:9", CLOCKS)
            queue = Queue(f"{aws.url}/111122223333/presenced")
            answer = await client.send(queue.receive(wait=1, visibility=30))
            assert answer.value == ()
            await client.close()
        (asked,) = aws.asked
        assert (asked.method, asked.path) == ("POST", "/")
        assert asked.headers["X-Amz-Target"] == "AmazonSQS.ReceiveMessage"
        assert "/eu-west-1/sqs/aws4_request" in asked.headers["Authorization"]
        assert json.loads(asked.body)["QueueUrl"] == queue.url
        assert urlsplit(queue.url).path == "/111122223333/presenced"

    run(scenario)
