"""What failed polls leave to prove, against a server that answers as a test says."""

import asyncio
import random
import time

import pytest

from aws_server import AwsServer, Says, make_client
from presenced.aws.queue import Queue
from presenced.sources.inbox import Inbox
from presenced.sources.sqs.clock_skew import ClockSkew
from presenced.sources.sqs.counts import SqsCounts
from presenced.sources.sqs.in_flight import InFlight
from presenced.sources.sqs.marks import Marks
from presenced.sources.sqs.receivers import Receivers
from presenced.system.loop import Clocks
from waiting import until

CLOCKS = Clocks(time.monotonic, time.time)
VISIBILITY = 30
EMPTY = Says(body={})


def poll(answers, scenario):
    """Poll a queue that was drained by an earlier process until the scenario ends."""

    async def main():
        counts, skew = SqsCounts(), ClockSkew(CLOCKS, 2.0)
        marks = Marks(time.monotonic() - VISIBILITY, VISIBILITY)
        async with AwsServer(answers) as aws:
            client, queue = make_client(aws.url, CLOCKS), Queue(f"{aws.url}/000000000000/events")
            receivers = Receivers(
                client,
                queue,
                Inbox(asyncio.get_running_loop(), lambda _: None),
                InFlight(
                    client,
                    queue,
                    counts,
                    skew,
                    CLOCKS.monotonic,
                    random.random,
                    visibility=VISIBILITY,
                    capacity=10,
                ),
                marks,
                counts,
                skew,
                CLOCKS,
                lambda: 0.0,
                visibility=VISIBILITY,
                limit=1,
                in_hurry=lambda: True,
            )
            running = asyncio.create_task(receivers.run())
            try:
                await scenario(aws, marks)
            finally:
                running.cancel()
                await asyncio.wait([running])
                await client.close()

    asyncio.run(main())


@pytest.mark.parametrize(("status", "proves"), [(403, True), (429, True), (502, False)])
def test_a_refused_poll_hid_no_message_but_one_lost_by_a_proxy_may_have(status, proves):
    async def scenario(aws, marks):
        await until(lambda: len(aws.asked) > 3)
        failed_at = marks.reached
        await until(lambda: marks.reached > failed_at)
        assert (marks.held_at == marks.reached) is proves

    poll([Says(status, b"{}"), EMPTY], scenario)
