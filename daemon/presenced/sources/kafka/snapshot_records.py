"""The records of snapshots that workers write into the topic of events, beside those of the rules.

Their value is a JSON object, whose field `record` names what it is, and the header `presenced` has
the version of this format. The topic of an event comes before headers: a record that has one in its
value, as rules write them, is never taken for one of these.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from presenced.aws.answers import Connectivity, ThingRow
from presenced.events.model import Rejected, RejectionReason
from presenced.events.payloads import MAX_NAME, MAX_TIMESTAMP, is_name

HEADER, VERSION = "presenced", b"1"
"""The header of the records, and its value."""

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_TIMESTAMP / 1000)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
_MAX_ITEMS = 1000


class _Record(msgspec.Struct, tag_field="record", frozen=True, omit_defaults=True):
    """A record, of a kind that its tag names."""


class SnapshotBegin(_Record, tag="begin", frozen=True, kw_only=True):
    """A snapshot begins: nothing of it has been asked for yet. In every partition.

    `snapshot` is when it began, in milliseconds since the epoch; no two have the same.
    """

    snapshot: _Milliseconds


class SnapshotRow(_Record, tag="row", frozen=True, kw_only=True):
    """A thing, in the partition of its name; `asked` is when its page was asked for, in seconds.

    `timestamp` is that of `connected` in milliseconds, None if it is not known; `connected` is None
    if the index has no connectivity of it. Without `has_registry` nothing is said of its type,
    groups and attributes.
    """

    snapshot: _Milliseconds
    asked: _Seconds
    settles: bool = False
    name: _Name
    connected: bool | None = None
    timestamp: _Milliseconds | None = None
    reason: _Text | None = None
    has_registry: bool = False
    thing_id: _Text | None = None
    thing_type: _Text | None = None
    groups: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=_MAX_ITEMS)] = ()
    attributes: Annotated[dict[_Text, str], msgspec.Meta(max_length=_MAX_ITEMS)] = {}

    @property
    def thing(self) -> ThingRow:
        """The row as AWS's answer had it."""
        seen = None
        if self.connected is not None:
            seen = Connectivity(self.connected, self.timestamp, self.reason)
        return ThingRow(
            self.name, self.thing_id, self.thing_type, self.groups, self.attributes, seen
        )


class SnapshotEnd(_Record, tag="end", frozen=True, kw_only=True):
    """A snapshot is complete: its last row is before this. In every partition.

    `ended` is when, in seconds; `things` is how many rows there are in all partitions. It `settled`
    if it could, by its time and by the state of the index.
    """

    snapshot: _Milliseconds
    ended: _Seconds
    things: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    settled: bool


class GapReport(_Record, tag="gap", frozen=True, kw_only=True):
    """Events were lost in a partition, until `at`, in seconds. In the partition 0."""

    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    at: _Seconds


Record = SnapshotBegin | SnapshotRow | SnapshotEnd | GapReport

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
MAX_SIZE = 1024 * 1024
"""The largest record in bytes: more than Kafka takes by default."""


def row_of(snapshot: int, thing: ThingRow, *, asked: float, settles: bool, registry: bool) -> bytes:
    """Return the value of the record of a thing; `registry` is whether to say what the thing is."""
    seen = thing.connectivity
    row = SnapshotRow(
        snapshot=snapshot,
        asked=asked,
        settles=settles,
        name=thing.name,
        connected=seen.connected if seen else None,
        timestamp=seen.timestamp if seen else None,
        reason=seen.reason if seen else None,
        has_registry=registry,
        thing_id=thing.thing_id if registry else None,
        thing_type=thing.thing_type if registry else None,
        groups=thing.groups if registry else (),
        attributes=dict(thing.attributes) if registry else {},
    )
    return encode(row)


def encode(record: Record) -> bytes:
    """Return the value of a record."""
    return _encoder.encode(record)


def is_snapshot(headers: Mapping[str, object]) -> bool:
    """Return whether the headers of a record without topic are those of these records."""
    return HEADER in headers


def decode(value: bytes) -> Record:
    """Decode the value of a record. Raises Rejected, whatever the bytes are, and nothing else."""
    if len(value) > MAX_SIZE:
        raise Rejected(RejectionReason.TOO_LARGE, f"{len(value)} bytes")
    try:
        record = _decoder.decode(value)
    except msgspec.ValidationError as error:
        raise Rejected(RejectionReason.INVALID_PAYLOAD, str(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Rejected(RejectionReason.MALFORMED_JSON, "not JSON") from None
    if isinstance(record, SnapshotRow) and not all(map(is_name, (record.name, *record.groups))):
        raise Rejected(RejectionReason.INVALID_PAYLOAD, "a name contains U+0000")
    return record
