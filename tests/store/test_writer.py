"""The writer thread: submissions are committed once and in time, also after failures."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from presenced.store.changes import Changes
from presenced.store.errors import StateLockedError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.schema import ForgetRow, MetaRow
from statefiles import client_row, clients_in, fill, of_clients, query
from waiting import until
from writer_runs import Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


def test_done_is_called_once_changes_are_in_the_file(path):
    async def test():
        it = Run(path)
        await it.committed(of_clients(client_row("a")))
        assert query(path, "SELECT client_id FROM clients") == [("a",)]
        await it.committed(Changes())  # nothing of its own, but all before it
        assert await it.close()

    run(test)


def test_a_done_that_fails_keeps_no_other_from_being_called(path):
    async def test():
        it = Run(path)
        await it.committed(Changes())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        it.writer.submit(of_clients(client_row("a")), lambda: None)
        await asyncio.sleep(0.05)  # the writer waits for the lock; the next two are joined
        done = asyncio.Event()
        it.writer.submit(of_clients(client_row("b")), lambda: 1 / 0)
        it.writer.submit(of_clients(client_row("c")), done.set)
        other.execute("ROLLBACK")
        other.close()
        await until(done.is_set)
        await it.close()

    run(test)


def test_a_submission_without_done_is_committed(path):
    async def test():
        it = Run(path)
        it.writer.submit(of_clients(client_row("a")))
        await until(lambda: it.counts.commits == 1)
        assert query(path, "SELECT client_id FROM clients") == [("a",)]
        await it.close()

    run(test)


def test_submissions_are_joined_and_the_latest_row_counts(path):
    async def test():
        it = Run(path)
        for number in range(1000):
            it.writer.submit(of_clients(client_row("a", version=number), client_row(f"{number}")))
        it.writer.submit(of_clients(client_row("b")))
        gone = Changes()
        gone.clients["b"] = None
        await it.committed(gone)
        assert it.counts.commits < 20
        assert query(path, "SELECT version FROM clients WHERE client_id = 'a'") == [(999,)]
        assert query(path, "SELECT count(*) FROM clients") == [(1001,)]
        await it.close()

    run(test)


def test_closing_writes_what_is_left_and_lets_others_have_the_file(path):
    async def test():
        it = Run(path)
        it.writer.submit(of_clients(client_row("a")))
        with pytest.raises(StateLockedError):
            StateFile.open(path)
        assert await it.close()
        file = StateFile.open(path)
        assert list(clients_in(file)) == ["a"]
        file.close()
        assert not path.with_name("presenced.db-wal").exists()

    run(test)


def test_commits_are_counted_and_timed(path):
    async def test():
        it = Run(path)
        for number in range(3):
            await it.committed(of_clients(client_row(version=number)))
        counts = it.counts
        assert (counts.commits, sum(counts.durations.buckets)) == (3, 3)
        assert counts.last_commit > 1.7e9
        assert sum(counts.failures.values()) == 0
        await it.close()

    run(test)


def test_rows_that_cannot_be_written_are_counted(path):
    async def test():
        it = Run(path)
        await it.committed(of_clients(client_row("bad", version=2**70), client_row("good")))
        await until(lambda: it.counts.rows_refused == 1)
        assert query(path, "SELECT client_id FROM clients") == [("good",)]
        await it.close()

    run(test)


def rows(generation, count=2000):
    return of_clients(
        *(client_row(f"d-{n:04}", version=generation, session="x" * 500) for n in range(count))
    )


def test_a_full_disk_lets_acknowledgements_go_on_and_loses_nothing(small_disk, fill_up):
    path = small_disk / "presenced.db"

    async def test():
        it = Run(path)
        await it.committed(of_clients(client_row("before")))
        ballast = fill_up()
        for generation in range(20):  # more than fits, but fewer keys
            await it.committed(rows(generation, 100))
        assert it.writer.failing
        assert it.counts.failures["full"]
        await until(lambda: it.counts.failures["full"] >= 2)
        assert query(path, "SELECT client_id FROM clients") == [("before",)]
        ballast.unlink()
        await until(lambda: not it.writer.failing)
        assert await it.close()

    run(test)
    file = StateFile.open(path)
    kept = clients_in(file)
    file.close()
    assert len(kept) == 101
    assert {row.version for row in kept.values()} == {7, 19}


def test_a_full_disk_stalls_acknowledgements_where_that_is_asked_for(small_disk, fill_up):
    path = small_disk / "presenced.db"

    async def test():
        it = Run(path, on_error="stall")
        await it.committed(of_clients(client_row("before")))
        ballast = fill_up()
        done = asyncio.Event()
        it.writer.submit(rows(1, 100), done.set)
        await until(lambda: it.counts.failures["full"] >= 2)
        later = asyncio.Event()
        it.writer.submit(of_clients(client_row("later")), later.set)
        await until(lambda: it.counts.failures["full"] >= 3)
        assert not done.is_set()
        assert not later.is_set()
        ballast.unlink()
        await until(lambda: done.is_set() and later.is_set())
        assert query(path, "SELECT count(*) FROM clients") == [(102,)]
        assert await it.close()

    run(test)


@pytest.fixture
def attempts(monkeypatch):
    """The numbers of rows that each attempt to commit had."""
    commit, sizes = StateFile.commit, []

    def counted(file, changes):
        sizes.append(len(changes))
        return commit(file, changes)

    monkeypatch.setattr(StateFile, "commit", counted)
    return sizes


def test_what_is_kept_while_writing_fails_is_bounded_by_the_number_of_keys(
    small_disk, fill_up, attempts
):
    async def test():
        it = Run(small_disk / "presenced.db")
        await it.committed(Changes())
        fill_up()
        await it.committed(rows(0, 100))
        for generation in range(50):
            it.writer.submit(rows(generation, 100))
        await until(lambda: it.counts.failures["full"] >= 3)
        assert attempts[-1] == 100
        assert not await it.close()  # tried once more, in vain

    run(test)


def test_a_disk_that_is_full_at_the_start_is_an_error(small_disk, fill_up):
    ballast = fill_up()
    with pytest.raises(StateUnusableError, match="make room on the disk") as found:
        StateFile.open(small_disk / "presenced.db")
    assert found.value.cause == "full"
    ballast.unlink()
    file = StateFile.open(small_disk / "presenced.db")  # as if it had never been tried
    file.commit(of_clients(client_row("a")))
    assert list(clients_in(file)) == ["a"]
    file.close()


def test_a_writer_waits_out_another_ones_lock(path):
    async def test():
        it = Run(path)
        await it.committed(of_clients(client_row("a")))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        done = asyncio.Event()
        it.writer.submit(of_clients(client_row("b")), done.set)
        await until(lambda: it.counts.failures["locked"])
        other.execute("COMMIT")
        other.close()
        await until(lambda: not it.writer.failing)
        assert query(path, "SELECT count(*) FROM clients") == [(2,)]
        await it.close()

    run(test)


def test_a_file_that_is_moved_away_is_noticed_and_may_be_moved_back(path):
    async def test():
        it = Run(path)
        await it.committed(of_clients(client_row("a")))
        path.rename(path.with_name("elsewhere"))
        await it.committed(of_clients(client_row("b")))
        assert it.counts.failures["moved"]
        path.with_name("elsewhere").rename(path)
        await until(lambda: not it.writer.failing)
        assert await it.close()
        assert query(path, "SELECT count(*) FROM clients") == [(2,)]

    run(test)


def ask(path, *client_ids):
    connection = sqlite3.connect(path, timeout=10)
    with connection:
        connection.executemany(
            "INSERT INTO forget_requests (client_id, requested) VALUES (?, 5)",
            [(client_id,) for client_id in client_ids],
        )
    connection.close()


def test_requests_to_forget_are_handed_over_once_and_deleted_with_their_effect(path):
    fill(path, ["a", "b", "c"])
    ask(path, "a")  # from before the start

    async def test():
        it = Run(path)
        await until(lambda: it.requests)
        assert it.requests == [ForgetRow(1, "a", 5.0)]
        ask(path, "b")
        await until(lambda: len(it.requests) == 2)
        changes = Changes()
        for request in it.requests:
            changes.clients[request.client_id] = None
            changes.forget_requests[request.id] = None
        await it.committed(changes)
        assert query(path, "SELECT client_id FROM clients") == [("c",)]
        assert query(path, "SELECT * FROM forget_requests") == []
        ask(path, "c")
        await until(lambda: len(it.requests) == 3)
        assert [request.client_id for request in it.requests] == ["a", "b", "c"]
        await it.close()

    run(test)


def test_the_log_stays_bounded(path):
    async def test():
        it = Run(path)
        largest = 0
        for generation in range(150):
            changes = rows(generation)
            changes.meta["generation"] = MetaRow("generation", str(generation))
            await it.committed(changes)
            largest = max(largest, path.with_name("presenced.db-wal").stat().st_size)
        assert largest < 40 << 20  # 150 times 1 MB went through it
        await it.close()

    run(test)


def test_a_log_that_one_large_commit_made_long_is_cut_back(path):
    log = path.with_name("presenced.db-wal")

    async def test():
        it = Run(path)
        await it.committed(rows(0, 80_000))
        assert log.stat().st_size > 40 << 20
        for generation in range(3):
            await it.committed(rows(generation, 1))
        assert log.stat().st_size <= 32 << 20
        await it.close()

    run(test)


def test_while_nothing_can_be_written_what_came_and_went_takes_no_memory(path, attempts):
    async def test():
        it = Run(path)
        await it.committed(of_clients(client_row("kept"), client_row("gone")))
        away = path.rename(path.with_suffix(".away"))
        for number in range(5000):
            gone = Changes()
            gone.clients[f"client-{number}"] = None
            it.writer.submit(of_clients(client_row(f"client-{number}")))
            it.writer.submit(gone)
        gone = Changes()
        gone.clients["gone"] = None
        it.writer.submit(gone)
        await until(lambda: attempts[-1] == 1)
        assert it.writer.failing
        away.rename(path)
        await until(lambda: query(path, "SELECT client_id FROM clients") == [("kept",)])
        await it.close()

    run(test)
