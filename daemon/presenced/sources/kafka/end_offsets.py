"""Ask Kafka where partitions end, and which topics there are."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ListOffsetsResultInfo,
    OffsetSpec,
)

from presenced.sources.kafka.errors import FAILED
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.sources.kafka.worker_config import WorkerTopics

_TIMEOUT = 10.0

Answer = Callable[[dict[int, int], KafkaException | None], None]
"""Gets the ends by partition, and the last error of the others; called in any thread."""


class EndOffsets:
    """Asks for the offsets at which partitions end; `config` is that of librdkafka.

    After an error it asks with a new client: one whose broker has crashed keeps the epoch of the
    former leader, and is refused from then on (FENCED_LEADER_EPOCH). Clients are made and dropped
    in threads: the first may wait for a token that the event loop makes, the second for connections
    to end. `timeout` is that of a request, in seconds.
    """

    def __init__(self, config: Mapping[str, Any], timeout: float = _TIMEOUT) -> None:
        self._config = config
        self._timeout = timeout
        self._client: AdminClient | None = None
        self._unanswered: set[Future[Any]] = set()
        self._has_failed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop the client."""
        threading.Thread(target=self._close, name="kafka ends", daemon=True).start()

    def _close(self) -> None:
        with self._lock:
            self._retire()

    def _retire(self) -> None:
        """Drop the client once it has answered all requests; called with the lock."""
        last = self._client, self._unanswered, 2 * self._timeout
        self._client, self._unanswered = None, set()
        threading.Thread(target=_outlast, args=last, name="kafka ends", daemon=True).start()

    def of_partition(self, topic: str, partition: int) -> int:
        """Return the end of a partition, behind all that has been written to it.

        That is also behind open transactions, unlike the end that `ask` tells. Blocks; raises
        KafkaException.
        """
        (future,) = self._list(topic, [partition], IsolationLevel.READ_UNCOMMITTED).values()
        try:
            result: ListOffsetsResultInfo = future.result()
        except KafkaException:
            self._has_failed = True
            raise
        return result.offset

    def topic_ids(self, topics: WorkerTopics, timeout: float | None = None) -> TopicIds:
        """Return the IDs of the four topics. Blocks; raises KafkaException if one is missing.

        `timeout` is that of this request.
        """
        with self._lock:
            answers = self._usable_client().describe_topics(
                TopicCollection([*topics]), request_timeout=timeout or self._timeout
            )
            self._keep(answers.values())
        try:
            events, state, global_events, global_state = (
                str(answers[name].result().topic_id) for name in topics
            )
        except KafkaException:
            self._has_failed = True
            raise
        return TopicIds(events, state, global_events, global_state)

    def ask(self, topic: str, partitions: Iterable[int], answer: Answer) -> None:
        """Ask for the ends of partitions, up to which there is something to read now.

        It does not block.
        """
        ask = partial(self._ask, topic, list(partitions), answer)
        threading.Thread(target=ask, name="kafka ends", daemon=True).start()

    def _ask(self, topic: str, partitions: Sequence[int], answer: Answer) -> None:
        try:
            futures = self._list(topic, partitions, IsolationLevel.READ_COMMITTED)
        except KafkaException as error:
            self._has_failed = True
            answer({}, error)
            return
        except Exception as error:  # noqa: BLE001 - an answer must come
            answer({}, KafkaException(KafkaError(FAILED, type(error).__name__)))
            return
        numbers, lock = iter(range(1, len(futures) + 1)), threading.Lock()

        def done(_: Future[Any]) -> None:
            with lock:
                is_last = next(numbers) == len(futures)
            if is_last:
                ends, failure = _collected(futures)
                # The client must not be replaced here: this is its own thread.
                self._has_failed |= failure is not None
                answer(ends, failure)

        for future in futures.values():
            future.add_done_callback(done)

    def _list(
        self, topic: str, partitions: Iterable[int], isolation: IsolationLevel
    ) -> dict[TopicPartition, Future[Any]]:
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, number): latest for number in partitions}
        with self._lock:
            futures: dict[TopicPartition, Future[Any]] = self._usable_client().list_offsets(
                asked, isolation_level=isolation, request_timeout=self._timeout
            )
            self._keep(futures.values())
        return futures

    def _usable_client(self) -> AdminClient:
        """Return the client, another one after an error; called with the lock."""
        if self._has_failed:
            self._retire()
        if self._client is None:
            self._client = AdminClient(dict(self._config))
            self._has_failed = False
        return self._client

    def _keep(self, futures: Iterable[Future[Any]]) -> None:
        """Keep the client until it has answered; called with the lock."""
        for future in futures:
            self._unanswered.add(future)
            future.add_done_callback(self._unanswered.discard)


def _outlast(client: AdminClient | None, unanswered: set[Future[Any]], timeout: float) -> None:
    """Keep a client until it has answered, else those requests get no answer, not even an error."""
    wait(set(unanswered), timeout)
    del client


def _collected(
    futures: Mapping[TopicPartition, Future[Any]],
) -> tuple[dict[int, int], KafkaException | None]:
    ends, failure = {}, None
    for place, future in futures.items():
        error = future.exception()
        if isinstance(error, KafkaException):
            failure = error
        elif error is None:
            ends[place.partition] = future.result().offset
    return ends, failure
