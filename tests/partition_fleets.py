"""Fleets of partitions in this process, made as the daemon makes them."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable

from presenced.events.message import Message
from presenced.fleet import Partition
from presenced.metrics.catalog import kept_totals
from presenced.metrics.declaration import MetricSources
from presenced.metrics.exposition import Exposition
from presenced.presence import Client
from presenced.service.partition_fleet import ShardFleet
from presenced.service.shards import Shards
from presenced.service.transition_log import TransitionLog
from presenced.settings import Settings
from presenced.sources.inbox import InboxTurns
from presenced.store.changelog import Changelog
from presenced.system.loop import Clocks

CLOCKS = Clocks(time.monotonic, time.time)
_KAFKA = {"bootstrap_servers": ["localhost:9092"], "security": {"protocol": "PLAINTEXT"}}


def kafka_settings(**sections: object) -> Settings:
    """Settings with Kafka as the source; no broker is needed unless the section `kafka` says so."""
    return Settings.model_validate({"source": "kafka", "mqtt": None, "kafka": _KAFKA, **sections})


class Fleets:
    """Opens fleets of partitions, and renders what they show. Make it on the event loop."""

    def __init__(self, settings: Settings, partitions: int, clocks: Clocks = CLOCKS) -> None:
        self.shards = Shards(settings, clocks, TransitionLog(), None, lambda: True)
        self._partitions = partitions
        self._clocks = clocks
        self._turns = InboxTurns(asyncio.get_running_loop())

    def open(
        self, partition: Partition | int, held_at: Callable[[], float] = lambda: math.inf
    ) -> ShardFleet:
        if isinstance(partition, int):
            partition = Partition(partition, self._partitions)
        shards = self.shards
        shard = shards.open(partition)
        totals = kept_totals(shard.sources)
        store = Changelog(partition.number, shard.pipeline, totals, self._clocks)
        return ShardFleet(shard, store, held_at, self._turns, shards.add, shards.show, shards.drop)

    def reload(self, **sections: object) -> None:
        made = kafka_settings(**sections)
        self.shards.use_metrics(made.metrics)
        self.shards.use(made)

    def scrape(self) -> str:
        sources = MetricSources(self.shards.shown, "kafka", partitioned=True)
        return Exposition(sources).render().decode()

    @property
    def clients(self) -> dict[str, Client]:
        """The clients of all partitions that are restored."""
        return {
            client_id: client
            for shard in self.shards
            for client_id, client in shard.fleet.presence.clients.items()
        }


def lifecycle_messages(
    client_ids: Iterable[str], *, connected: bool = True, first: int = 0
) -> list[Message]:
    """Messages of this moment, with the offsets from `first` on."""
    kind = "connected" if connected else "disconnected"
    now, wall = time.monotonic(), time.time()
    payload = b'{"versionNumber": 1, "sessionIdentifier": "s"}'
    return [
        Message(f"$aws/events/presence/{kind}/{each}", payload, 1, wall, now, offset=offset)
        for offset, each in enumerate(client_ids, first)
    ]
