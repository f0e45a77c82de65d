"""Codes of librdkafka that have no public name in Python."""

from confluent_kafka import KafkaError

PARTITION_END: int = KafkaError._PARTITION_EOF  # noqa: SLF001
"""No error: all that can be read of a partition has been read."""

OUT_OF_RANGE: int = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
"""The record at an offset does not exist, or does not exist any more."""

UNSUPPORTED: frozenset[int] = frozenset(
    {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION}  # noqa: SLF001
)
"""The brokers do not know a protocol."""
