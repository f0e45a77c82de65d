"""The thread that polls the consumer group and puts records into the inboxes of their partitions.

Assignments and revocations are callbacks of the poll, so they come in order with the records.
"""

import math
import queue
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import (
    Message as Record,
)

from presenced.events.message import Message
from presenced.sources.kafka.errors import OUT_OF_RANGE, PARTITION_END
from presenced.sources.kafka.messages import message_of, written_at
from presenced.sources.kafka.partition import OwnedPartition
from presenced.system.log import get_logger
from presenced.system.loop import Clocks

_RECORDS_AT_ONCE = 1_000
# A poll waits until it has that many records or this time is over.
_POLL_TIMEOUT = 0.02
_BACKLOG_PAUSE = 0.02
_MEMBERSHIP_INTERVAL = 0.05
_QUERY_TIMEOUT = 10.0

_Request = tuple[OwnedPartition, Callable[[OwnedPartition], None]]


class GroupListener(Protocol):
    """What the consumer reports, in its thread."""

    def assigned(self, partitions: Sequence[OwnedPartition]) -> None:
        """The worker owns more partitions."""

    def revoked(self, partitions: Sequence[OwnedPartition]) -> None:
        """Another worker gets partitions once this returns."""

    def lost(self, partitions: Sequence[OwnedPartition]) -> None:
        """Another worker may have the partitions already."""

    def out_of_range(self, partition: OwnedPartition, position: int) -> None:
        """Events are missing; those from `position` on follow once `begin` is called."""

    def error(self, error: KafkaError, topic: str | None) -> None:
        """Something went wrong; the consumer goes on unless the error is fatal."""

    def ended(self) -> None:
        """The consumer has left the group, and its thread ends."""


class GroupConsumer:
    """A member of the consumer group.

    `config` is that of librdkafka. A partition that is assigned is not fetched until `begin`. While
    the inboxes hold more than `max_backlog` messages, nothing is polled. A loop that hangs thus
    ends the membership after `max.poll.interval.ms`. `is_drained` is whether all that has been
    fetched is in the inboxes.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        listener: GroupListener,
        clocks: Clocks,
        *,
        max_backlog: int = 20_000,
    ) -> None:
        self.is_drained = False
        self._topic = topic
        self._listener = listener
        self._clocks = clocks
        self._max_backlog = max_backlog
        self._owned: dict[int, OwnedPartition] = {}
        self._running: dict[int, OwnedPartition] = {}
        self._assigned: set[int] = set()  # those that librdkafka fetches
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._stopping = False
        self._membership: Any = None
        self._membership_read = -math.inf
        self._log = get_logger("presenced.kafka")
        self._consumer: Consumer = Consumer(dict(config))
        self._thread = threading.Thread(target=self._run, name="kafka consumer", daemon=True)

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def begin(self, partition: OwnedPartition, position: int) -> None:
        """Deliver the records of a partition from an offset on; called from any thread."""
        self._requests.put((partition, partial(self._begin, position=position)))

    def begin_again(self, partition: OwnedPartition) -> None:
        """Deliver what follows the last record; called from any thread.

        For a partition that librdkafka does not fetch. `_on_assign` avoids the known causes.
        """
        self._requests.put((partition, self._begin))

    def read_anew(self, partition: OwnedPartition) -> None:
        """Report that events are missing, because their topic is new; called from any thread."""
        self._requests.put((partition, self._end_reading))

    def stop(self) -> None:
        """Leave the group, after all partitions are revoked; called from any thread."""
        self._stopping = True

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def backlog(self) -> int:
        """How many records wait in the inboxes; read from any thread."""
        # A fleet may go, on the event loop, between a look at it and its use.
        fleets = [each.fleet for each in list(self._running.values())]
        return sum(fleet.inbox.backlog for fleet in fleets if fleet is not None)

    def membership(self) -> Any:
        """Return what proves the membership to a transaction; None if the worker is no member.

        Called from any thread. It is that of some milliseconds ago, never a later one: partitions
        that are lost have left `owned` before the worker becomes a member again.
        """
        return self._membership

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not self._stopping:
                if time.monotonic() - self._membership_read >= _MEMBERSHIP_INTERVAL:
                    self._read_membership()
                self._do_requests()
                if self.backlog >= self._max_backlog:
                    self.is_drained = False
                    time.sleep(_BACKLOG_PAUSE)
                else:
                    self._poll()
        except Exception:  # noqa: BLE001 - the worker joins anew
            self._log.exception("the Kafka consumer ended because of an error in presenced")
        finally:
            self._close()

    def _poll(self) -> None:
        records = self._consumer.consume(_RECORDS_AT_ONCE, _POLL_TIMEOUT)
        self._take(records)
        self.is_drained = len(records) < _RECORDS_AT_ONCE

    def _read_membership(self) -> None:
        """Read the membership, which the client tells only to the thread that polls."""
        self._membership_read = time.monotonic()
        metadata: Any = self._consumer.consumer_group_metadata()
        self._membership = metadata if is_member(metadata) else None

    def _close(self) -> None:
        try:
            self._consumer.close()  # calls `_on_revoke`
        except Exception:  # noqa: BLE001 - the group notices after the session timeout
            self._log.exception("could not leave the consumer group")
        finally:
            self._membership = None
            self._report(self._listener.lost, list(self._owned.values()))
            self._listener.ended()

    def _do_requests(self) -> None:
        """Do what was asked for about partitions that the worker still has."""
        while not self._requests.empty():
            partition, do = self._requests.get()
            if self._owned.get(partition.number) is partition:
                do(partition)

    def _begin(self, partition: OwnedPartition, position: int | None = None) -> None:
        if position is None:
            position = partition.delivered
        partition.end = -1
        place = TopicPartition(self._topic, partition.number, position)
        # Not `seek`: librdkafka refuses it for a partition whose offset was out of range.
        self._unassign([partition.number])
        self._consumer.incremental_assign([place])
        self._assigned.add(partition.number)
        partition.delivered = position
        self._running[partition.number] = partition

    def _end_reading(self, partition: OwnedPartition, first: int = 0) -> None:
        """Deliver nothing more until the listener begins again, with the oldest event there is.

        It must note the gap after what was delivered before it, and before what follows.
        """
        self._running.pop(partition.number, None)
        partition.end = -1
        self._listener.out_of_range(partition, first)

    def _unassign(self, numbers: Iterable[int]) -> None:
        """Let librdkafka fetch partitions no more, those that it fetches."""
        known = self._assigned.intersection(numbers)
        self._assigned -= known
        self._consumer.incremental_unassign([TopicPartition(self._topic, n) for n in known])

    def _take(self, records: Sequence[Record]) -> None:
        wall = self._clocks.wall()
        offset = self._clocks.monotonic() - wall
        batches: defaultdict[int, list[Record]] = defaultdict(list)
        ends: dict[int, int] = {}
        for record in records:
            error = record.error()
            if error is not None:
                self._take_error(record, error, ends)
                continue
            number: int = record.partition()  # type: ignore[assignment]
            batches[number].append(record)
        for number, batch in batches.items():
            if (partition := self._running.get(number)) is not None:
                written = written_at(batch[-1])
                if written > 0 and partition.end >= partition.delivered:  # it had no backlog
                    partition.skew.note(wall - written)
                ahead = partition.skew.seconds
                self._put(partition, [message_of(each, wall, offset, ahead) for each in batch])
        for number, end in ends.items():
            if (partition := self._running.get(number)) is not None:
                partition.end = end

    def _put(self, partition: OwnedPartition, messages: list[Message]) -> None:
        if (fleet := partition.fleet) is None:
            return
        expected = partition.delivered
        if messages[-1].offset - expected != len(messages) - 1 or messages[0].offset != expected:
            messages, read_from = partition.holes.following(expected, messages)
            if read_from is not None:
                self._running.pop(partition.number)
                self.begin(partition, read_from)
            if not messages:
                return
        partition.delivered = messages[-1].offset + 1
        fleet.inbox.put_all(messages)

    def _take_error(self, record: Record, error: KafkaError, ends: dict[int, int]) -> None:
        code, number = error.code(), record.partition()
        if code == PARTITION_END:
            ends[number] = record.offset()  # type: ignore[index, assignment]
        elif code == OUT_OF_RANGE and number in self._running:
            self._report_gap(self._running[number])
        else:
            self._listener.error(error, record.topic())

    def _report_gap(self, partition: OwnedPartition) -> None:
        place = TopicPartition(self._topic, partition.number)
        try:
            first, _ = self._consumer.get_watermark_offsets(place, timeout=_QUERY_TIMEOUT)
        except KafkaException as error:
            self._listener.error(error.args[0], self._topic)
            first = partition.delivered  # out of range again, and tried again
        self._end_reading(partition, first)

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = [OwnedPartition(place.partition, self._clocks) for place in places]
        # librdkafka fetches none of them before `begin`. It must not be given a logical offset to
        # begin with, or pause them: the answer for the logical offset may come after `begin`, and
        # moves the partition to it (`rd_kafka_toppar_offset_retry`), and a resume may drop the
        # start of a fetch (librdkafka issues 2190 and 5591).
        consumer.incremental_assign([])
        self._owned.update((each.number, each) for each in partitions)
        self._listener.assigned(partitions)

    def _on_revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._read_membership()
        self._report(self._listener.revoked, self._leave(places))
        self._unassign(place.partition for place in places)

    def _on_lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._membership = None
        partitions = self._leave(places)
        for each in partitions:
            each.gone = True
        self._report(self._listener.lost, partitions)
        self._unassign(place.partition for place in places)

    def _leave(self, places: Iterable[TopicPartition]) -> list[OwnedPartition]:
        for place in places:
            self._running.pop(place.partition, None)
        left = (self._owned.pop(place.partition, None) for place in places)
        return [each for each in left if each is not None]

    def _report(
        self,
        report: Callable[[Sequence[OwnedPartition]], None],
        partitions: Sequence[OwnedPartition],
    ) -> None:
        """Report partitions that have gone; whatever happens, they are gone then."""
        try:
            if partitions:
                report(partitions)
        except Exception:  # noqa: BLE001 - the group must go on
            self._log.exception("partitions could not be handed over in order")
        for each in partitions:
            each.gone = True


_MAGIC = b"CGMDv2:"


def is_member(metadata: bytes) -> bool:
    """Return whether group metadata is that of a member, by its generation or member epoch.

    Kafka takes offsets without a member for those of a tool, and does not check them. librdkafka
    has such metadata while it joins anew (`rd_kafka_consumer_group_metadata_write`).
    """
    if not metadata.startswith(_MAGIC):
        return True  # of a newer librdkafka
    at = len(_MAGIC)
    return int.from_bytes(metadata[at : at + 4], sys.byteorder, signed=True) > 0
