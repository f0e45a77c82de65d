"""A partition's fleet as records of a compacted topic, restored as it was written."""

import json
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_process import RULES, FleetProcess, Time, check, known
from histories import lifecycle
from presenced.events.message import Message
from presenced.presence import State
from presenced.store.changelog import Changelog
from presenced.store.changelog_records import BLOCK, RecordReader
from registries import thing
from store.steps import START, STEPS, Step, forgetting

Record = tuple[bytes, bytes | None]


class PartitionProcess(FleetProcess):
    """The owner of a partition, whose rows go to `topic`."""

    def __init__(self, topic: list[Record], time: Time) -> None:
        super().__init__(time, rules=RULES)
        self.topic = topic
        self.changelog = Changelog(0, self.pipeline, self.totals, time.clocks)
        self.pipeline.observers += [self.changelog, self.recorder, self.client_metrics]
        self.damaged = self.restore()

    def restore(self) -> int:
        rows = RecordReader()
        for key, value in self.topic:
            rows.add(key, value)
        self.changelog.restore(rows)
        self.pipeline.recount()
        self.client_metrics.restored()
        return rows.damaged

    def commit(self) -> None:
        """Write what has changed in one transaction."""
        unwritten = self.changelog.take()
        if unwritten is not None:
            self.topic += unwritten.records.items()
            self.changelog.written(unwritten)

    def abort(self) -> None:
        """Lose a transaction."""
        unwritten = self.changelog.take()
        if unwritten is not None:
            self.changelog.failed(unwritten)


class Life:
    """One life over several owners, each with a monotonic clock that begins anew."""

    def __init__(self) -> None:
        self.topic: list[Record] = []
        self.time = Time()
        self.process = PartitionProcess(self.topic, self.time)

    def create_topic_anew(self) -> None:
        """Lose all that was written, but not what the process has in memory."""
        self.topic.clear()
        series = self.process.client_metrics.series.clients()
        self.process.changelog.write_whole(client.client_id for client in series)

    def move(self) -> None:
        """Hand the partition over once all is written."""
        self.process.changelog.flush()
        self.process.commit()
        begun_anew = 512.0 if self.time.now > 5000 else 8192.0
        self.time.now, self.time.offset = (
            begun_anew,
            self.time.offset + self.time.now - begun_anew,
        )
        transitions = self.process.transitions
        self.process = PartitionProcess(self.topic, self.time)
        self.process.transitions[:0] = transitions


def compact(topic: list[Record], random: Random) -> None:
    """Compact what lies before a random place, as Kafka does: tombstones stay for a while."""
    end = random.randrange(len(topic) + 1)
    last = {key: at for at, (key, _) in enumerate(topic[:end])}
    topic[:end] = [record for at, record in enumerate(topic[:end]) if last[record[0]] == at]


def by_client(process: FleetProcess) -> dict[str, list[object]]:
    """Transitions of each client; those of one moment come in no certain order."""
    transitions: dict[str, list[object]] = {}
    for transition in process.transitions:
        transitions.setdefault(transition.client_id, []).append(transition)
    return transitions


def without_order(facts: dict[str, object]) -> dict[str, object]:
    return facts | {"departed": sorted(facts["departed"].items())}


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, data=st.data(), seed=st.integers(0, 2**32))
def test_a_partition_that_moves_keeps_its_fleet(
    steps: list[Step], data: st.DataObject, seed: int
) -> None:
    random = Random(seed)
    moves = data.draw(st.sets(st.integers(0, len(steps) - 1), min_size=1, max_size=4))
    losses = data.draw(st.sets(st.integers(0, len(steps) - 1), max_size=2))
    moved, whole = Life(), Life()
    for number, step in enumerate(steps):
        if number in losses:
            moved.create_topic_anew()
        if number in moves:
            compact(moved.topic, random)
            moved.move()
            check(moved.process)
            assert without_order(known(moved.process)) == without_order(known(whole.process))
        step(moved.process)
        step(whole.process)
        random.choice([moved.process.commit, moved.process.abort, lambda: None])()
    assert without_order(known(moved.process)) == without_order(known(whole.process))
    assert by_client(moved.process) == by_client(whole.process)
    assert moved.process.damaged == 0


def event(connected: bool, version: int, client_id: str = "a") -> object:
    return lifecycle(
        connected=connected,
        timestamp=START + version * 1000 + (not connected),
        version=version,
        session=f"s{version}",
        client_id=client_id,
    )


def test_a_new_topic_has_clients_in_the_order_in_which_they_arrived() -> None:
    life = Life()
    life.process.apply(event(True, 1, "first"))
    life.process.apply_registry(thing("second", "pump", 1))
    life.move()  # which restores the client that has not arrived before the other one
    life.process.apply(event(True, 1, "second"))
    life.create_topic_anew()
    life.move()
    series = [client.client_id for client in life.process.client_metrics.series.clients()]
    assert series == ["first", "second"]


def test_records_of_other_tables_are_no_state() -> None:
    rows = RecordReader()
    rows.add(b'["partitions"]', b"24")
    assert not rows
    rows.add(b'["meta","gaps"]', b'["gaps","0"]')
    assert rows


def test_nothing_is_written_where_nothing_changed() -> None:
    process = Life().process
    process.apply(event(True, 1))
    process.commit()
    assert process.changelog.take() is None


def test_the_position_is_behind_the_last_event_that_was_applied() -> None:
    process = Life().process
    process.pipeline.process([Message("x", b"", 1, 0.0, 0.0, offset=41)])
    unwritten = process.changelog.take()
    assert unwritten is not None
    assert unwritten.position == 42


def test_the_rows_of_an_aborted_transaction_are_written_again_as_they_are_then() -> None:
    life = Life()
    process = life.process
    process.apply(event(True, 1, "a"))
    process.apply(event(True, 1, "b"))
    process.abort()
    process.apply(event(True, 2, "b"))
    forgetting("a")(process)
    process.commit()
    versions = {client_id: client.version for client_id, client in process.presence.clients.items()}
    life.move()
    assert {
        client_id: client.version for client_id, client in life.process.presence.clients.items()
    } == versions
    assert life.process.presence.forgotten.keys() == {"a"}


def test_the_record_of_a_forgotten_client_stays_until_its_order_is_forgotten_too() -> None:
    life = Life()
    process = life.process
    process.apply(event(True, 1))
    process.commit()
    forgetting("a")(process)
    process.commit()
    key = b'["clients","a"]'
    assert dict(process.topic)[key] is not None
    process.pipeline.forget(["a"], "requested")
    process.commit()
    assert dict(process.topic)[key] is None
    assert dict(process.topic)[b'["arrivals","a"]'] is None


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK])
def test_disconnects_are_counted_once_over_a_move(count: int) -> None:
    life = Life()
    for version in range(count):
        life.process.apply(event(True, version))
        life.process.apply(event(False, version))
        if version % 7 == 0:
            life.process.commit()
    life.move()
    life.move()
    disconnects = life.process.presence.disconnects
    assert len(list(disconnects.since(0))) == count
    assert not disconnects.add("a", event(False, count - 1))


def test_old_blocks_of_disconnects_are_deleted() -> None:
    life = Life()
    disconnects = life.process.presence.disconnects
    disconnects._limit = 3 * BLOCK
    for number in range(10 * BLOCK):
        life.process.apply(event(True, number))
        life.process.apply(event(False, number))
        life.process.commit()
    blocks = {key: value for key, value in life.topic if key.startswith(b'["counted_disconnects"')}
    assert sum(value is not None for value in blocks.values()) <= 4
    before = list(disconnects.since(0))
    life.move()
    assert list(life.process.presence.disconnects.since(disconnects.first)) == before


def changing(key: bytes, change: Callable[[bytes], bytes]) -> Callable[[Record], Record]:
    return lambda record: (record[0], change(record[1])) if record[0] == key else record


def test_a_row_of_a_newer_presenced_is_read_without_its_new_columns() -> None:
    life = Life()
    life.process.apply(event(True, 1))
    life.process.commit()
    row = dict(life.topic)[b'["clients","a"]']
    life.topic.append((b'["clients","a"]', row[:-1] + b',17,"new",{}]'))
    life.topic.append((b'["novelties","a"]', b'{"new":1}'))
    life.move()
    assert life.process.presence.clients["a"].state is State.ONLINE
    assert life.process.damaged == 0


def client_record(client_id: str, extra: str) -> bytes:
    row = (client_id, "online", 1.0, 1.0, None, None, 1, 1000, 0, None, None, 0, 0, extra, None)
    return json.dumps(row).encode()


@pytest.mark.parametrize(
    "record",
    [
        (None, b"x"),
        (b"", b"x"),
        (b'["clients', b"x"),
        (b'["clients","b"]', b"x"),
        (b'["clients","b"]', b'["b"]'),
        (b'["counted_disconnects",3]', b'"x"'),
        (b'["counted_disconnects","x"]', b"[1]"),
        (b'["arrivals","a"]', b'"x"'),
        (b'["clients","b"]', client_record("b", "no object")),
        (b'["clients","b"]', client_record("b", '{"awaited":[["x"]]}')),
        (b'["meta","gaps"]', b'["gaps","many"]'),
        (b'["meta","lived"]', b'["lived","nan"]'),
        (b'["things","t"]', b'["t",null,null,null,0,-1,null,"{",null,null]'),
        (b'["thing_groups","g"]', b'["g",null,null,null,0,-1,null,"[1]",null]'),
    ],
)
def test_records_of_others_are_counted_and_survived(record: Record) -> None:
    life = Life()
    life.process.apply(event(True, 1))
    life.process.commit()
    life.topic.append(record)
    life.move()
    assert life.process.damaged == 1
    assert life.process.presence.clients.keys() == {"a"}


def test_a_client_id_that_is_no_text_is_left_out() -> None:
    life = Life()
    life.process.apply(event(True, 1, "\ud800"))
    life.process.apply(event(True, 1, "b"))
    life.process.commit()
    assert life.process.changelog.counts.rows_refused == 1
    life.move()
    assert life.process.presence.clients.keys() == {"b"}


def test_settled_returns_when_it_is_written() -> None:
    process = Life().process
    called: list[str] = []
    process.apply(event(True, 1))
    process.changelog.flush(lambda: called.append("done"))
    process.abort()
    assert called == []
    process.commit()
    assert called == ["done"]
