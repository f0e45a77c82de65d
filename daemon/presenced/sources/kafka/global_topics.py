"""What a worker does with the global topics: apply their events, and spread the state made of them.

The partition 0 has the events of types, groups and hierarchy, of jobs, commands and certificates.
Its transactions write types and groups to the global state topic, from which the fleets of all
other partitions take them, in whichever worker they are.
"""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError

from presenced.sources.kafka.global_reader import GlobalBatch, GlobalReader
from presenced.sources.kafka.library_errors import text_of
from presenced.sources.kafka.partition import GLOBAL_OWNER, OwnedPartition
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks


class GlobalTopics:
    """The types and groups of the whole fleet; used on the event loop.

    `owned` are the worker's partitions, `errors` its errors by what they are about. `call` calls a
    function on the loop from another thread. `is_complete` is whether all types and groups have
    been read that there were at the start.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: WorkerTopics,
        owned: Mapping[int, OwnedPartition],
        errors: dict[str, KafkaError],
        call: Callable[..., None],
        clocks: Clocks,
    ) -> None:
        self.is_complete = False
        self._owned = owned
        self._errors = errors
        self._state: dict[bytes, bytes] = {}
        self._reader = GlobalReader(
            config,
            topics,
            lambda batch, applied: call(self._take, batch, applied),
            lambda error: call(self._note_error, error),
            clocks,
        )
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    def stop(self) -> None:
        """Read nothing more."""
        self._reader.stop()

    def begin(self, partition: OwnedPartition) -> None:
        """Give a partition that has been restored what it needs of the global topics."""
        if partition.number == GLOBAL_OWNER:
            self._reader.follow(partition)
        elif partition.fleet is not None:
            partition.fleet.replace_registry(list(self._state.items()))

    def end(self, partition: OwnedPartition) -> None:
        """Give a partition nothing more."""
        if partition.number == GLOBAL_OWNER:
            self._reader.follow(None)

    def _note_error(self, error: KafkaError | None) -> None:
        if error is None:
            self._errors.pop("global topics", None)
            return
        self._errors["global topics"] = error
        self._log.warning(
            "the global topics cannot be read; presenced tries again",
            key=error.code(),
            error=error.name(),
            detail=text_of(error),
        )

    def _take(self, batch: GlobalBatch, applied: Callable[[], None]) -> None:
        try:
            self._spread(batch.state)
            self.is_complete |= batch.is_complete
            owner = batch.owner
            if owner is None or batch.position is None or not owner.is_running:
                return
            if owner.fleet is not None:
                owner.fleet.apply_global(batch.messages, batch.position)
        finally:
            applied()

    def _spread(self, state: Mapping[bytes, bytes | None]) -> None:
        """Note records of the state, and give them to all partitions but the one that has made it.

        That one may have changed it since.
        """
        changed = {key: value for key, value in state.items() if self._state.get(key) != value}
        for key, value in changed.items():
            if value is None:
                del self._state[key]
            else:
                self._state[key] = value
        if not changed:
            return
        for partition in self._owned.values():
            is_other = partition.number != GLOBAL_OWNER
            if is_other and partition.is_running and partition.fleet is not None:
                partition.fleet.replace_registry(changed.items())
