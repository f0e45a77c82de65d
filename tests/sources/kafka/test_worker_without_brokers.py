"""A worker whose brokers cannot be reached, called as its consumer does."""

import asyncio

import pytest

from partition_fleets import CLOCKS, Fleets, kafka_settings
from presenced.service.partition_fleet import ShardFleet
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.partition import OwnedPartition, Stage
from presenced.sources.kafka.transactions import TransactionCounts
from presenced.sources.kafka.worker import Worker
from presenced.sources.kafka.worker_config import worker_config
from presenced.system.loop import in_thread
from waiting import until

UNREACHABLE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


class BrokenFleet(ShardFleet):
    """A fleet that fails to stop, by an error in presenced."""

    def stop(self) -> None:
        raise ZeroDivisionError


def test_a_partition_that_cannot_be_stopped_is_shown_no_more_after_it_was_revoked() -> None:
    settings = kafka_settings()

    async def main() -> None:
        fleets = Fleets(settings, 1)

        def open_partition(number: int) -> ShardFleet:
            fleet = fleets.open(number)
            fleet.__class__ = BrokenFleet
            return fleet

        def make() -> Worker:
            config = worker_config(settings.kafka, UNREACHABLE, "consumer")
            counts = TransactionCounts()
            return Worker(config, Lease(15.0), counts, open_partition, lambda _: None, CLOCKS)

        worker = await in_thread(make, name="worker")
        worker.start()
        partition = OwnedPartition(0, CLOCKS)
        worker.assigned([partition])
        await until(lambda: partition.fleet is not None, what="the fleet")
        assert partition.fleet is not None
        partition.fleet.restored()
        partition.fleet.show()
        partition.stage, partition.was_restored = Stage.SHOWN, True
        assert 'partition="0"' in fleets.scrape()
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: worker.revoked([partition]), name="consumer")
        await until(lambda: not worker.partitions.owned, what="it is given up")
        assert 'partition="0"' not in fleets.scrape()
        await worker.stop()

    asyncio.run(main())
