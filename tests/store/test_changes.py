"""The file holds the latest row of each key, however changes are split into submissions."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.store.changes import Changes
from presenced.store.file import StateFile
from presenced.store.schema import ClientRow, CounterRow, DisconnectRow, ThingRow
from statefiles import client_row, thing_row

texts = st.text(
    st.characters(exclude_categories=["Cs"]),  # surrogates are no text
    max_size=3,
)
versions = st.none() | st.integers(0, 2**63 - 1)
clients = st.builds(
    lambda key, version, extra: (
        "clients",
        key,
        client_row(key, version=version, extra=extra, deadline=None if version else 1.25),
    ),
    texts,
    versions,
    st.none() | texts,
)
things = st.builds(
    lambda key, version: ("things", key, thing_row(key, version=version)), texts, versions
)
counters = st.builds(
    lambda name, labels, value: ("counters", (name, labels), CounterRow(name, labels, value)),
    texts,
    texts,
    st.floats(0, 2.0**62),
)
rows = st.one_of(clients, things, counters)
deletions = rows.map(lambda change: (*change[:2], None))
submission = st.lists(rows | deletions, max_size=6)
transactions = st.lists(st.lists(submission, min_size=1, max_size=4), max_size=4)


@settings(max_examples=150, deadline=None)
@given(transactions)
def test_the_file_holds_the_latest_row_of_each_key(history):
    model = {"clients": {}, "things": {}, "counters": {}}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "presenced.db")
        file = StateFile.open(path)
        for transaction in history:
            joined = Changes()
            for changes in transaction:
                submitted = Changes()
                for table, key, row in changes:
                    getattr(submitted, table)[key] = row
                    model[table][key] = row
                joined.merge(submitted)
            assert file.commit(joined) == 0
        file.close()
        file = StateFile.open(path)
        for table, row_type in (("clients", ClientRow), ("things", ThingRow)):
            found = {row[0]: row for row in file.read(row_type)}
            assert found == {key: row for key, row in model[table].items() if row is not None}
        found = {row[:2]: row for row in file.read(CounterRow)}
        assert found == {key: row for key, row in model["counters"].items() if row is not None}
        file.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 600), st.integers(0, 600))
def test_any_number_of_rows_is_written_and_deleted(written, deleted):
    with tempfile.TemporaryDirectory() as directory:
        file = StateFile.open(Path(directory, "presenced.db"))
        changes = Changes()
        for number in range(written):
            changes.clients[str(number)] = client_row(str(number))
            changes.count("n", str(number), number)
        file.commit(changes)
        changes = Changes()
        for number in range(deleted):
            changes.clients[str(number)] = None
            changes.counters["n", str(number)] = None
        file.commit(changes)
        left = {str(number) for number in range(deleted, written)}
        assert {row.client_id for row in file.read(ClientRow)} == left
        assert {row.labels for row in file.read(CounterRow)} == left
        file.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=12))
def test_of_disconnects_that_came_and_went_unwritten_nothing_is_left(submissions):
    """Numbers rise, and the lowest goes first; some are in the file, from earlier commits."""
    with tempfile.TemporaryDirectory() as directory:
        file = StateFile.open(Path(directory, "presenced.db"))
        pending, first, following, written = Changes(), 0, 0, 0
        for count, commits in submissions:
            changes = Changes()
            for _ in range(count):
                changes.counted_disconnects[following] = DisconnectRow(following, 7)
                following += 1
            while following - first > 3:  # as many as are remembered
                if changes.counted_disconnects.pop(first, None) is None:
                    changes.counted_disconnects[first] = None
                first += 1
            pending.merge(changes)
            assert len(pending.counted_disconnects) <= 3 + written
            if commits:
                file.commit(pending)
                pending, written = Changes(), following - first
        file.commit(pending)
        held = [row.number for row in file.read(DisconnectRow)]
        assert held == list(range(first, following))
        file.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_deletions_of_what_is_not_in_the_file_are_left_out(written, deleted):
    with tempfile.TemporaryDirectory() as directory:
        file = StateFile.open(Path(directory, "presenced.db"))
        changes, deletions = Changes(), Changes()
        for number in range(written):
            changes.clients[str(number)] = client_row(str(number))
            changes.count("n", str(number), number)
        file.commit(changes)
        for number in range(100, 100 + deleted):
            deletions.clients[str(number)] = None
            deletions.counters["n", str(number)] = None
        deletions.clients["\ud800"] = None
        deletions.things["put"] = thing_row("put")
        file.drop_needless_deletions(deletions)
        left = {str(number) for number in range(100, min(written, 100 + deleted))}
        assert deletions.clients.keys() == left
        assert {labels for _, labels in deletions.counters} == left
        assert deletions.things
        file.close()
