"""When snapshots of AWS's record were taken, kept with the state of a partition."""

from fleet_process import RULES, FleetProcess, Time
from presenced.aws.schedule import PastSnapshots
from presenced.fleet import Partition
from presenced.sources.kafka.partition_snapshots import PartitionSnapshots
from presenced.store.changelog import Changelog
from presenced.store.changelog_records import RecordReader

Records = dict[bytes, bytes | None]


class Owner:
    """An owner of a partition, whose state begins with these records."""

    def __init__(self, records: Records) -> None:
        process = FleetProcess(Time(), rules=RULES)
        self.snapshots = PartitionSnapshots(process.fleet, Partition(0, 1))
        self.changelog = Changelog(0, process.pipeline, [], process.time.clocks, self.snapshots)
        rows = RecordReader()
        for key, value in records.items():
            rows.add(key, value)
        self.changelog.restore(rows)

    def take(self) -> Records:
        """The records of one transaction."""
        self.changelog.flush()
        unwritten = self.changelog.take()
        assert unwritten is not None
        return unwritten.records


def test_the_next_owner_knows_the_past_snapshots() -> None:
    first = Owner({})
    assert first.snapshots.past == PastSnapshots()
    past = PastSnapshots().with_end(1000.5, 1010.25, 42, settled=True).with_gap(2000.0)
    first.snapshots.past = past
    records = first.take()
    second = Owner(records)
    assert second.snapshots.past == past
    assert not any(b"snapshots" in key for key in second.take()), "it has not changed"


def test_a_transaction_that_failed_is_made_up_for() -> None:
    owner = Owner({})
    owner.snapshots.past = PastSnapshots().with_gap(1.0)
    owner.changelog.flush()
    failed = owner.changelog.take()
    assert failed is not None
    owner.changelog.failed(failed)
    assert Owner(owner.take()).snapshots.past.gap_at == 1.0


def test_damaged_past_snapshots_are_counted_and_survived() -> None:
    first = Owner({})
    first.snapshots.past = PastSnapshots(began=1.0)
    records = first.take()
    (key,) = (key for key in records if b"snapshots" in key)
    owner = Owner(records | {key: b'["snapshots","damage"]'})
    assert owner.snapshots.past == PastSnapshots()
    assert owner.changelog.counts.failures["corrupt"] == 1
