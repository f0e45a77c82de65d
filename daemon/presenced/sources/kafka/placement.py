"""Records in another partition than that of their key, which make two workers count one client."""

from collections import deque
from collections.abc import Iterable

from presenced.events.model import LifecycleEvent
from presenced.fleet import Partition
from presenced.pipeline import Batch
from presenced.sources.kafka.partitioner import partition_of
from presenced.system.log import ThrottledLogger, get_logger

# A few milliseconds, four times a second: 800 clients a second.
_CLIENTS_AT_ONCE = 200


class Placement:
    """Counts the lifecycle events that are in the wrong partition, as `misplaced`.

    The partition of a client is computed with its first event only: that takes as long as a part of
    applying it. Those of restored clients are computed by and by.
    """

    def __init__(self) -> None:
        self.misplaced = 0
        self._restored: deque[tuple[PartitionPlacement, deque[str]]] = deque()
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    def observer_of(self, partition: Partition) -> "PartitionPlacement":
        """Return an observer of the pipeline of one partition."""
        return PartitionPlacement(self, partition)

    def check_later(self, partition: "PartitionPlacement", client_ids: Iterable[str]) -> None:
        """Have `check` look at restored clients, so that events of misplaced ones are counted."""
        self._restored.append((partition, deque(client_ids)))

    def check(self) -> None:
        """Look at some of the restored clients; called four times a second."""
        for _ in range(_CLIENTS_AT_ONCE):
            if not self._restored:
                return
            partition, client_ids = self._restored[0]
            if client_ids:
                partition.look_at(client_ids.popleft())
            else:
                self._restored.popleft()

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
        self._misplaced: set[str] = set()

    def look_at(self, client_id: str) -> None:
        """Note whether a client belongs into another partition."""
        if partition_of(client_id.encode(), self._partition.of) != self._partition.number:
            self._misplaced.add(client_id)

    def observe(self, batch: Batch) -> None:
        """Look at the clients that are new, and at those that are known to be misplaced."""
        for change in batch.changes.clients:
            if not isinstance(change.event, LifecycleEvent):
                continue
            client_id = change.client.client_id
            if change.before is None:
                self.look_at(client_id)
            if client_id in self._misplaced:
                self._placement.report(client_id, self._partition)
