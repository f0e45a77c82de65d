"""From a record of a topic of events to the message of its event."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Message as Record

from presenced.events.message import Message
from presenced.sources.kafka.snapshot_records import is_snapshot
from presenced.sources.records import TOPIC_HEADER, UnreadableRecordError, read_record


def message_of(record: Record, wall: float, offset: float) -> Message:
    """Return a record as a message, received when it entered the topic, but not after `wall`.

    `offset` turns wall-clock time into monotonic time.
    """
    value = record.value() or b""
    snapshot = False
    try:
        topic, payload = read_record(value)
    except UnreadableRecordError:
        headers: Mapping[str, Any] = dict(record.headers() or ())
        snapshot = is_snapshot(headers)
        topic, payload = ("", value) if snapshot else _read_with_header(headers, value)
    received = record.timestamp()[1] / 1000
    if received > wall or received <= 0:
        received = wall
    at: int = record.offset()  # type: ignore[assignment]
    return Message(topic, payload, 1, received, received + offset, offset=at, is_snapshot=snapshot)


def _read_with_header(headers: Mapping[str, Any], value: bytes) -> tuple[str, bytes]:
    """Read a record whose topic is in a header; without topic it is rejected, and counted."""
    try:
        return read_record(value, (headers.get(TOPIC_HEADER) or b"").decode())
    except (UnreadableRecordError, UnicodeError):
        return "", value
