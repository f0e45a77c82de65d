"""The source Kafka: this process as a worker of the consumer group, joining anew when that ends."""

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from presenced.fleet import Partition
from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.errors import is_unsupported
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.partition import OwnedPartition, PartitionFleet, Stage
from presenced.sources.kafka.topics import TopicsError, partitions_of
from presenced.sources.kafka.worker import Worker
from presenced.sources.kafka.worker_config import Protocol, worker_config
from presenced.system.log import get_logger
from presenced.system.loop import Clocks, in_thread

_JOIN_AGAIN_AFTER = 2.0

OpenPartition = Callable[[Partition, Callable[[], float]], PartitionFleet]
"""Makes the fleet of a partition; the second argument is `held_at` of its delivery."""


class KafkaSource:
    """Joins the group, and joins anew if the membership ends. Used on the event loop.

    `open_partition` makes the fleets of the partitions that are assigned.
    """

    def __init__(self, open_partition: OpenPartition, clocks: Clocks) -> None:
        self.lease = Lease(math.inf)
        self.partitions = 0
        self.worker: Worker | None = None
        self._open_partition = open_partition
        self._clocks = clocks
        self._protocol: Protocol = "consumer"
        self._settings: KafkaSettings | None = None
        self._connection: Mapping[str, Any] = {}
        self._problem = "the group has not been joined yet"
        self._joining: asyncio.Task[None] | None = None
        self._log = get_logger("presenced.kafka")

    @property
    def started(self) -> bool:
        """Whether `use` has been called."""
        return self._settings is not None

    @property
    def owned(self) -> Mapping[int, OwnedPartition]:
        """The partitions that this worker owns, by number."""
        return self.worker.owned if self.worker is not None else {}

    @property
    def lag(self) -> Mapping[int, int]:
        """How many records each owned partition is behind."""
        return self.worker.lag if self.worker is not None else {}

    @property
    def problems(self) -> list[str]:
        """Why the worker is not ready, one text each."""
        worker = self.worker
        if worker is None:
            return [self._problem]
        problems = [f"{what}: {error.str()}" for what, error in worker.errors.items()]
        if not worker.has_assignment:
            return [*problems, "the group has assigned no partitions yet"]
        waiting = [each for each in worker.owned.values() if each.stage is not Stage.SHOWN]
        problems += [f"partition {each.number} is {_STAGES[each.stage]}" for each in waiting]
        if worker.owned and not self.lease.is_valid:
            problems.append(self._no_word())
        return problems

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the worker is ready, one text each."""
        failure = self.worker.writer.failure if self.worker is not None else None
        return [] if failure is None else [f"no transaction is committed: {failure.str()}"]

    @property
    def summary(self) -> str:
        """The state in a few words."""
        return f"{len(self.owned)} of {self.partitions} partitions"

    def held_at(self, number: int) -> float:
        """Return the monotonic time after which no deadline of a partition is due yet."""
        return self.worker.held_at(number) if self.worker is not None else -math.inf

    def check(self) -> None:
        """Look how far the partitions are; called four times a second."""
        if self.worker is not None:
            self.worker.check()

    async def start(self, settings: KafkaSettings, connection: Mapping[str, Any]) -> None:
        """Join the group, or join it anew with other settings."""
        await self.stop()
        self._settings, self._connection = settings, connection
        self.lease.seconds = settings.lease
        self._join_after(0.0)

    async def stop(self) -> None:
        """Leave the group; what has changed is written first."""
        if self._joining is not None:
            self._joining.cancel()
        worker, self.worker = self.worker, None
        if worker is not None:
            await worker.stop()

    def _join_after(self, seconds: float) -> None:
        self._joining = asyncio.get_running_loop().create_task(self._join(seconds))

    async def _join(self, wait: float) -> None:
        settings = self._settings
        assert settings is not None  # noqa: S101 - see `start`
        while self.worker is None:
            await asyncio.sleep(wait)
            wait = _JOIN_AGAIN_AFTER
            config = worker_config(settings, self._connection, self._protocol)
            count = partial(partitions_of, config.admin, config.topic, config.state_topic)
            try:
                self.partitions = await in_thread(count, name="kafka topics")
                worker = Worker(config, self.lease, self._open, self._ended, self._clocks)
            except (TopicsError, KafkaException) as error:
                self._problem = str(error)
                self._log.error(
                    "the group cannot be joined; presenced tries again", detail=str(error)
                )
            else:
                self.worker = worker
                worker.start()

    def _open(self, number: int) -> PartitionFleet:
        partition = Partition(number, self.partitions)
        return self._open_partition(partition, lambda: self.held_at(number))

    def _ended(self, error: KafkaError | None) -> None:
        """Join anew after a membership that has ended by itself."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        if self._protocol == "consumer" and error is not None and is_unsupported(error):
            self._protocol = "classic"
            self._log.info("the brokers have no protocol `consumer`; `classic` is used")
        self._problem = error.str() if error is not None else "the membership of the group ended"
        worker.end()
        self._join_after(_JOIN_AGAIN_AFTER)

    def _no_word(self) -> str:
        age = self.lease.age
        since = "yet" if age is None else f"for {round(age)} s"
        return f"no word from the group {since}, so no partition is shown"


_STAGES = {
    Stage.RESTORING: "being restored",
    Stage.CATCHING_UP: "catching up",
    Stage.REVOKED: "being handed over",
    Stage.LOST: "lost",
}
