"""The thread that writes changes and positions in transactions.

A transaction has the rows of all partitions that changed, and their positions in the topic of
events, sent with the worker's membership of the group (KIP-447). It is committed as a whole,
and only for a member: a fenced worker writes nothing. The membership is read before the rows
are taken. Rows that are taken afterwards belong to it, because a worker joins anew only after the
partitions of its former membership have been taken from it.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from presenced.presence.counts import Distribution
from presenced.sources.kafka.errors import TopicError
from presenced.sources.kafka.lease import Lease
from presenced.sources.kafka.library_errors import text_of
from presenced.sources.kafka.partition import (
    GLOBAL_OWNER,
    GLOBAL_POSITION_KEY,
    POSITION_KEY,
    OwnedPartition,
    Unwritten,
)
from presenced.sources.kafka.worker_config import WorkerTopics
from presenced.system.log import ThrottledLogger, get_logger

_INTERVAL = 0.1
# With a backlog: each transaction has rows of its own for every partition (positions, counters),
# brokers write three markers or more, and several events of a client become one row, so that fewer
# of them leave time for the events. Longer ones would stop the event loop while the changes of a
# large partition are taken.
_BACKLOG_INTERVAL = 2.0
_FIRST_RETRY, _LAST_RETRY = 0.2, 5.0
_QUEUE_FULL_PAUSE = 0.05
_STUCK_AFTER = 1.5 * _LAST_RETRY
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# The group refuses the offsets: the worker is no member any more, or has missed a rebalance.
_FENCED = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.STALE_MEMBER_EPOCH,
)
# The worker is no member any more, and its partitions may be another one's already.
_EXPELLED = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
)

T = TypeVar("T")


class Work(NamedTuple):
    """What one transaction is about: what has changed, and the positions where nothing has.

    `global_position` is the position in the global topic, None if it is another worker's.
    """

    changed: Sequence[tuple[OwnedPartition, Unwritten]]
    unchanged: Mapping[int, int]
    global_position: int | None


class Ledger(Protocol):
    """The partitions of the worker, called in the thread of the writer."""

    @property
    def has_backlog(self) -> bool:
        """Whether events wait to be applied."""

    def take(self) -> Work:
        """Return what is to be written now, of partitions that are the worker's own."""

    def written(self, work: Work) -> None:
        """Take note that it is committed."""

    def failed(self, work: Work) -> None:
        """Take note that it is not."""


class TransactionCounts:
    """Counts of the transactions. `durations` and `last_commit` (since the epoch) are in seconds.

    `failures` are by cause: `fenced` if the group refused the worker, `replaced` if the producer
    had to be made anew, `aborted` for all other transactions. Unlike a file the state is never
    `unavailable`: without it no partition is shown.
    """

    unavailable = False

    def __init__(self) -> None:
        self.commits = 0
        self.failures: Counter[str] = Counter(dict.fromkeys(("aborted", "fenced", "replaced"), 0))
        self.durations = Distribution(_BUCKETS)
        self.last_commit = 0.0


class TransactionWriter:
    """Writes what `ledger` has, and renews `lease` with each success.

    Transactions begin 100 ms after the one before; while there is a backlog, 2 s or a
    quarter of the lease.

    `membership` returns the metadata of the group, None if the worker is no member. `config` is
    that of librdkafka. `failures` are why the last attempt failed, empty if it did not: one error,
    with each topic that it may be about.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: WorkerTopics,
        membership: Callable[[], Any],
        ledger: Ledger,
        lease: Lease,
        counts: TransactionCounts,
    ) -> None:
        self.failures: Sequence[TopicError] = ()
        self._config = config
        self._topics = topics
        self._membership = membership
        self._ledger = ledger
        self._lease = lease
        self._counts = counts
        self._producer: Producer | None = None
        self._retry_after = 0.0
        self._attempted_at = -math.inf
        self._wake = threading.Condition()
        self._asked = self._done = 0  # attempts that were asked for, and those that are over
        self._work: Work | None = None
        self._called_at: float | None = None
        self._stopping = False
        self._log = get_logger("presenced.kafka")
        self._throttled = ThrottledLogger(self._log)
        self._thread = threading.Thread(target=self._run, name="kafka writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write nothing more; what is under way ends by itself."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_stuck(self) -> bool:
        """Whether a call of the library takes far longer than it was given.

        `send_offsets_to_transaction` can wait for ever for a coordinator that was restarted,
        regardless of its timeout (librdkafka issues 5456 and 5511, open in 2.16).
        """
        called_at = self._called_at
        return called_at is not None and time.monotonic() - called_at > _STUCK_AFTER

    def abandon(self) -> Work | None:
        """Stop, though a call may never return; return what is not written.

        A successor with the same transactional ID fences the producer, which can write no more.
        """
        self.stop()
        work, self._work = self._work, None
        return work

    def attempt(self, timeout: float) -> None:
        """Wait until an attempt is over that began after this call, at most `timeout` seconds."""
        with self._wake:
            self._asked += 1
            number = self._asked
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._done >= number or self._stopping, timeout)

    def _run(self) -> None:
        self._attempt_until_stopped()
        # Disconnect now: the writer is in reference cycles, which may be collected much later.
        self._producer = None

    def _attempt_until_stopped(self) -> None:
        while not self._stopping:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._asked > self._done or self._stopping,
                    max(_INTERVAL, self._retry_after),
                )
                asked = self._asked
            if self._stopping:
                return
            if asked == self._done and not self._is_due:
                continue
            self._attempted_at = time.monotonic()
            try:
                self._attempt()
            except Exception:  # noqa: BLE001 - the next attempt may succeed
                self._drop_producer()
                self._retry_after = _LAST_RETRY
                self._throttled.exception("no transaction because of an error in presenced")
            with self._wake:
                self._done = asked
                self._wake.notify_all()

    @property
    def _is_due(self) -> bool:
        """Whether to begin a transaction: at once, or with a backlog after the longest interval."""
        longest = min(_BACKLOG_INTERVAL, self._lease.seconds / 4)
        is_late = time.monotonic() - self._attempted_at >= longest
        return is_late or not self._ledger.has_backlog

    def _attempt(self) -> None:
        membership = self._membership()
        if membership is None or not self._ready():
            return
        work = self._ledger.take()
        if not work.changed and not (work.unchanged and self._lease.is_due):
            return
        began = time.monotonic()
        self._work = work
        try:
            self._transact(work, membership)
        except KafkaException as error:
            if self._is_mine(work):
                self._failed(work, error.args[0])
            return
        except BaseException:
            if self._is_mine(work):
                self._ledger.failed(work)
            raise
        if not self._is_mine(work):
            return
        self._counts.commits += 1
        self._counts.durations.observe(time.monotonic() - began)
        self._counts.last_commit = time.time()
        self._ledger.written(work)
        self._succeeded()

    def _is_mine(self, work: Work) -> bool:
        """Return whether work has not been taken away by `abandon`; it is over now."""
        is_mine, self._work = self._work is work, None
        return is_mine

    def _ready(self) -> bool:
        """Return whether there is a producer that can begin a transaction."""
        if self._producer is not None:
            return True
        try:
            producer = Producer(dict(self._config))
            self._until_known(producer.init_transactions)
        except KafkaException as error:
            self._report(error.args[0], [None], "no transaction can be begun")
            return False
        self._producer = producer
        return True

    def _transact(self, work: Work, membership: Any) -> None:
        """Write all of it. Raises KafkaException if the transaction has failed."""
        producer = self._producer
        assert producer is not None  # noqa: S101 - see `_attempt`
        topics = self._topics
        producer.begin_transaction()
        for partition, unwritten in work.changed:
            positions = {POSITION_KEY: unwritten.position}
            if partition.number == GLOBAL_OWNER and work.global_position is not None:
                positions[GLOBAL_POSITION_KEY] = work.global_position
            written = {key: str(value).encode() for key, value in positions.items()}
            self._produce(producer, topics.state, partition.number, unwritten.records)
            self._produce(producer, topics.state, partition.number, written)
            self._produce(producer, topics.global_state, 0, unwritten.global_records)
        offsets = dict(work.unchanged)
        offsets.update((each.number, unwritten.position) for each, unwritten in work.changed)
        places = [TopicPartition(topics.events, *item) for item in offsets.items()]
        if work.global_position is not None:
            places.append(TopicPartition(topics.global_events, 0, work.global_position))
        at = self._lease.now()
        self._until_known(
            lambda timeout: producer.send_offsets_to_transaction(places, membership, timeout)
        )
        self._until_known(producer.commit_transaction)
        self._lease.renew(at)

    def _produce(
        self,
        producer: Producer,
        topic: str,
        partition: int,
        records: Mapping[bytes, bytes | None],
    ) -> None:
        produce = producer.produce
        for key, value in records.items():
            while True:
                try:
                    produce(topic, value, key, partition)
                except BufferError:  # librdkafka's queue is full
                    producer.poll(_QUEUE_FULL_PAUSE)
                    continue
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                        raise
                    self._throttled.warning("row too large for the state topic", bytes=len(key))
                break

    def _until_known(self, call: Callable[[float], None]) -> None:
        """Call until it succeeds, or fails in a way that repeating it would not mend.

        After the duration of the lease the brokers have ended the transaction.
        """
        give_up_at = time.monotonic() + max(self._lease.seconds, _LAST_RETRY)
        while True:
            self._called_at = time.monotonic()
            try:
                call(_LAST_RETRY)
            except KafkaException as error:
                is_over = self._stopping or time.monotonic() >= give_up_at
                if is_over or not error.args[0].retriable():
                    raise
            else:
                return
            finally:
                self._called_at = None

    def _failed(self, work: Work, error: KafkaError) -> None:
        self._ledger.failed(work)
        is_fenced = error.code() in _FENCED
        if error.code() in _EXPELLED:
            self._lease.end()
        if error.txn_requires_abort():
            self._counts.failures["fenced" if is_fenced else "aborted"] += 1
            self._abort()
        else:
            # Fatal: a broker has ended the transaction after its time limit, or another producer
            # has the same transactional ID. Errors of no kind count as fatal (librdkafka).
            self._drop_producer()
        # A topic that may not be written to is not named by the error.
        topics = [self._topics.state]
        if any(unwritten.global_records for _, unwritten in work.changed):
            topics.append(self._topics.global_state)
        self._report(error, topics, "a transaction was aborted; its rows are written again")

    def _abort(self) -> None:
        producer = self._producer
        assert producer is not None  # noqa: S101 - see `_attempt`
        try:
            self._until_known(producer.abort_transaction)
        except KafkaException:
            self._drop_producer()

    def _drop_producer(self) -> None:
        self._counts.failures["replaced"] += 1
        self._producer = None

    def _report(self, error: KafkaError, topics: Iterable[str | None], what: str) -> None:
        self._retry_after = min(max(2 * self._retry_after, _FIRST_RETRY), _LAST_RETRY)
        self.failures = [TopicError(error, topic) for topic in topics]
        self._throttled.warning(what, key=error.code(), error=error.name(), detail=text_of(error))

    def _succeeded(self) -> None:
        self._retry_after = 0.0
        if self.failures:
            self.failures = ()
            self._log.info("transactions are committed again")
