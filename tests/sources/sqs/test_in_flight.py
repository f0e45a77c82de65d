"""Deleting what is applied, against a server that answers as a test says."""

import asyncio
import json
import time

from aws_server import AwsServer, Says, make_client
from presenced.aws.queue import Queue
from presenced.sources.clock_skew import ClockSkew
from presenced.sources.sqs.clock_skew import TOLERANCE
from presenced.sources.sqs.counts import SqsCounts
from presenced.sources.sqs.in_flight import InFlight
from presenced.system.loop import Clocks
from waiting import until

CLOCKS = Clocks(time.monotonic, time.time)
DONE = Says(body={})


def failed(*ids, code="InternalError", sender_fault=False):
    entries = [{"Id": each, "Code": code, "SenderFault": sender_fault} for each in ids]
    return Says(body={"Failed": entries})


def play(answers, scenario, *, visibility=30):
    """Run a scenario with messages in flight; return the server and the counts."""

    async def main():
        counts = SqsCounts()
        async with AwsServer(answers) as aws:
            client = make_client(aws.url, CLOCKS)
            in_flight = InFlight(
                client,
                Queue(f"{aws.url}/000000000000/presenced"),
                counts,
                ClockSkew(CLOCKS, TOLERANCE),
                time.monotonic,
                lambda: 0.0,
                visibility=visibility,
                capacity=50,
            )
            running = asyncio.create_task(in_flight.run())
            try:
                await scenario(in_flight, aws, counts)
            finally:
                running.cancel()
                await asyncio.wait([running])
                await client.close()

    asyncio.run(main())


def asked(aws, operation):
    return [
        json.loads(each.body)["Entries"]
        for each in aws.asked
        if each.headers["X-Amz-Target"] == f"AmazonSQS.{operation}"
    ]


def handles(entries):
    return [entry["ReceiptHandle"] for entry in entries]


def test_applied_messages_are_deleted_in_batches_of_ten():
    async def scenario(in_flight, aws, counts):
        applied = [in_flight.add(str(number)) for number in range(25)]
        for each in applied:
            each()
            each()
        await until(lambda: not len(in_flight))
        batches = asked(aws, "DeleteMessageBatch")
        assert sorted(len(batch) for batch in batches) == [5, 10, 10]
        found = [int(each) for batch in batches for each in handles(batch)]
        assert sorted(found) == list(range(25))
        assert counts.messages["deleted"] == 25

    play([DONE], scenario)


def test_what_is_not_applied_is_not_deleted():
    async def scenario(in_flight, aws, counts):
        in_flight.add("a")
        in_flight.add("b")()
        await until(lambda: counts.messages["deleted"] == 1)
        assert [handles(each) for each in asked(aws, "DeleteMessageBatch")] == [["b"]]
        assert len(in_flight) == 1

    play([DONE], scenario)


def test_part_of_a_batch_that_fails_is_tried_again():
    async def scenario(in_flight, aws, counts):
        for each in [in_flight.add(name) for name in "abc"]:
            each()
        await until(lambda: counts.messages["deleted"] == 3)
        assert [handles(each) for each in asked(aws, "DeleteMessageBatch")] == [
            ["a", "b", "c"],
            ["b"],
        ]
        assert in_flight.fault is None

    play([failed("1"), DONE], scenario)


def test_a_message_that_comes_again_anyway_is_not_tried_again():
    async def scenario(in_flight, aws, counts):
        for each in [in_flight.add(name) for name in "ab"]:
            each()
        await until(lambda: not len(in_flight))
        assert (counts.messages["deleted"], counts.messages["not_deleted"]) == (1, 1)

    play([failed("0", code="ReceiptHandleIsInvalid", sender_fault=True), DONE], scenario)


def test_a_fault_is_told_until_it_ends_and_loses_nothing():
    denied = Says(400, {"__type": "x#AccessDeniedException"})

    async def scenario(in_flight, aws, counts):
        for each in [in_flight.add(str(number)) for number in range(12)]:
            each()
        await until(lambda: in_flight.fault is not None)
        assert "sqs:DeleteMessage" in str(in_flight.fault)
        await until(lambda: counts.messages["deleted"] == 12)
        assert in_flight.fault is None

    play([denied, denied, denied, DONE], scenario)


def test_poison_is_counted_when_it_is_deleted():
    async def scenario(in_flight, aws, counts):
        in_flight.discard("a")
        await until(lambda: counts.messages["poison"] == 1)
        assert counts.messages["deleted"] == 0

    play([DONE], scenario)


def test_what_waits_is_hidden_for_longer():
    async def scenario(in_flight, aws, counts):
        in_flight.add("a")
        await until(lambda: len(asked(aws, "ChangeMessageVisibilityBatch")) >= 3)
        (entry,) = asked(aws, "ChangeMessageVisibilityBatch")[0]
        assert (entry["ReceiptHandle"], entry["VisibilityTimeout"]) == ("a", 1)

    play([DONE], scenario, visibility=1)


def test_room_ends_at_the_capacity():
    async def scenario(in_flight, aws, counts):
        applied = [in_flight.add(str(number)) for number in range(50)]
        waiting = asyncio.create_task(in_flight.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        applied[0]()
        await until(waiting.done)

    play([DONE], scenario)


def test_the_rest_is_returned():
    async def scenario(in_flight, aws, counts):
        applied = [in_flight.add(str(number)) for number in range(15)]
        applied[3]()
        await in_flight.delete_all()
        await in_flight.give_back()
        batches = asked(aws, "ChangeMessageVisibilityBatch")
        assert sorted(len(batch) for batch in batches) == [4, 10]
        assert {entry["VisibilityTimeout"] for batch in batches for entry in batch} == {0}
        assert (counts.messages["deleted"], counts.messages["returned"]) == (1, 14)
        assert not len(in_flight)
        for each in applied:
            each()
        assert not len(in_flight)

    play([DONE], scenario)
