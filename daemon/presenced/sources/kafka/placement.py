"""Records in another partition than that of their key, which make two workers count one client."""

from collections import deque
from collections.abc import Iterable

from presenced.events.model import (
    LifecycleEvent,
    StatusEvent,
    ThingEvent,
    ThingGroupMembershipEvent,
    ThingTypeAssociationEvent,
)
from presenced.fleet import Partition
from presenced.pipeline import Batch
from presenced.presence import State
from presenced.sources.kafka.partitioner import partition_of
from presenced.system.log import ThrottledLogger, get_logger

# A few milliseconds, four times a second: 800 clients a second.
_CLIENTS_AT_ONCE = 200
_UNKNOWN = State.UNKNOWN  # as a global: see `State`
_OF_CLIENTS = (LifecycleEvent, StatusEvent)
_OF_THINGS = (ThingEvent, ThingTypeAssociationEvent, ThingGroupMembershipEvent)


class Placement:
    """Counts the events of clients and things that are in the wrong partition, as `misplaced`.

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
        self._misplaced: set[str] = set()

    def look_at(self, client_id: str) -> None:
        """Note whether a client belongs into another partition."""
        if self._is_elsewhere(client_id):
            self._misplaced.add(client_id)

    def observe(self, batch: Batch) -> None:
        """Look at the clients that are new, at those known to be misplaced, and at all things."""
        for change in batch.changes.clients:
            before = change.before
            is_new = before is None or before is _UNKNOWN
            if (is_new or self._misplaced) and isinstance(change.event, _OF_CLIENTS):
                client_id = change.client.client_id
                if is_new:
                    self.look_at(client_id)
                if client_id in self._misplaced:
                    self._placement.report_client(client_id, self._partition)
        for event in batch.events:
            # Nearly all events are of this type, and one comparison is less than three.
            if type(event) is LifecycleEvent:
                continue
            if isinstance(event, _OF_THINGS) and self._is_elsewhere(event.thing_name):
                self._placement.report_thing(event.thing_name, self._partition)

    def _is_elsewhere(self, key: str) -> bool:
        return partition_of(key.encode(errors="replace"), self._partition.of) != (
            self._partition.number
        )
