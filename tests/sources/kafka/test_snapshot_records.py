"""The records of snapshots: what is written is read, and nothing else does harm."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.aws.answers import Connectivity, ThingRow
from presenced.events.model import Rejected, RejectionReason
from presenced.sources.kafka.snapshot_records import (
    MAX_SIZE,
    GapReport,
    Record,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotRow,
    decode,
    encode,
    row_of,
)

NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
TIME = st.integers(0, 253_402_300_799_999)
SECONDS = st.floats(0, 253_402_300_799)
THING = st.builds(
    ThingRow,
    NAME,
    st.none() | NAME,
    st.none() | NAME,
    st.lists(NAME, max_size=5).map(tuple),
    st.dictionaries(NAME, NAME, max_size=5),
    st.none() | st.builds(Connectivity, st.booleans(), st.none() | TIME, st.none() | NAME),
)
MARK = (
    st.builds(SnapshotBegin, snapshot=TIME)
    | st.builds(
        SnapshotEnd,
        snapshot=TIME,
        ended=SECONDS,
        things=st.integers(0, 2**53),
        settled=st.booleans(),
    )
    | st.builds(GapReport, partition=st.integers(0, 2**31), at=SECONDS)
)


@given(TIME, THING, SECONDS, st.booleans())
def test_a_row_is_read_as_it_was_written(
    snapshot: int, thing: ThingRow, asked: float, settles: bool
) -> None:
    record = decode(row_of(snapshot, thing, asked=asked, settles=settles, registry=True))
    assert isinstance(record, SnapshotRow)
    assert (record.snapshot, record.asked, record.settles) == (snapshot, asked, settles)
    assert record.has_registry
    assert record.thing == thing


@given(TIME, THING)
def test_without_registry_a_row_says_only_who_is_connected(snapshot: int, thing: ThingRow) -> None:
    record = decode(row_of(snapshot, thing, asked=1.0, settles=True, registry=False))
    assert isinstance(record, SnapshotRow)
    assert not record.has_registry
    assert record.thing == ThingRow(thing.name, None, None, (), {}, thing.connectivity)


@given(MARK)
def test_marks_are_read_as_they_were_written(record: Record) -> None:
    assert decode(encode(record)) == record


@given(st.binary() | st.recursive(st.none() | NAME | TIME, st.lists).map(msgspec.json.encode))
def test_other_bytes_are_rejected(value: bytes) -> None:
    with pytest.raises(Rejected):
        decode(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", RejectionReason.MALFORMED_JSON),
        (b'{"record":"row","snapshot":1,"asked":1,"name":"\xff"}', RejectionReason.MALFORMED_JSON),
        (b"[" * 100_000, RejectionReason.INVALID_PAYLOAD),
        (b'{"record":"later"}', RejectionReason.INVALID_PAYLOAD),
        (b'{"record":"row","snapshot":1,"asked":1}', RejectionReason.INVALID_PAYLOAD),
        (b'{"record":"row","snapshot":1,"asked":1,"name":""}', RejectionReason.INVALID_PAYLOAD),
        (b'{"record":"row","snapshot":1,"asked":-1,"name":"a"}', RejectionReason.INVALID_PAYLOAD),
        (
            b'{"record":"row","snapshot":1,"asked":1,"name":"a\\u0000"}',
            RejectionReason.INVALID_PAYLOAD,
        ),
        (b'{"record":"begin","snapshot":1e400}', RejectionReason.INVALID_PAYLOAD),
        (b" " * (MAX_SIZE + 1), RejectionReason.TOO_LARGE),
    ],
)
def test_what_is_wrong_with_a_record_is_counted(value: bytes, reason: RejectionReason) -> None:
    with pytest.raises(Rejected) as caught:
        decode(value)
    assert caught.value.reason is reason
