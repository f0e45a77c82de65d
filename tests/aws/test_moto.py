"""The client against moto's server, which implements part of AWS IoT."""

import asyncio
import time
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from aws_server import make_client
from presenced.aws import operations
from presenced.aws.answers import IndexingConfiguration
from presenced.aws.errors import AwsError, Cause
from presenced.aws.queue import Queue
from presenced.system.loop import Clocks


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def iot(url):
    """boto3's client, with a registry made by it."""
    iot = boto3.client(
        "iot",
        "eu-west-1",
        endpoint_url=url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    iot.create_thing_type(thingTypeName="pump")
    iot.create_thing_group(thingGroupName="plant")
    iot.create_thing_group(thingGroupName="hall:1", parentGroupName="plant")
    for number in range(300):
        iot.create_billing_group(billingGroupName=f"bg_{number:03}")
        iot.create_thing(
            thingName=f"pump:{number:03}",
            thingTypeName="pump",
            attributePayload={"attributes": {"site": "north"}},
        )
    iot.update_indexing_configuration(
        thingIndexingConfiguration={
            "thingIndexingMode": "REGISTRY",
            "thingConnectivityIndexingMode": "STATUS",
        }
    )
    return iot


def send(url, *requests):
    async def scenario():
        client = make_client(url, Clocks(time.monotonic, time.time), searches_per_second=1000.0)
        try:
            return [(await client.send(request, attempts=1)).value for request in requests]
        finally:
            await client.close()

    return asyncio.run(scenario())


def test_all_pages_of_billing_groups(url, iot):
    names, token = [], None
    while True:
        (page,) = send(url, operations.list_billing_groups(token))
        names += page.names
        if (token := page.next_token) is None:
            break
    assert sorted(names) == [f"bg_{number:03}" for number in range(300)]


def test_groups_and_their_hierarchy(url, iot):
    groups, child, top = send(
        url,
        operations.list_thing_groups(),
        operations.describe_thing_group("hall:1"),
        operations.describe_thing_group("plant"),
    )
    assert sorted(groups.names) == ["hall:1", "plant"]
    described = iot.describe_thing_group(thingGroupName="hall:1")
    assert (child.name, child.parent, child.version) == ("hall:1", "plant", described["version"])
    assert child.group_id == described["thingGroupId"]
    assert (top.name, top.parent) == ("plant", None)


def test_the_indexing_configuration(url, iot):
    (found,) = send(url, operations.get_indexing_configuration())
    assert found == IndexingConfiguration("REGISTRY", "STATUS")


def test_a_group_that_does_not_exist(url, iot):
    with pytest.raises(AwsError) as caught:
        send(url, operations.describe_thing_group("nothing"))
    assert caught.value.cause is Cause.NOT_FOUND


def test_a_page_of_search_index(url, iot):
    """moto calls every thing connected, and has no pages."""
    (page,) = send(url, operations.search_index())
    assert len(page.things) == 300
    row = page.things[0]
    assert (row.thing_type, row.attributes) == ("pump", {"site": "north"})
    assert row.connectivity is not None
    assert row.connectivity.connected
    assert row.connectivity.timestamp > 10**12


def test_a_queue(url):
    sqs = boto3.client(
        "sqs",
        "eu-west-1",
        endpoint_url=url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    sqs.create_queue(QueueName="events", Attributes={"MessageRetentionPeriod": "86400"})
    queue = Queue(f"{url}/123456789012/events")
    for body in ("a", "b"):
        sqs.send_message(
            QueueUrl=queue.url,
            MessageBody=body,
            MessageAttributes={"topic": {"DataType": "String", "StringValue": f"t/{body}"}},
        )
    received, described = send(url, queue.receive(wait=1, visibility=30), queue.describe())
    assert {(each.body, each.topic, each.receives) for each in received} == {
        ("a", "t/a", 1),
        ("b", "t/b", 1),
    }
    assert abs(received[0].sent - time.time()) < 60
    assert (described.messages, described.in_flight, described.retention) == (0, 2, 86400)
    assert not described.fifo
    first, second = (each.receipt_handle for each in received)
    returned, deleted, described = send(
        url,
        queue.change_visibility([second], 0),
        queue.delete([first]),
        queue.describe(),
    )
    assert (returned, deleted) == ((), ())
    assert (described.messages, described.in_flight) == (1, 0)


def test_a_queue_that_does_not_exist(url):
    with pytest.raises(AwsError) as caught:
        send(url, Queue(f"{url}/123456789012/missing").receive(wait=1, visibility=30))
    assert caught.value.cause is Cause.NO_QUEUE
