"""Requests to a cluster: its topics, what this user may do with them, and the state of the group.

All methods block, for about 10 seconds at most each, and raise KafkaFaultError.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from presenced.settings.kafka import KafkaSettings
from presenced.settings.values import host_port
from presenced.sources.kafka.client_config import reader_config
from presenced.sources.kafka.errors import PARTITION_END
from presenced.sources.kafka.faults import Cause, KafkaFaultError, topic_missing
from presenced.sources.kafka.library_errors import ConnectionErrors, error_of
from presenced.sources.kafka.permissions import transactional_id
from presenced.sources.kafka.topics import (
    PARTITIONS_KEY,
    SETTINGS,
    FoundTopic,
    Topic,
)

T = TypeVar("T")

_TIMEOUT = 10.0
# How long a connection is tried; in this time each broker is tried several times.
_CONNECT_TIMEOUT, _CONNECT_SLICE = 5.0, 1.0
_FINAL = (Cause.AUTHENTICATION, Cause.TLS_CLIENT_CERTIFICATE, Cause.TLS_SERVER_CERTIFICATE)
_RETRY_AFTER = 0.2
# The coordinator of a group is still being chosen, or reads its groups.
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
# Brokers that do not know this kind of resource answer for an unknown one, which librdkafka cannot
# parse (Kafka 2.5), or refuse the request (3.9).
_NO_GROUP_SETTINGS = (
    KafkaError.INVALID_REQUEST,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._BAD_MSG,  # noqa: SLF001 - the public name of a local error
)
_SESSION = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms")
_MEMBER = "doctor"


@dataclass(frozen=True, slots=True)
class GroupState:
    """The consumer group: its state as Kafka names it, and how many workers are members.

    `operations` are those that this user may do with it, by the names of `kafka-acls`.
    """

    state: str
    members: int
    operations: frozenset[str] | None


class TopicState(NamedTuple):
    """The ID of a topic, and how many partitions it has."""

    id: str
    partitions: int


class GroupSession(NamedTuple):
    """When the brokers take a worker for gone, in seconds, with the protocol `consumer`."""

    timeout: float
    heartbeat_interval: float


class Cluster:
    """A client of a cluster that joins no group.

    `make_config` returns the configuration of librdkafka, `config`, that has the given callback for
    errors. `region` is that of a cluster of Amazon MSK.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        make_config: Callable[[Callable[[KafkaError], None]], Mapping[str, Any]],
        region: str | None,
    ) -> None:
        self._kafka = kafka
        self.errors = ConnectionErrors(kafka, region)
        self.config = make_config(self.errors.report)
        self._admin: AdminClient | None = None
        self._opened = contextlib.ExitStack()
        with self._faults():
            self._admin = self._opened.enter_context(AdminClient(dict(self.config)))

    @property
    def _client(self) -> AdminClient:
        assert self._admin is not None  # noqa: S101 - else it could not be made
        return self._admin

    def close(self) -> None:
        """Disconnect. After an error, references in a cycle would keep the client connected."""
        self._opened.close()

    def connect(self) -> list[str]:
        """Ask for the brokers, and return the addresses that the cluster gives to its clients."""
        deadline = time.monotonic() + _CONNECT_TIMEOUT
        while True:
            try:
                with self._faults():
                    metadata = self._client.list_topics(timeout=_CONNECT_SLICE)
                    break
            except KafkaFaultError as error:
                # The library tries again for as long as it is asked.
                if error.fault.reason in _FINAL or time.monotonic() >= deadline:
                    raise
        brokers = metadata.brokers.values()
        return [host_port(str(each.host), each.port) for each in brokers]

    def find(self, topic: str) -> FoundTopic | None:
        """Return a topic, None if it does not exist."""
        try:
            partitions = len(self._describe(topic).partitions)
        except _MissingTopicError:
            return None
        return FoundTopic(topic, partitions, self._settings(topic))

    def topic_operations(self, topic: str) -> frozenset[str] | None:
        """Return what this user may do with a topic; None if the cluster does not say."""
        return _names(self._describe(topic).authorized_operations)

    def _describe(self, topic: str) -> Any:
        collection = TopicCollection([topic])
        with self._faults(topic):
            return _result(
                self._client.describe_topics(
                    collection, include_authorized_operations=True, request_timeout=_TIMEOUT
                )[topic]
            )

    def topics(self, names: Iterable[str]) -> dict[str, TopicState]:
        """Return the ID and the number of partitions of topics, without those that do not exist."""
        found: dict[str, TopicState] = {}
        with self._faults():
            asked = TopicCollection(list(names))
            answers = self._client.describe_topics(asked, request_timeout=_TIMEOUT)
            for name, answer in answers.items():
                try:
                    topic = _result(answer)
                    found[name] = TopicState(str(topic.topic_id), len(topic.partitions))
                except KafkaException as error:
                    if error_of(error).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
        return found

    def _settings(self, topic: str) -> dict[str, str] | None:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            with self._faults(topic):
                answers = self._client.describe_configs([resource], request_timeout=_TIMEOUT)
                entries = _result(answers[resource])
        except KafkaFaultError as error:
            if error.fault.reason is Cause.DENIED:
                return None
            raise
        return {name: entries[name].value for name in SETTINGS if name in entries}

    def ends(self, found: FoundTopic) -> list[int]:
        """Return the offset of the end of each partition, as its leader tells it."""
        return self._offsets(found, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def offsets_since(self, found: FoundTopic, time: float) -> list[int]:
        """Return the offset of the first record of each partition from a time on, else of the end.

        The time is in seconds since the epoch.
        """
        later = self._offsets(found, OffsetSpec.for_timestamp(round(time * 1000)))
        if min(later, default=0) >= 0:
            return later
        ends = self.ends(found)
        return [offset if offset >= 0 else end for offset, end in zip(later, ends, strict=True)]

    def _offsets(self, found: FoundTopic, spec: OffsetSpec) -> list[int]:
        """Return the offset of each partition that fits, -1 if there is none."""
        wanted = {TopicPartition(found.name, number): spec for number in range(found.partitions)}
        with self._faults(found.name):
            answers = self._client.list_offsets(wanted, request_timeout=_TIMEOUT)
            return [_result(answers[place]).offset for place in wanted]

    def group(self) -> GroupState:
        """Return the state of the consumer group."""
        with self._faults():
            group = self._describe_group(time.monotonic() + _TIMEOUT)
        return GroupState(
            group.state.name.lower(), len(group.members), _names(group.authorized_operations)
        )

    def _describe_group(self, deadline: float) -> Any:
        name = self._kafka.group
        while True:
            answer = self._client.describe_consumer_groups(
                [name], include_authorized_operations=True, request_timeout=_TIMEOUT
            )[name]
            try:
                return _result(answer)
            except KafkaException as error:
                waits = error_of(error).code() in _NO_COORDINATOR_YET
                if not waits or time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_AFTER)

    def group_session(self) -> GroupSession | None:
        """Return the brokers' settings for the group; None before Kafka 4.0, which has none."""
        resource = ConfigResource(ResourceType.GROUP, self._kafka.group)
        with self._faults():
            answers = self._client.describe_configs([resource], request_timeout=_TIMEOUT)
            try:
                entries = _result(answers[resource])
            except KafkaException as error:
                if error_of(error).code() not in _NO_GROUP_SETTINGS:
                    raise
                return None
        values = [entries[name].value for name in _SESSION if name in entries]
        return GroupSession(*(int(value) / 1000 for value in values)) if len(values) > 1 else None

    def try_transactions(self) -> None:
        """Register a transactional ID of the group, and write nothing."""
        config = {
            **self.config,
            "transactional.id": transactional_id(self._kafka, _MEMBER),
            # The library would log that the producer cannot go on.
            "log_level": 0,
        }
        with self._faults():
            Producer(config).init_transactions(_TIMEOUT)

    def create(self, topic: Topic, partitions: int, replication_factor: int | None) -> bool:
        """Create a topic; return False if it exists already.

        Without a replication factor it has that of the cluster.
        """
        new = NewTopic(
            topic.name,
            num_partitions=1 if topic.single else partitions,
            replication_factor=-1 if replication_factor is None else replication_factor,
            config=topic.configuration(replication_factor),
        )
        with self._faults(topic.name):
            try:
                _result(self._client.create_topics([new], request_timeout=_TIMEOUT)[topic.name])
            except KafkaException as error:
                if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                return False
        return True

    def recorded_partitions(self) -> int | None:
        """Return the number of partitions that the state topic says; None if it says none.

        It is the first record of a partition, or soon after, unless a worker wrote it later.
        """
        where = TopicPartition(self._kafka.state_topic, 0, 0)
        with self._faults(self._kafka.state_topic), self._reader() as consumer:
            begin, end = consumer.get_watermark_offsets(where, timeout=_TIMEOUT)
            where.offset = begin
            consumer.assign([where])
            while begin < end:
                message = consumer.poll(_TIMEOUT)
                if message is None:
                    raise KafkaException(_timed_out())
                if problem := message.error():
                    # The end of a transaction has an offset, but is no message.
                    if problem.code() == PARTITION_END:
                        break
                    raise KafkaException(problem)
                if message.key() == PARTITIONS_KEY and (value := message.value()):
                    return int(value)
        return None

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Consumer]:
        """Yield a consumer that is assigned partitions, and joins no group."""
        config = {**reader_config(self._kafka, self.config), "enable.partition.eof": True}
        consumer = Consumer(config)
        try:
            yield consumer
        finally:
            consumer.close()

    def record_partitions(self, number: int) -> None:
        """Write the number of partitions into each partition of the state topic."""
        failed: list[KafkaError] = []
        topic = self._kafka.state_topic
        with self._faults(topic):
            producer = Producer({**self.config, "acks": "all"})
            for partition in range(number):
                producer.produce(
                    topic,
                    str(number).encode(),
                    PARTITIONS_KEY,
                    partition,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
            left = producer.flush(_TIMEOUT)
            if failed or left:
                raise KafkaException(failed[0] if failed else _timed_out())

    @contextlib.contextmanager
    def _faults(self, topic: str | None = None) -> Iterator[None]:
        """Raise the errors of the library as faults."""
        try:
            yield
        except (KafkaException, KafkaError) as raised:  # type: ignore[misc]
            error = raised if isinstance(raised, KafkaError) else error_of(raised)
        except TimeoutError:
            error = _timed_out()
        else:
            return
        if self._admin is not None:
            self._admin.poll(0)  # errors of connections are reported when a client is polled
        if topic and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise _MissingTopicError(topic)
        raise KafkaFaultError(self.errors.explain(error, topic))


class _MissingTopicError(KafkaFaultError):
    def __init__(self, topic: str) -> None:
        super().__init__(topic_missing(topic))


def _timed_out() -> KafkaError:
    return KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - the public name of a local error


def _result(future: "Future[T]") -> T:
    return future.result(_TIMEOUT + 1)


def _names(operations: list[AclOperation] | None) -> frozenset[str] | None:
    """Return operations by the names that `kafka-acls` gives them; None if there are none."""
    if not operations:
        return None
    return frozenset(each.name.title().replace("_", "") for each in operations)
