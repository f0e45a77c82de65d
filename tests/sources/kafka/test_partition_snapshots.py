"""Snapshot rows among the events of a partition, merged by the same rules in every worker."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from presenced.aws.answers import Connectivity, ThingRow
from presenced.events.message import Message
from presenced.events.model import RejectionReason
from presenced.fleet import Fleet, Partition
from presenced.pipeline import Pipeline
from presenced.presence import Client, OrderingRules, PresenceRules, State
from presenced.presence.lookups import LookupBudget
from presenced.sources.kafka.partition_snapshots import PartitionSnapshots
from presenced.sources.kafka.partitioner import partition_of
from presenced.sources.kafka.snapshot_records import (
    GapReport,
    Record,
    SnapshotBegin,
    SnapshotEnd,
    encode,
    row_of,
)

NOON = 1_700_000_000.0
T = 120.0
RULES = PresenceRules(offline_delay=0.0, ordering=OrderingRules(timestamp_accuracy=round(T * 1000)))


class Part:
    """The one partition of a fleet, and messages at times of the test."""

    def __init__(self, *, fleet: Fleet | None = None, partition: Partition | None = None) -> None:
        self.fleet = fleet or Fleet(RULES)
        self.fleet.presence.lookups.use("never", LookupBudget(100.0))
        self.snapshots = PartitionSnapshots(self.fleet, partition or Partition(0, 1))
        self.pipeline = Pipeline(self.fleet, [self.snapshots], self.snapshots)

    def hand_over(self) -> "Part":
        """The same partition in another process, which has read none of the records so far."""
        other = Part(fleet=self.fleet)
        other.snapshots.past = self.snapshots.past
        return other

    def apply(self, *messages: Message) -> None:
        """Apply messages as one batch."""
        assert self.pipeline.process(messages) == len(messages)

    def client(self, client_id: str = "a") -> Client:
        return self.fleet.presence.clients[client_id]

    @property
    def wanted(self) -> list[str]:
        """The clients that a lookup must decide about."""
        return self.fleet.presence.lookups.take(NOON)


def message(value: bytes, at: float, *, topic: str = "") -> Message:
    return Message(topic, value, 1, at, at, is_snapshot=not topic)


def event(*, connected: bool, at: float, stamped: float | None = None, version: int = 1) -> Message:
    kind = "connected" if connected else "disconnected"
    payload: dict[str, Any] = {
        "eventType": kind,
        "clientId": "a",
        "sessionIdentifier": "s",
        "versionNumber": version,
        "timestamp": round((at if stamped is None else stamped) * 1000),
    }
    topic = f"$aws/events/presence/{kind}/a"
    return message(json.dumps(payload).encode(), at, topic=topic)


def mark(record: Record, at: float) -> Message:
    return message(encode(record), at)


def begin(at: float) -> Message:
    return mark(SnapshotBegin(snapshot=round(at * 1000)), at)


def end(began: float, at: float, *, settled: bool = True) -> Message:
    record = SnapshotEnd(snapshot=round(began * 1000), ended=at, things=1, settled=settled)
    return mark(record, at)


def row(
    *,
    connected: bool,
    since: float,
    asked: float,
    at: float,
    began: float = NOON,
    settles: bool = True,
    name: str = "a",
    **thing: Any,
) -> Message:
    seen = Connectivity(connected, round(since * 1000), None if connected else "CONNECTION_LOST")
    fields = {"thing_id": None, "thing_type": None, "groups": (), "attributes": {}} | thing
    value = row_of(
        round(began * 1000),
        ThingRow(name=name, connectivity=seen, **fields),
        asked=asked,
        settles=settles,
        registry=bool(thing),
    )
    return message(value, at)


def test_an_unknown_client_is_adopted_and_verified() -> None:
    part = Part()
    part.apply(row(connected=True, since=NOON - 9, asked=NOON, at=NOON + 1))
    assert part.client().state is State.ONLINE
    assert part.client().since == NOON - 9
    assert part.fleet.presence.counts.adopted[State.ONLINE] == 1
    assert not part.fleet.presence.is_unverified(part.client())


def test_a_provisional_row_leaves_a_client_unverified() -> None:
    part = Part()
    part.apply(row(connected=True, since=NOON - 9, asked=NOON, at=NOON + 1, settles=False))
    assert part.fleet.presence.is_unverified(part.client())


def test_a_row_settles_only_gaps_that_ended_long_enough_before_its_snapshot() -> None:
    part = Part()
    part.fleet.presence.note_gap(NOON - T + 1)
    part.apply(row(connected=True, since=NOON - 9, asked=NOON, at=NOON + 1))
    assert part.fleet.presence.is_unverified(part.client())
    later = NOON + 1
    part.apply(row(connected=True, since=NOON - 9, asked=later, at=later, began=later))
    assert not part.fleet.presence.is_unverified(part.client())


def test_an_event_that_came_after_the_question_beats_the_row_in_one_batch_too() -> None:
    part = Part()
    connect = event(connected=True, at=NOON + 2)
    answer = row(connected=False, since=NOON - 9, asked=NOON + 1, at=NOON + 3)
    part.apply(begin(NOON), connect, answer)
    assert part.client().state is State.ONLINE
    assert part.wanted == []


def test_an_event_that_came_before_the_question_leads_to_a_lookup() -> None:
    part = Part()
    connect = event(connected=True, at=NOON + 0.5)
    answer = row(connected=False, since=NOON - 9, asked=NOON + 1, at=NOON + 3)
    part.apply(begin(NOON), connect, answer)
    assert part.client().state is State.ONLINE
    assert part.wanted == ["a"], "it is verified, and the row contradicts"


def test_the_moment_of_the_record_is_not_that_of_the_question() -> None:
    """The row lay in the partition, behind an event of before it was asked for."""
    part = Part()
    part.fleet.presence.note_gap(NOON - 2 * T)
    part.apply(begin(NOON), event(connected=True, at=NOON + 300))
    part.apply(row(connected=False, since=NOON - 9, asked=NOON + 1, at=NOON + 400))
    assert part.client().state is State.ONLINE
    assert part.wanted == []


def test_a_row_is_never_asked_for_later_than_it_was_written() -> None:
    part = Part()
    part.apply(begin(NOON), event(connected=True, at=NOON + 2))
    part.apply(row(connected=False, since=NOON + 5000, asked=NOON + 9999, at=NOON + 3))
    assert part.client().state is State.ONLINE


@given(
    received=st.floats(-T, T),
    late=st.floats(0, 2 * T),
    asked=st.floats(0, T),
    connected=st.booleans(),
)
def test_after_a_hand_over_no_event_that_beats_a_row_is_overruled(
    received: float, late: float, asked: float, connected: bool
) -> None:
    """What the former owner had noted is lost; the stamp of the last event is not."""
    part = Part()
    at = NOON + received
    first = event(connected=True, at=NOON - 2 * T)
    last = event(connected=connected, at=at, stamped=at - late, version=1 + connected)
    part.apply(begin(NOON - T), first, last)
    before = part.client().state
    other = part.hand_over()
    answer = row(connected=not connected, since=at + 1, asked=NOON + asked, at=NOON + 2 * T)
    other.apply(answer)
    beats = received >= asked and at - late > NOON + asked - T
    if beats:
        assert other.client().state is before
        assert other.wanted == []
    if other.client().state is not before:
        assert not beats


@given(st.data())
def test_rows_between_events_are_merged_as_if_each_event_was_known(data: st.DataObject) -> None:
    """The rule is about received times: it decides the same however the messages are batched."""
    messages = [begin(NOON)]
    now = NOON
    for version in range(1, data.draw(st.integers(1, 6))):
        now += data.draw(st.sampled_from([0.5, 30.0, 100.0, 200.0]))
        is_row = data.draw(st.booleans())
        asked = max(NOON, now - data.draw(st.sampled_from([0.1, 40.0, 90.0])))
        connected = data.draw(st.booleans())
        since = now - data.draw(st.sampled_from([0.0, 50.0, 300.0]))
        if is_row:
            messages.append(row(connected=connected, since=since, asked=asked, at=now))
        else:
            messages.append(event(connected=connected, at=now, stamped=since, version=version))
    one, other = Part(), Part()
    one.apply(*messages)
    for each in messages:
        other.apply(each)
    assert _seen(one) == _seen(other)


def _seen(part: Part) -> Any:
    clients = part.fleet.presence.clients
    return (
        {name: (each.state, each.since, each.gap_epoch) for name, each in clients.items()},
        part.wanted,
    )


def test_a_row_in_another_partition_than_that_of_its_thing_is_rejected() -> None:
    right = partition_of(b"a", 6)
    part = Part(partition=Partition((right + 1) % 6, 6))
    part.apply(row(connected=True, since=NOON, asked=NOON, at=NOON))
    assert part.fleet.presence.clients == {}
    assert part.pipeline.counts.rejected[RejectionReason.INVALID_PAYLOAD] == 1


def test_a_pipeline_without_partition_rejects_the_records() -> None:
    pipeline = Pipeline(Fleet(RULES))
    pipeline.process([row(connected=True, since=NOON, asked=NOON, at=NOON)])
    assert pipeline.counts.rejected[RejectionReason.UNKNOWN_TOPIC] == 1
    assert pipeline.fleet.presence.clients == {}


def test_a_row_seeds_the_registry_of_its_partition() -> None:
    part = Part()
    part.apply(
        row(
            connected=True,
            since=NOON,
            asked=NOON,
            at=NOON,
            thing_id="1",
            thing_type="pump",
            groups=("hall",),
            attributes={"site": "north"},
        )
    )
    (thing,) = part.fleet.inventory.things.live.values()
    assert (thing.type, thing.groups, thing.attributes) == ("pump", ["hall"], {"site": "north"})
    assert thing.listed_in == round(NOON * 1000)


def test_a_snapshot_is_complete_only_where_all_of_it_was_read() -> None:
    part = Part()
    part.apply(begin(NOON), end(NOON, NOON + 9))
    assert part.snapshots.complete == round(NOON * 1000)

    part.apply(begin(NOON + 10))
    part = part.hand_over()
    part.apply(end(NOON + 10, NOON + 20))
    assert part.snapshots.complete == 0, "rows before the hand-over were read elsewhere"
    assert part.snapshots.past.began == NOON + 10, "though the snapshot is complete"

    part.apply(begin(NOON + 30))
    part.fleet.presence.note_gap(NOON + 31)
    part.apply(end(NOON + 30, NOON + 40))
    assert part.snapshots.complete == 0, "rows may have been lost in the gap"


def test_the_late_end_of_an_older_snapshot_unsettles_nothing() -> None:
    """Of a worker that was cut off, and had the partition 0 before."""
    part = Part()
    part.apply(begin(NOON), end(NOON, NOON + 9), end(NOON - 5, NOON + 10))
    assert part.snapshots.past.settled_began == NOON
    assert part.snapshots.complete == round(NOON * 1000)


def test_a_gap_is_unsettled_until_a_snapshot_settles_it_that_began_late_enough() -> None:
    part = Part()
    assert part.snapshots.unsettled_gap is None
    part.fleet.presence.note_gap(NOON)
    assert part.snapshots.unsettled_gap == NOON
    part.apply(begin(NOON + 1), end(NOON + 1, NOON + 9))
    assert part.snapshots.unsettled_gap == NOON
    began = NOON + T
    part.apply(begin(began), end(began, began + 9, settled=False))
    assert part.snapshots.unsettled_gap == NOON
    began += 10
    part.apply(begin(began), end(began, began + 9))
    assert part.snapshots.unsettled_gap is None


def test_gaps_that_are_reported_are_kept_with_the_latest_end() -> None:
    part = Part()
    for at in (NOON - 50, NOON - 60, NOON + 9999):
        part.apply(mark(GapReport(partition=3, at=at), NOON))
    assert part.snapshots.past.gap_at == NOON, "no report is from the future"


def test_no_snapshot_is_from_the_future() -> None:
    part = Part()
    part.apply(begin(NOON + 9999), end(NOON + 9999, NOON, settled=True))
    assert part.snapshots.past.settled_began == NOON
    part.fleet.presence.note_gap(NOON + 1)
    part.apply(row(connected=True, since=NOON, asked=NOON + 2, at=NOON + 2, began=NOON + 9999))
    assert part.fleet.presence.is_unverified(part.client())
