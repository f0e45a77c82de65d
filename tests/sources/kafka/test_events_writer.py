"""What writes records of our own into the topic of events, without a broker that answers."""

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError

from presenced.aws.snapshot import SnapshotTargetError
from presenced.sources.kafka.events_writer import EventsWriter
from presenced.sources.kafka.snapshot_records import GapReport
from presenced.sources.kafka.worker_config import events_producer

REFUSED: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
REPORT = GapReport(partition=1, at=1700000000.0)


class Explanations:
    """Takes what is to be explained."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, error: KafkaError, topic: str | None = None) -> str:
        self.asked.append((error.name(), topic))
        return "explained"


def test_a_token_that_the_event_loop_makes_does_not_stop_it() -> None:
    made: list[float] = []
    explain = Explanations()

    async def main() -> float:
        loop = asyncio.get_running_loop()

        async def make() -> tuple[str, float]:
            made.append(time.monotonic())
            return "a.b.c", time.time() + 900

        def token(_: str | None) -> tuple[str, float]:
            return asyncio.run_coroutine_threadsafe(make(), loop).result(15)

        config = {
            **REFUSED,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "oauth_cb": token,
        }
        writer = EventsWriter(events_producer(config), "events", 2, explain)
        writing = asyncio.create_task(writer.write(REPORT, 0))
        longest, last = 0.0, time.monotonic()
        until = last + 15
        while not made and not writing.done() and last < until:
            await asyncio.sleep(0.01)
            last, before = time.monotonic(), last
            longest = max(longest, last - before)
        writing.cancel()
        writer.close()
        return longest

    assert asyncio.run(main()) < 5, "the event loop went on"
    assert made
    assert explain.asked == []


def test_a_failed_write_is_explained_with_its_topic() -> None:
    explain = Explanations()

    async def main() -> None:
        writer = EventsWriter({**REFUSED, "no.such.key": 1}, "events", 2, explain)
        for _ in range(2):
            with pytest.raises(SnapshotTargetError, match="into the topic events: explained"):
                await writer.write_everywhere(REPORT)

    asyncio.run(main())
    assert explain.asked == [("_INVALID_ARG", "events")] * 2
