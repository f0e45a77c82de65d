"""Records in another partition than that of their key, which make two workers count one client."""

from presenced.events.model import LifecycleEvent
from presenced.fleet import Partition
from presenced.pipeline import Batch
from presenced.sources.kafka.partitioner import partition_of
from presenced.system.log import ThrottledLogger, get_logger


class Placement:
    """Counts the lifecycle events that are in the wrong partition, as `misplaced`.

    The partition of a client is computed with its first event only: that takes as long as a part of
    applying it.
    """

    def __init__(self) -> None:
        self.misplaced = 0
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    def observer_of(self, partition: Partition) -> "PartitionPlacement":
        """Return an observer of the pipeline of one partition."""
        return PartitionPlacement(self, partition)

    def report(self, client_id: str, partition: Partition) -> None:
        """Count and log one event of a client that belongs into another partition."""
        self.misplaced += 1
        self._log.warning(
            "an event is in the wrong partition, so its client counts in several. Let the IoT rule"
            " set the key ${clientId}, and other producers partition by murmur2",
            client_id=client_id,
            partition=partition.number,
            right_partition=partition_of(client_id.encode(), partition.of),
        )


class PartitionPlacement:
    """Watches the clients of one partition; an observer of its pipeline."""

    def __init__(self, placement: Placement, partition: Partition) -> None:
        self._placement = placement
        self._partition = partition
        self._strangers: set[str] = set()

    def observe(self, batch: Batch) -> None:
        """Look at the clients that are new, and at those that are known to be misplaced."""
        strangers, partition = self._strangers, self._partition
        for change in batch.changes.clients:
            if not isinstance(change.event, LifecycleEvent):
                continue
            client_id = change.client.client_id
            if change.before is None and partition_of(client_id.encode(), partition.of) != (
                partition.number
            ):
                strangers.add(client_id)
            if client_id in strangers:
                self._placement.report(client_id, partition)
