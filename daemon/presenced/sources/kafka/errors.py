"""Errors of Kafka: codes that have no public name in Python, and what an error is about."""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError

PARTITION_END: int = KafkaError._PARTITION_EOF  # noqa: SLF001
"""No error: all that can be read of a partition has been read."""

OUT_OF_RANGE: int = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
"""The record at an offset does not exist, or does not exist any more."""

TIMED_OUT: int = KafkaError._TIMED_OUT  # noqa: SLF001
"""Nothing came in time."""

FAILED: int = KafkaError._FAIL  # noqa: SLF001
"""Whatever has no code of its own."""

_FATAL: int = KafkaError._FATAL  # noqa: SLF001
_UNSUPPORTED = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001


class TopicError(NamedTuple):
    """An error, and the topic that it is about; None if that is not known."""

    error: KafkaError
    topic: str | None = None


_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        TIMED_OUT,
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)


def is_passing(error: KafkaError) -> bool:
    """Return whether an error is over once the brokers answer again; they say no more of it."""
    return error.code() in _PASSING


def is_fatal(error: KafkaError) -> bool:
    """Return whether a consumer cannot go on after an error."""
    return error.fatal() or error.code() == _FATAL


def is_unsupported(error: KafkaError) -> bool:
    """Return whether the brokers do not know what the client needs."""
    return cause_among(_UNSUPPORTED, error) is not None


def cause_among(codes: Iterable[int], error: KafkaError) -> int | None:
    """Return which of these codes an error has.

    A fatal error of a consumer has its cause in its text only (`rd_kafka_set_fatal_error0`).
    """
    for code in codes:
        if error.code() == code or KafkaError(code).str() in error.str():
            return code
    return None
