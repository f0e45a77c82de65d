"""The doctor and a queue: each step against a real queue server, which keeps all messages."""

import asyncio
import json
import uuid

import pytest

from aws_server import AwsServer, Says
from presenced.commands.doctor.command import examine
from presenced.commands.doctor.report import Report, Status
from presenced.settings import load_settings


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def settings_of(queue_url: str):
    return load_settings(
        None,
        environ={},
        overrides={"source": "sqs", "sqs.queue_url": queue_url, "aws.region": "eu-west-1"},
    )


def examined(queue_url: str) -> tuple[Report, list[str]]:
    lines: list[str] = []
    settings = settings_of(queue_url)
    return asyncio.run(examine(settings, message_timeout=1, write_line=lines.append)), lines


def statuses(report: Report) -> dict[str, Status]:
    return {step: finding.status for step, finding in report.connections["sqs"]}


def unique() -> str:
    return f"doctor-{uuid.uuid4().hex[:8]}"


def test_a_queue_that_is_well(sqs):
    name = unique()
    queue = sqs.create_queue(name)
    sqs.send(queue, ["a", "b", "c"])
    report, lines = examined(queue)
    assert report.ok, lines
    assert list(statuses(report)) == [
        "credentials",
        "GetQueueAttributes",
        "retention",
        "dead-letter queue",
        "encryption",
        "ReceiveMessage",
        "DeleteMessage",
        "ChangeMessageVisibility",
    ]
    assert lines[0] == f"queue {name} in eu-west-1"
    assert any("a standard queue with about 3 messages" in line for line in lines)
    assert sqs.counts(queue) == {"visible": 3, "in_flight": 0}
    found = sqs.client().receive_message(
        QueueUrl=queue, MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )
    (message, *_) = found["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_what_endangers_events_is_a_warning(sqs):
    dead = sqs.create_queue(unique())
    arn = sqs.client().get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 3}
    queue = sqs.create_queue(unique(), DelaySeconds="5", RedrivePolicy=json.dumps(policy))
    report, lines = examined(queue)
    text = "\n".join(lines)
    assert statuses(report)["GetQueueAttributes"] is Status.WARNING
    assert "withheld for 5s" in text
    assert statuses(report)["dead-letter queue"] is Status.WARNING
    assert "received 3 times is moved there" in text


def test_a_missing_queue_skips_the_rest(sqs):
    report, lines = examined(f"{sqs.url}/000000000000/{unique()}")
    assert not report.ok
    found = statuses(report)
    assert found["credentials"] is Status.OK
    assert found["GetQueueAttributes"] is Status.FAILED
    assert set(list(found.values())[2:]) == {Status.SKIPPED}
    assert "aws sqs get-queue-url" in "\n".join(lines)


def test_each_missing_permission_is_named():
    """The queue server has no permissions."""
    denied = Says(400, {"__type": "com.amazon.coral.service#AccessDeniedException"})

    async def scenario():
        lines: list[str] = []
        async with AwsServer([denied]) as aws:
            settings = settings_of(f"{aws.url}/000000000000/presenced")
            report = await examine(settings, message_timeout=1, write_line=lines.append)
        found = statuses(report)
        text = "\n".join(lines)
        for action in (
            "GetQueueAttributes",
            "ReceiveMessage",
            "DeleteMessage",
            "ChangeMessageVisibility",
        ):
            assert found[action] is Status.FAILED
            assert f'"Action": "sqs:{action}"' in text
        assert found["retention"] is Status.SKIPPED

    asyncio.run(scenario())


def test_short_retention_a_key_and_a_fifo_queue():
    attributes = {
        "MessageRetentionPeriod": "3600",
        "KmsMasterKeyId": "arn:aws:kms:eu-west-1:111122223333:key/x",
        "FifoQueue": "true",
    }

    async def scenario():
        lines: list[str] = []
        async with AwsServer([Says(body={"Attributes": attributes})]) as aws:
            settings = settings_of(f"{aws.url}/000000000000/presenced")
            report = await examine(settings, message_timeout=1, write_line=lines.append)
        found = statuses(report)
        text = "\n".join(lines)
        assert found["GetQueueAttributes"] is Status.FAILED
        assert "FIFO" in text
        assert found["retention"] is Status.WARNING
        assert "messages are kept for 1h" in text
        assert "MessageRetentionPeriod=1209600" in text
        assert "kms:Decrypt" in text
        assert "111122223333" not in text

    asyncio.run(scenario())
