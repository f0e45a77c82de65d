"""The fleet of one partition of Kafka: a shard, and the changelog that keeps it."""

import math
from collections.abc import Callable, Iterable, Sequence

from presenced.events.message import Message
from presenced.service.shard import Shard
from presenced.sources.gaps import Gap, GapReason
from presenced.sources.inbox import Inbox, InboxTurns
from presenced.sources.kafka.partition import Record
from presenced.store.changelog import Changelog
from presenced.store.changelog_records import RecordReader


class ShardFleet:
    """What Kafka's source does with a shard; see `PartitionFleet`.

    `on_restored` is called when the shard has been restored, `on_show` when it may be seen,
    `on_stop` when it may not any more, at the end too.
    """

    def __init__(
        self,
        shard: Shard,
        store: Changelog,
        held_at: Callable[[], float],
        turns: InboxTurns,
        on_restored: Callable[[Shard], None],
        on_show: Callable[[Shard], None],
        on_stop: Callable[[Shard], None],
    ) -> None:
        self.shard = shard
        self.store = store
        self._on_restored = on_restored
        self._on_show = on_show
        self._on_stop = on_stop
        shard.deliver(held_at, store, turns)
        shard.pipeline.observers.append(store)

    @property
    def inbox(self) -> Inbox:
        """Where the events of the partition go."""
        return self.shard.delivery.inbox

    def restore(self, records: Iterable[Record]) -> bool:
        """Restore the fleet, in a thread that alone uses it; return whether there was any state."""
        rows = RecordReader()
        for key, value in records:
            rows.add(key, value)
        self.store.restore(rows)
        self.shard.clients.restored()
        return bool(rows)

    def restored(self) -> None:
        """Take over what has been restored."""
        self.shard.pipeline.recount()
        self._on_restored(self.shard)
        self.shard.delivery.arm()

    def replace_registry(self, records: Iterable[Record]) -> None:
        """Take over thing types and groups, which the owner of partition 0 has written."""
        self.shard.pipeline.replace_registry(self.store.registry_of(records))
        self.store.flush()

    def apply_global(self, messages: Sequence[Message], position: int) -> None:
        """Apply events of the global topic, up to the offset `position`.

        No deadline fires before them: events of the partition may be older, and still wait.
        """
        if messages:
            self.shard.pipeline.process(messages, hold_after=-math.inf)
        self.store.global_position = position

    def write_whole(self) -> None:
        """Write everything once more, because what was written is gone."""
        self.store.write_whole([each.client_id for each in self.shard.clients.series.clients()])

    def note_gap(self, reason: GapReason) -> None:
        """Report that events are missing."""
        self.shard.gaps.report(f"partition {self.store.partition}", Gap(reason, 0.0))
        self.store.flush()

    def show(self) -> None:
        """Let the shard be seen."""
        self._on_show(self.shard)

    def stop(self) -> None:
        """Apply and show nothing more."""
        self._on_stop(self.shard)
        self.shard.delivery.discard()

    def close(self) -> None:
        """Give up the shard, which may be large: no reference cycle may keep it."""
        self._on_stop(self.shard)
        self.shard.delivery.discard()
        self.shard.pipeline.observers.clear()
