"""The topics as the brokers have them."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

_TIMEOUT = 10.0


class TopicsError(Exception):
    """A topic is missing, or does not fit the others; the text says what to do."""


def partitions_of(config: Mapping[str, Any], topic: str, state_topic: str) -> int:
    """Return how many partitions the topic of events has, and the topic of the state too.

    Blocks; raises TopicsError and KafkaException.
    """
    client = AdminClient(dict(config))
    counts = [_count(client, name) for name in (topic, state_topic)]
    if counts[0] != counts[1]:
        raise TopicsError(
            f"the topic {topic} has {counts[0]} partitions, and {state_topic} {counts[1]}: they "
            "must have as many; make new topics with `presenced kafka create-topics`"
        )
    return counts[0]


def _count(client: AdminClient, topic: str) -> int:
    metadata = client.list_topics(topic, _TIMEOUT).topics[topic]
    if metadata.error is not None or not metadata.partitions:
        reason = metadata.error.str() if metadata.error is not None else "it has no partitions"
        raise TopicsError(
            f"the topic {topic} cannot be used ({reason}): make it with `presenced kafka "
            "create-topics`, and let presenced read it"
        )
    return len(metadata.partitions)
