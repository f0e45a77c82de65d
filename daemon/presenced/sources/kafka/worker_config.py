"""The configurations of librdkafka for the clients of a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.client_config import reader_config
from presenced.sources.kafka.permissions import transactional_id

Protocol = Literal["consumer", "classic"]
"""The protocol of the group: KIP-848 with Kafka 4.0 or later, else the one before it."""

_ID = uuid4().hex
_MAX_POLL_INTERVAL = 60.0
_FETCH_QUEUE_KB = 16_384
_RESTORE_QUEUE_KB = 65_536


class WorkerTopics(NamedTuple):
    """The names of the topics; the global ones have one partition."""

    events: str
    state: str
    global_events: str
    global_state: str


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of each client of a worker, with its secrets, and the topics.

    `restorer` reads the state topic, `global_reader` the two global topics.
    """

    consumer: Mapping[str, Any] = field(repr=False)
    restorer: Mapping[str, Any] = field(repr=False)
    producer: Mapping[str, Any] = field(repr=False)
    admin: Mapping[str, Any] = field(repr=False)
    global_reader: Mapping[str, Any] = field(repr=False)
    topics: WorkerTopics


def worker_config(
    kafka: KafkaSettings, connection: Mapping[str, Any], protocol: Protocol
) -> WorkerConfig:
    """Return the configurations; `connection` is what they share, addresses and security.

    A partition moves when the session of its owner times out, and is shown for as long as the lease
    lasts, so the session lasts longer. With `consumer` its timeout is the brokers' (see
    `lease_limit`).
    """
    reader = {**reader_config(kafka, connection), "enable.partition.eof": True}
    membership: dict[str, Any] = {"group.protocol": protocol}
    session = _milliseconds(2 * kafka.lease)
    if protocol == "classic":
        membership |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session,
            "heartbeat.interval.ms": _milliseconds(kafka.lease / 5),
        }
    if kafka.instance_id is not None:
        membership["group.instance.id"] = kafka.instance_id
    return WorkerConfig(
        consumer={
            **reader,
            **membership,
            "auto.offset.reset": "error",
            "max.poll.interval.ms": max(_milliseconds(_MAX_POLL_INTERVAL), session),
            "queued.max.messages.kbytes": _FETCH_QUEUE_KB,
            "fetch.wait.max.ms": 100,
        },
        restorer={
            **reader,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": _RESTORE_QUEUE_KB,
            # A fetch that finds nothing more reports the end of the partition.
            "fetch.wait.max.ms": 10,
        },
        producer={
            **connection,
            # The same after a restart, if possible: Kafka then ends a transaction that was left.
            "transactional.id": transactional_id(kafka, kafka.instance_id or _ID),
            "transaction.timeout.ms": _milliseconds(kafka.lease),
            "linger.ms": 5,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
        },
        admin=connection,
        global_reader={
            **reader,
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": _FETCH_QUEUE_KB,
        },
        topics=WorkerTopics(
            kafka.topic, kafka.state_topic, kafka.global_topic, kafka.global_state_topic
        ),
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def events_producer(connection: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of a producer of records of our own in the topic of events."""
    return {
        **connection,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
    }
