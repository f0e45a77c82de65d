"""From a record of a topic of events to the message of its event."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Message as Record

from presenced.events.message import Message
from presenced.sources.kafka.snapshot_records import is_snapshot
from presenced.sources.records import TOPIC_HEADER, UnreadableRecordError, read_record


def written_at(record: Record) -> float:
    """Return when the broker wrote a record, by its clock, in seconds since the epoch."""
    return record.timestamp()[1] / 1000


def message_of(record: Record, wall: float, offset: float, ahead: float = 0.0) -> Message:
    """Return a record as a message, received when it entered the topic, but not after `wall`.

    `offset` turns wall-clock time into monotonic time. `ahead` is how far this machine's clock is
    ahead of the broker's, for the moment that deadlines run from.
    """
    value = record.value() or b""
    snapshot = False
    try:
        topic, payload = read_record(value)
    except UnreadableRecordError:
        headers: Mapping[str, Any] = dict(record.headers() or ())
        snapshot = is_snapshot(headers)
        topic, payload = ("", value) if snapshot else _read_with_header(headers, value)
    written = written_at(record)
    if written <= 0:
        written, ahead = wall, 0.0
    at: int = record.offset()  # type: ignore[assignment]
    received, moment = min(written, wall), min(written + ahead, wall) + offset
    return Message(topic, payload, 1, received, moment, offset=at, is_snapshot=snapshot)


def _read_with_header(headers: Mapping[str, Any], value: bytes) -> tuple[str, bytes]:
    """Read a record whose topic is in a header; without topic it is rejected, and counted."""
    try:
        return read_record(value, (headers.get(TOPIC_HEADER) or b"").decode())
    except (UnreadableRecordError, UnicodeError):
        return "", value
