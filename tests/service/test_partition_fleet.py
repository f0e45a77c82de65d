"""The fleet of a partition of Kafka: what it remembers, and what is left of it."""

import asyncio
import gc
import json
import math
import time
import weakref

import pytest

from presenced.events.message import Message
from presenced.fleet import Partition
from presenced.metrics.catalog import kept_totals
from presenced.service.partition_fleet import ShardFleet
from presenced.service.shards import Shards
from presenced.service.transition_log import TransitionLog
from presenced.settings import Settings
from presenced.sources.inbox import InboxTurns
from presenced.store.changelog import Changelog
from presenced.system.loop import Clocks
from presenced.system.supervision import Readiness
from presenced.web.api.application import Api, Sources
from presenced.web.api.stream import Hub

CLOCKS = Clocks(time.monotonic, time.time)


def shards_of_a_worker() -> Shards:
    settings = Settings.model_validate(
        {"source": "kafka", "mqtt": None, "kafka": {"bootstrap_servers": ["localhost:9092"]}}
    )
    sources = Sources(
        CLOCKS, lambda: Readiness(ready=True, text=""), lambda: None, lambda: True, lambda _: 0
    )
    api = Api(sources, settings.metrics, settings.history, hub=Hub(max_subscribers=1))
    return Shards(settings, CLOCKS, TransitionLog(), api, lambda: True)


def open_partition(shards: Shards, number: int = 0, of: int = 6) -> ShardFleet:
    """A partition that is restored and shown."""
    shard = shards.open(Partition(number, of))
    store = Changelog(number, shard.pipeline, kept_totals(shard.sources), CLOCKS)
    turns = InboxTurns(asyncio.get_running_loop())
    fleet = ShardFleet(shard, store, lambda: -math.inf, turns, shards.add, shards.show, shards.drop)
    fleet.restore([])
    fleet.restored()
    fleet.show()
    return fleet


def event(client_id: str, kind: str, version: int) -> Message:
    now = time.time()
    payload = (
        f'{{"clientId":"{client_id}","eventType":"{kind}","sessionIdentifier":"s{version}",'
        f'"versionNumber":{version},"timestamp":{round(now * 1000)}}}'
    )
    topic = f"$aws/events/presence/{kind}/{client_id}"
    return Message(topic, payload.encode(), 1, now, time.monotonic(), offset=version)


def thing_event(name: str, kind: str) -> Message:
    now = time.time()
    payload = json.dumps(
        {
            "eventType": "THING_EVENT",
            "eventId": f"{name}-{kind}",
            "timestamp": round(now * 1000) + (kind == "deleted"),
            "operation": kind.upper(),
            "accountId": "111122223333",
            "thingId": name,
            "thingName": name,
            "versionNumber": 1,
            "thingTypeName": None,
            "attributes": {},
        }
    )
    topic = f"$aws/events/thing/{name}/{kind}"
    return Message(topic, payload.encode(), 1, now, time.monotonic(), offset=1)


async def apply(fleet: ShardFleet, *messages: Message) -> None:
    fleet.inbox.put_all(messages)
    while fleet.inbox.backlog:
        await asyncio.sleep(0)


def test_nothing_is_left_of_a_partition_that_has_gone() -> None:
    async def come_and_go() -> None:
        fleet = open_partition(shards_of_a_worker())
        await apply(fleet, event("a", "connected", 1), event("a", "disconnected", 1))
        assert len(fleet.shard.fleet.presence.clients) == 1
        parts = [weakref.ref(fleet.shard.pipeline), weakref.ref(fleet.shard.fleet)]
        gc.collect()
        gc.disable()
        fleet.stop()
        fleet.close()
        del fleet
        await asyncio.sleep(0.01)  # what the loop has yet to call
        assert [part() for part in parts] == [None, None]

    try:
        asyncio.run(come_and_go())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("of", "forgotten", "counted", "deleted"), [(1, 300, 300, 300), (480, 42, 274, 209)]
)
def test_a_partition_remembers_its_share_of_what_is_over(
    of: int, forgotten: int, counted: int, deleted: int
) -> None:
    async def remember() -> None:
        fleet = open_partition(shards_of_a_worker(), of=of)
        for number in range(300):
            client_id = f"c{number}"
            gone = [event(client_id, kind, 1) for kind in ("connected", "disconnected")]
            await apply(
                fleet, *gone, *(thing_event(client_id, kind) for kind in ("created", "deleted"))
            )
            fleet.shard.pipeline.forget([client_id], "expired")
        presence, things = fleet.shard.fleet.presence, fleet.shard.fleet.inventory.things
        assert len(presence.forgotten) == forgotten
        assert presence.disconnects.end - presence.disconnects.first == counted
        assert len(things.tombstones) == deleted

    asyncio.run(remember())
