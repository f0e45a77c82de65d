"""What the four topics must be, and what is wrong with those that there are.

Settings of topics are those of "Topic-Level Configs" in Kafka's documentation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from presenced.settings.kafka import KafkaSettings
from presenced.settings.values import format_duration
from presenced.sources.kafka.faults import Cause, KafkaFault, topic_missing

PARTITIONS_KEY = b'["partitions"]'
"""Key of the record in each partition of the state topic whose value is their number in decimal."""

_POLICY, _TIMESTAMPS, _RETENTION = "cleanup.policy", "message.timestamp.type", "retention.ms"
SETTINGS = (_POLICY, _TIMESTAMPS, _RETENTION)
"""The settings of a topic that are checked."""

_DAY = 86_400.0
_WEEK_MS = "604800000"
# A restart reads what is not compacted yet: at least the last segment of each partition.
_SEGMENT_BYTES = 64 * 1024 * 1024
_FEW_REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Topic:
    """One of the four topics: the key that names it, and what it must be.

    `single` topics have one partition; the others have as many as the topic of events.
    """

    key: str
    name: str
    holds: Literal["events", "state"]
    single: bool

    @property
    def required(self) -> Mapping[str, str]:
        """The settings that it must have.

        A state topic that is not only compacted would lose state. The received time of an event is
        the record's, which must be that of the broker: a producer's clock may be wrong.
        """
        if self.holds == "state":
            return {_POLICY: "compact"}
        return {_POLICY: "delete", _TIMESTAMPS: "LogAppendTime"}

    def configuration(self, replication_factor: int | None) -> dict[str, str]:
        """Return the settings to create it with."""
        config = dict(self.required)
        if self.holds == "state":
            config |= {"segment.bytes": str(_SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.2"}
        else:
            config[_RETENTION] = _WEEK_MS
        if replication_factor is not None and replication_factor >= _FEW_REPLICAS:
            # One replica may fail, and no acknowledged record is lost with another.
            config["min.insync.replicas"] = "2"
        return config


def four_topics(kafka: KafkaSettings) -> tuple[Topic, ...]:
    """Return the topics that the settings name, the state topic last."""
    return (
        Topic("kafka.topic", kafka.topic, "events", single=False),
        Topic("kafka.global_topic", kafka.global_topic, "events", single=True),
        Topic("kafka.global_state_topic", kafka.global_state_topic, "state", single=True),
        Topic("kafka.state_topic", kafka.state_topic, "state", single=False),
    )


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic of the cluster; `settings` are None if this user may not read them."""

    name: str
    partitions: int
    settings: Mapping[str, str] | None

    @property
    def retention(self) -> float | None:
        """How long records are kept, in seconds; None if for ever, or if it is not known."""
        kept = (self.settings or {}).get(_RETENTION, "-1")
        return int(kept) / 1000 if int(kept) >= 0 else None


Found = Mapping[str, FoundTopic]
"""The topics that exist, by name."""


class TopicCheck:
    """Compares the topics of a cluster with what they must be.

    `recorded` is the number of partitions with which the state was begun, None if there is no
    state; `wanted` that which the operator wants, None if it is open.
    """

    def __init__(
        self, kafka: KafkaSettings, found: Found, recorded: int | None, wanted: int | None = None
    ) -> None:
        self._kafka = kafka
        self._found = found
        self._recorded = recorded
        self._wanted = wanted

    @property
    def partitions(self) -> int | None:
        """The number of partitions that topic and state topic must have; None if it is open."""
        names = (self._kafka.topic, self._kafka.state_topic)
        there = next((self._found[name] for name in names if name in self._found), None)
        return self._recorded or self._wanted or (there.partitions if there else None)

    def conflict(self) -> list[KafkaFault]:
        """Return what is wrong with the number of partitions that the operator wants."""
        number = self.partitions
        if self._wanted is None or number == self._wanted:
            return []
        state = self._kafka.state_topic
        return [
            KafkaFault(
                Cause.TOPIC_WRONG,
                f"the state in {state} was begun with {number} partitions, not {self._wanted}",
                f"Use --partitions {number}",
            )
        ]

    def faults(self, topic: Topic) -> list[KafkaFault]:
        """Return everything that is wrong with one of the topics."""
        found = self._found.get(topic.name)
        if found is None:
            return [topic_missing(topic.name)]
        return [*self._partition_faults(topic, found), *self._setting_faults(topic, found)]

    def _partition_faults(self, topic: Topic, found: FoundTopic) -> Iterator[KafkaFault]:
        if topic.single:
            if found.partitions != 1:
                yield _wrong(
                    topic, f"has {found.partitions} partitions instead of 1", _new_topic(topic)
                )
            return
        if (must := self.partitions) is None or found.partitions == must:
            return
        has = f"has {found.partitions} partitions instead of {must}"
        if self._recorded is not None:
            why = (
                f"{has}, with which the state in {self._kafka.state_topic} was begun: clients would"
                " be in other partitions than their state"
            )
            remedy = (
                "The number of partitions cannot change. Name new topics in kafka.topic and"
                " kafka.state_topic, and send the events there"
            )
        elif self._wanted is not None:
            why, remedy = has, f"Use --partitions {found.partitions}, or {_new_topic(topic)}"
        else:
            why = f"{has}, the number of {self._kafka.topic}"
            remedy = _new_topic(topic)
        yield _wrong(topic, why, remedy)

    def _setting_faults(self, topic: Topic, found: FoundTopic) -> Iterator[KafkaFault]:
        for name, must in topic.required.items():
            has = (found.settings or {}).get(name, must)
            if has == must:
                continue
            # Compaction leaves one event of each client: what it has removed is lost.
            lost = topic.holds == "events" and "compact" in has
            change = (
                f"Set it with `kafka-configs.sh --bootstrap-server"
                f" {','.join(self._kafka.bootstrap_servers)} --alter --entity-type topics"
                f" --entity-name {topic.name} --add-config {name}={must}`"
            )
            more = "; events that were compacted away are lost" if lost else ""
            yield _wrong(topic, f"has {name}={has}, which must be {must}", change + more)

    def warnings(self, topic: Topic) -> list[KafkaFault]:
        """Return what may become a problem."""
        found = self._found.get(topic.name)
        kept = found.retention if found and topic.holds == "events" else None
        if kept is None or kept >= _DAY:
            return []
        return [
            _wrong(
                topic,
                f"keeps events for {format_duration(kept)}: those of a longer outage of all workers"
                " are lost",
                f"Raise its {_RETENTION} to some days",
            )
        ]


def describe(topic: Topic, found: FoundTopic) -> str:
    """Return what is right about a topic, for people."""
    count = f"{found.partitions} partition{'' if found.partitions == 1 else 's'}"
    if topic.holds == "state":
        return f"{count}, compacted"
    kept = found.retention
    return f"{count}, {f'kept for {format_duration(kept)}' if kept else 'kept'}"


def _wrong(topic: Topic, why: str, remedy: str) -> KafkaFault:
    return KafkaFault(Cause.TOPIC_WRONG, f"the topic {topic.name} {why}", remedy)


def _new_topic(topic: Topic) -> str:
    return f"delete it if nothing needs it, or name another one in {topic.key}"
