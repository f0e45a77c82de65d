"""What a worker asks its cluster before it joins the group, and again while it is a member."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from presenced.settings import format_duration
from presenced.settings.kafka import KafkaSettings
from presenced.sources.kafka.cluster import Cluster, GroupSession, TopicState
from presenced.sources.kafka.faults import Cause, KafkaFault, KafkaFaultError, topic_missing
from presenced.sources.kafka.topic_ids import TopicIds
from presenced.sources.kafka.topics import TopicCheck, four_topics
from presenced.sources.kafka.worker_config import Protocol

# Of group.consumer.session.timeout.ms and group.consumer.heartbeat.interval.ms.
_DEFAULT_SESSION: GroupSession | None = GroupSession(45.0, 5.0)


def _partitions_of(cluster: Cluster, kafka: KafkaSettings) -> int:
    """Return how many partitions the fleet has, if all topics are what they must be.

    The number is written into the state topic, unless `create-topics` has done that. Blocks; raises
    KafkaFaultError.
    """
    number, recorded = check_topics(cluster, kafka)
    if recorded is None:
        cluster.record_partitions(number)
    return number


def check_topics(cluster: Cluster, kafka: KafkaSettings) -> tuple[int, int | None]:
    """Return the number of partitions, and the one that the state topic says, if any.

    Blocks; raises KafkaFaultError if a topic is not what it must be.
    """
    topics = four_topics(kafka)
    found = {topic.name: there for topic in topics if (there := cluster.find(topic.name))}
    recorded = cluster.recorded_partitions() if kafka.state_topic in found else None
    check = TopicCheck(kafka, found, recorded)
    for topic in topics:
        for fault in check.faults(topic):
            raise KafkaFaultError(fault)
    return found[kafka.topic].partitions, recorded


class OpenCluster(NamedTuple):
    """A client of a cluster, and what a worker must know of it to join the group."""

    cluster: Cluster
    topics: TopicIds
    partitions: int
    protocol: Protocol


def open_cluster(
    kafka: KafkaSettings, config: Mapping[str, Any], region: str | None
) -> OpenCluster:
    """Connect a client with a configuration of librdkafka, and ask for what a worker must know.

    Blocks; raises KafkaFaultError, and has disconnected the client then.
    """
    cluster = Cluster(kafka, lambda report: {**config, "error_cb": report}, region)
    try:
        partitions = _partitions_of(cluster, kafka)
        topics, protocol = _topic_ids(cluster, kafka), _group_protocol(cluster)
    except BaseException:
        cluster.close()
        raise
    return OpenCluster(cluster, topics, partitions, protocol)


class TopicLook(NamedTuple):
    """What has become of the topics of a member of the group.

    `repartitioned` are those with another number of partitions than when it joined. `fault` is what
    is wrong with the others, None if nothing is; `ids` are theirs, None if one is missing.
    """

    repartitioned: Mapping[str, int]
    fault: KafkaFault | None
    ids: TopicIds | None


def _topic_ids(cluster: Cluster, kafka: KafkaSettings) -> TopicIds:
    """Return the IDs of the topics. Blocks; raises KafkaFaultError, also if one is missing."""
    names = [topic.name for topic in four_topics(kafka)]
    found = cluster.topics(names)
    for name in names:
        if name not in found:
            raise KafkaFaultError(topic_missing(name))
    return _ids(found, kafka)


def _ids(found: Mapping[str, TopicState], kafka: KafkaSettings) -> TopicIds:
    return TopicIds(
        events=found[kafka.topic].id,
        state=found[kafka.state_topic].id,
        global_events=found[kafka.global_topic].id,
        global_state=found[kafka.global_state_topic].id,
    )


def look_at_topics(
    cluster: Cluster, kafka: KafkaSettings, partitions: int, known: TopicIds
) -> TopicLook:
    """Look whether the topics are those that are `known`, and check others.

    A new topic of events with another number of partitions counts as repartitioned. Any other new
    topic that is wrong is a fault: it can be created once more. Blocks; raises KafkaFaultError.
    """
    must = {topic.name: 1 if topic.single else partitions for topic in four_topics(kafka)}
    found = cluster.topics(must)
    former = set(known)
    changed = {
        name: topic.partitions
        for name, topic in found.items()
        if topic.partitions != must[name] and (name == kafka.topic or topic.id in former)
    }
    for name in must:
        if name not in found:
            return TopicLook(changed, topic_missing(name), None)
    ids = _ids(found, kafka)
    fault = None
    if ids != known and not changed:
        try:
            _partitions_of(cluster, kafka)
        except KafkaFaultError as error:
            if error.fault.reason not in (Cause.TOPIC_MISSING, Cause.TOPIC_WRONG):
                raise
            fault = error.fault
    return TopicLook(changed, fault, ids)


def _group_protocol(cluster: Cluster) -> Protocol:
    """Return the newest protocol that the brokers may have.

    librdkafka does not report that brokers lack the request of `consumer`, as those before Kafka
    4.0 do: it looks for another coordinator for ever. These brokers have no settings of groups
    either. Newer ones with `consumer` disabled reject the request, and librdkafka reports that.
    Blocks; raises KafkaFaultError.
    """
    try:
        return "classic" if cluster.group_session() is None else "consumer"
    except KafkaFaultError as error:
        if error.fault.reason is Cause.DENIED:
            return "consumer"
        raise


class LeaseLimit(NamedTuple):
    """How long a lease may last, in seconds, and what is wrong with `kafka.lease`, if anything.

    The group gives the partitions of a worker to another one when it has had no heartbeat from it
    for the session timeout. The lease begins at a commit, up to one interval after a heartbeat, and
    must be over by then.
    """

    seconds: float
    fault: KafkaFault | None


def lease_limit(cluster: Cluster, kafka: KafkaSettings) -> LeaseLimit:
    """Return the limit that the brokers' settings for the group make. Blocks.

    They count with the protocol `consumer`, with which a client cannot choose its session timeout
    (KIP-848). A user without permission to read them gets Kafka's defaults, which are safe:
    brokers refuse shorter session timeouts by default. Raises KafkaFaultError.
    """
    session, assumed = _DEFAULT_SESSION, ", by Kafka's defaults"
    try:
        session, assumed = cluster.group_session(), ""
    except KafkaFaultError as error:
        if error.fault.reason is not Cause.DENIED:
            raise
    if session is None:
        return LeaseLimit(kafka.lease, None)
    timeout, interval = session
    longest = timeout - interval
    if kafka.lease <= longest:
        return LeaseLimit(kafka.lease, None)
    grant = ", or grant this user DescribeConfigs on the group if it is longer" if assumed else ""
    return LeaseLimit(
        longest,
        KafkaFault(
            Cause.SESSION_SHORT,
            f"kafka.lease is {format_duration(kafka.lease)}, but the group {kafka.group} gives the"
            f" partitions of a worker away after {format_duration(timeout)} without a heartbeat, of"
            f" which there is one every {format_duration(interval)}{assumed}: the lease is"
            f" {format_duration(longest)} instead",
            f"Set kafka.lease to at most {format_duration(longest)}, or raise"
            f" group.consumer.session.timeout.ms of the brokers{grant}",
        ),
    )
