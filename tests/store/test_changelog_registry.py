"""Types and groups, which one partition writes for all others."""

import msgspec

from fleet_process import RULES, FleetProcess, Time
from presenced.events.message import Message
from presenced.presence import State
from presenced.store.changelog import Changelog
from presenced.store.changelog_records import Records
from registries import group, link, member, thing, thing_type

GROUPS_AND_TYPES = (b'["thing_groups"', b'["thing_types"')


class Partition(FleetProcess):
    """The owner of one partition."""

    def __init__(self, number: int) -> None:
        time = Time()
        super().__init__(time, rules=RULES)
        self.changelog = Changelog(number, self.pipeline, self.totals, time.clocks)
        self.pipeline.observers.append(self.changelog)

    def commit(self) -> tuple[Records, Records]:
        """Write what has changed: the records of the partition, and those for all others."""
        unwritten = self.changelog.take()
        if unwritten is None:
            return {}, {}
        records = dict(unwritten.records), dict(unwritten.global_records)
        self.changelog.written(unwritten)
        return records

    def take_over(self, records: Records) -> None:
        """Take over what the partition 0 has written."""
        self.pipeline.replace_registry(self.changelog.registry_of(records.items()))

    def in_group(self, name: str) -> dict[State, int]:
        counts = self.fleet.thing_counts.groups.samples([name])
        return {State(state): number for (_, state), number in counts if number}


def keys_of(records: Records) -> set[tuple[str, ...]]:
    return {tuple(msgspec.json.decode(key)) for key in records}


def test_the_first_partition_writes_groups_for_itself_and_for_all() -> None:
    first = Partition(0)
    first.apply_registry(group("hall", "site", 1))
    first.apply_registry(thing_type("pump", 1))
    own, shared = first.commit()
    names = {("thing_groups", "hall"), ("thing_groups", "site"), ("thing_types", "pump")}
    assert keys_of(shared) == names
    assert keys_of(own) >= names


def test_the_other_partitions_write_neither_types_nor_groups() -> None:
    other = Partition(3)
    other.apply_registry(thing("a", "pump", 1))
    other.apply_registry(member("hall", "a", 1))
    own, shared = other.commit()
    assert shared == {}
    assert ("things", "a") in keys_of(own)
    assert not [key for key in own if key.startswith(GROUPS_AND_TYPES)]


def test_members_of_a_group_are_not_news_for_others() -> None:
    first = Partition(0)
    first.apply_registry(group("hall", at=1))
    first.commit()
    first.apply_registry(member("hall", "a", 2))
    own, shared = first.commit()
    assert ("things", "a") in keys_of(own)
    assert shared == {}


def test_what_an_aborted_transaction_had_for_others_is_written_again() -> None:
    first = Partition(0)
    first.apply_registry(group("hall", at=1))
    first.apply_registry(group("yard", at=1))
    unwritten = first.changelog.take()
    assert unwritten is not None
    first.changelog.failed(unwritten)
    first.apply_registry(group("hall", at=2, type="updated", version=2, attributes={"a": "b"}))
    _, shared = first.commit()
    assert keys_of(shared) == {("thing_groups", "hall"), ("thing_groups", "yard")}
    other = Partition(1)
    other.take_over(shared)
    assert dict(other.fleet.inventory.groups.live["hall"].attributes) == {"a": "b"}


def test_groups_that_are_taken_over_count_the_clients_of_subgroups() -> None:
    first, other = Partition(0), Partition(1)
    other.apply_registry(thing("a", at=1))
    other.apply_registry(member("hall", "a", 1))
    first.apply_registry(group("site", at=1))
    first.apply_registry(link("site", "hall", 2))
    other.take_over(first.commit()[1])
    assert other.in_group("hall") == other.in_group("site") == {State.UNKNOWN: 1}

    first.apply_registry(group("hall", at=3, type="deleted", version=2))
    other.take_over(first.commit()[1])
    assert other.in_group("hall") == other.in_group("site") == {}
    assert other.fleet.inventory.groups.live.keys() == {"site"}


def test_a_tombstone_changes_nothing_and_damage_is_counted() -> None:
    other = Partition(1)
    other.take_over({b'["thing_groups","hall"]': b"not a row", b'["thing_groups","yard"]': None})
    assert other.changelog.counts.failures["corrupt"] == 1
    assert not other.fleet.inventory.groups.live


def test_events_of_the_global_topic_do_not_move_the_position() -> None:
    first = Partition(0)
    first.changelog.position = 7
    first.pipeline.process([Message("x", b"", 1, 0.0, 0.0)])
    unwritten = first.changelog.take()
    assert unwritten is not None
    assert unwritten.position == 7
