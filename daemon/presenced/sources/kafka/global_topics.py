"""What a worker does with the global topics: apply their events, and spread the state made of them.

The partition 0 has the events of types, groups and hierarchy, of jobs, commands and certificates.
Its transactions write types and groups to the global state topic, from which the fleets of all
other partitions take them, in whichever worker they are.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from presenced.sources.gaps import GapReason
from presenced.sources.kafka.errors import TopicError
from presenced.sources.kafka.global_reader import GlobalBatch, GlobalReader
from presenced.sources.kafka.library_errors import text_of
from presenced.sources.kafka.partition import GLOBAL_OWNER, OwnedPartition
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

# Seconds of the loop, and how many types and groups are taken over between two looks at the clock.
_SLICE, _RECORDS_AT_ONCE = 0.003, 50


class GlobalTopics:
    """The types and groups of the whole fleet; used on the event loop.

    `errors` are those of the worker by what they are about. `call` calls a function on the loop
    from another thread.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: WorkerTopics,
        errors: dict[str, TopicError],
        call: Callable[..., None],
        clocks: Clocks,
    ) -> None:
        self._errors = errors
        self._state: dict[bytes, bytes] = {}
        self._is_read = False  # up to what was there at the start
        # The keys of what each partition has yet to take over.
        self._missing: dict[OwnedPartition, dict[bytes, None]] = {}
        self._is_spreading = False
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
        else:
            self._missing[partition] = dict.fromkeys(self._state)
            self._spread_soon()

    def read_anew(self, topic: str) -> None:
        """Read a topic that was created anew from its first record on."""
        self._reader.read_anew(topic)

    def end(self, partition: OwnedPartition) -> None:
        """Give a partition nothing more."""
        self._missing.pop(partition, None)
        if partition.number == GLOBAL_OWNER:
            self._reader.follow(None)

    def is_complete_for(self, partition: OwnedPartition) -> bool:
        """Return whether a partition has all types and groups that there were at its start."""
        return self._is_read and not self._missing.get(partition)

    def _note_error(self, failure: TopicError | None) -> None:
        if failure is None:
            self._errors.pop("global topics", None)
            return
        self._errors["global topics"] = failure
        self._log.warning(
            "the global topics cannot be read; presenced tries again",
            key=failure.error.code(),
            error=failure.error.name(),
            topic=failure.topic,
            detail=text_of(failure.error),
        )

    def _take(self, batch: GlobalBatch, applied: Callable[[], None]) -> None:
        try:
            self._note_state(batch.state)
            self._is_read |= batch.is_complete
            owner = batch.owner
            if owner is None or owner.fleet is None or not owner.is_running:
                return
            if batch.is_gap:
                owner.fleet.note_gap(GapReason.OFFSET_OUT_OF_RANGE)
                owner.take_over("global_events")
            if batch.position is not None:
                owner.fleet.apply_global(batch.messages, batch.position)
        finally:
            applied()

    def _note_state(self, state: Mapping[bytes, bytes | None]) -> None:
        """Note records of the state, for all partitions but the one that has made it.

        That one may have changed it since.
        """
        for key, value in state.items():
            if self._state.get(key) == value:
                continue
            if value is None:
                del self._state[key]
                continue
            self._state[key] = value
            for missing in self._missing.values():
                missing[key] = None
        self._spread_soon()

    def _spread_soon(self) -> None:
        if not self._is_spreading and any(self._missing.values()):
            self._is_spreading = True
            asyncio.get_running_loop().call_soon(self._spread)

    def _spread(self) -> None:
        """Give partitions some of what they miss: all groups at once would hold the loop."""
        self._is_spreading = False
        until = time.perf_counter() + _SLICE
        for partition, missing in [*self._missing.items()]:
            while missing and time.perf_counter() < until:
                keys = [*islice(missing, _RECORDS_AT_ONCE)]
                for key in keys:
                    del missing[key]
                if partition.fleet is not None and partition.is_running:
                    present = [(key, self._state[key]) for key in keys if key in self._state]
                    partition.fleet.replace_registry(present)
        self._spread_soon()
