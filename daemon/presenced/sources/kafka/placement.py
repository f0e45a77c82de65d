"""Records in another partition than that of their key, which make two workers count one client."""

from presenced.events.model import (
    LifecycleEvent,
    ThingEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
)
from presenced.fleet import Partition
from presenced.pipeline import Batch
from presenced.presence import State
from presenced.sources.kafka.partitioner import partition_of
from presenced.system.log import ThrottledLogger, get_logger

_OF_THINGS = (ThingEvent, ThingTypeAssociationEvent, ThingGroupMembershipEvent)


class Placement:
    """Counts the events of clients and things that are in the wrong partition, as `misplaced`."""

    def __init__(self) -> None:
        self.misplaced = 0
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    def observer_of(self, partition: Partition) -> "PartitionPlacement":
        """Return an observer of the pipeline of one partition."""
        return PartitionPlacement(self, partition)

    def report_client(self, client_id: str, partition: Partition) -> None:
        """Count and log one event of a client that belongs into another partition."""
        self.misplaced += 1
        self._log.warning(
            "an event is in the wrong partition, so its client counts in several. Let the IoT rule"
            " set the key ${clientId}, and other producers partition by murmur2",
            key="client",
            client_id=client_id,
            partition=partition.number,
            right_partition=partition_of(client_id.encode(), partition.of),
        )

    def report_thing(self, name: str, partition: Partition) -> None:
        """Count and log one event of a thing that belongs into another partition."""
        self.misplaced += 1
        self._log.warning(
            "an event of a thing is in the wrong partition, so the thing counts in several. Let the"
            " IoT rules set the key ${thingName}, for memberships ${topic(7)}, and other producers"
            " partition by murmur2",
            key="thing",
            thing=name,
            partition=partition.number,
            right_partition=partition_of(name.encode(), partition.of),
        )


class PartitionPlacement:
    """Watches the clients and things of one partition; an observer of its pipeline.

    The partition of a client is computed with its first lifecycle event only, because that takes as
    long as a part of applying it. Events of things are few.
    """

    def __init__(self, placement: Placement, partition: Partition) -> None:
        self._placement = placement
        self._partition = partition
        self._strangers: set[str] = set()

    def observe(self, batch: Batch) -> None:
        """Look at the clients that are new, at those known to be misplaced, and at all things."""
        strangers = self._strangers
        for change in batch.changes.clients:
            if not isinstance(change.event, LifecycleEvent):
                continue
            client_id = change.client.client_id
            if change.before in (None, State.UNKNOWN) and self._is_elsewhere(client_id):
                strangers.add(client_id)
            if client_id in strangers:
                self._placement.report_client(client_id, self._partition)
        for event in batch.events:
            if isinstance(event, _OF_THINGS) and self._is_elsewhere(event.thing_name):
                self._placement.report_thing(event.thing_name, self._partition)

    def _is_elsewhere(self, key: str) -> bool:
        return partition_of(key.encode(errors="replace"), self._partition.of) != (
            self._partition.number
        )
