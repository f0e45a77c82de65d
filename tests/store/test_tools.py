"""`presenced state` on the file of a stopped and of a running daemon."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from brokers import missing
from command_line import run_here
from presenced.settings import DEFAULT_CONFIG
from presenced.store.changes import Changes
from presenced.store.errors import StateDamagedError, StateError, StateUnusableError
from presenced.store.file import StateFile
from presenced.store.format import VERSION
from presenced.store.tools import client, export, forget, summary
from statefiles import client_row, clients_in, fill, of_clients, query, thing_row
from waiting import until
from writer_runs import Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


@pytest.fixture(params=["stopped", "running", "killed"])
def filled(path, request):
    """A file with a few rows: of a stopped daemon, of a running one, and of one that was killed."""
    changes = of_clients(
        client_row("a", gaps=0, extra='{"replaced":[]}'),
        client_row("b", state="offline", connected=0, reason="CONNECTION_LOST"),
        client_row("gone", departed=1),
        client_row("seen since the gap", gaps=1),
    )
    changes.note("gaps", "1")
    changes.things["t"] = thing_row("t")
    changes.count("iot_events_total", '{"family":"presence"}', 3)
    file = StateFile.open(path)
    file.commit(changes)
    if request.param == "running":
        yield path
        file.close()
        return
    if request.param == "killed":
        copies = {
            name: path.with_name(path.name + name).read_bytes() for name in ("", "-wal", "-shm")
        }
        file.close()
        for name, content in copies.items():
            path.with_name(path.name + name).write_bytes(content)
    else:
        file.close()
    yield path
    file = StateFile.open(path)  # no harm was done
    assert {"a", "b"} <= set(clients_in(file))
    file.close()


def test_a_summary(filled):
    found = summary(filled)
    assert found.clients == {"online": 2, "offline": 1}
    assert (found.unverified, found.forgotten) == (2, 1), "online and offline"
    assert found.rows["things"] == 1
    assert found.rows["counters"] == 1
    assert found.size >= filled.stat().st_size


def test_a_summary_has_the_process_that_has_the_file(path):
    fill(path, ["a"])
    assert summary(path).holder is None
    file = StateFile.open(path)
    assert summary(path).holder == str(os.getpid())
    file.close()


def test_a_deadline_is_by_the_clock_as_it_was_set_last(path):
    changes = of_clients(client_row("a", state="pending", deadline=100.5), client_row("b"))
    changes.note("clock_set_by", "7200.0")
    file = StateFile.open(path)
    file.commit(changes)
    file.close()
    assert client(path, "a").row.deadline == 7300.5
    assert client(path, "b").row.deadline is None


def test_one_client(filled):
    assert client(filled, "b").row.reason == "CONNECTION_LOST"
    assert not client(filled, "a").is_verified
    assert not client(filled, "b").is_verified, "a connect may have been lost"
    assert client(filled, "seen since the gap").is_verified
    assert client(filled, "c") is None
    assert client(filled, "\udcff") is None


def test_an_export_is_json_with_everything(filled):
    lines = [json.loads(line) for line in b"".join(export(filled)).splitlines()]
    by_kind = {}
    for line in lines:
        by_kind.setdefault(line["kind"], []).append(line)
    assert [line["client_id"] for line in by_kind["client"]] == [
        "a",
        "b",
        "gone",
        "seen since the gap",
    ]
    assert by_kind["client"][0]["extra"] == {"replaced": []}
    assert by_kind["client"][1]["extra"] is None
    assert by_kind["thing"][0]["memberships"] == [["g", 1500, True]]
    assert by_kind["counter"] == [
        {
            "kind": "counter",
            "name": "iot_events_total",
            "labels": {"family": "presence"},
            "value": 3.0,
        }
    ]


def test_an_export_that_is_not_read_does_not_keep_the_log_from_being_cut(path):
    fill(path, [f"d-{number:05}" for number in range(20_000)])
    slow = export(path)
    assert next(slow)
    file = StateFile.open(path)
    for generation in range(60):
        file.commit(
            of_clients(*(client_row(f"d-{n:05}", version=generation) for n in range(0, 20_000, 20)))
        )
    log = path.with_name("presenced.db-wal")
    assert log.stat().st_size < 40 << 20
    assert sum(part.count(b"\n") for part in slow) == 19_999
    file.close()


def test_a_stopped_daemons_clients_are_forgotten_at_once(path):
    fill(path, ["a", "b", "c"])
    result = forget(path, ["a", "nobody", "c", "a", "\udcff"])
    assert (result.known, result.unknown) == (["a", "c"], ["nobody", "\udcff"])
    assert not result.asked
    assert query(path, "SELECT client_id FROM clients") == [("b",)]
    StateFile.open(path).close()


def test_a_running_daemon_is_asked_to_forget(path):
    fill(path, ["a", "b"])

    async def test():
        it = Run(path)
        await it.committed(Changes())
        result = await asyncio.to_thread(forget, path, ["a", "nobody"])
        assert (result.known, result.unknown, result.asked) == (["a"], ["nobody"], True)
        assert query(path, "SELECT count(*) FROM clients") == [(2,)]  # that is the daemon's to do
        await until(lambda: it.requests)
        assert [request.client_id for request in it.requests] == ["a"]
        await it.committed(of_clients(client_row("c")))
        assert await it.close()

    asyncio.run(test())


def test_a_file_that_is_not_there_is_not_made(path):
    for action in (summary, lambda path: client(path, "a"), lambda path: forget(path, ["a"])):
        with pytest.raises(StateError, match=str(path)):
            action(path)
    with pytest.raises(StateError):
        next(export(path))
    assert list(path.parent.iterdir()) == []


def test_a_path_that_leads_to_no_file_is_an_error_with_its_cause(path):
    pipe, loop = path.with_name("pipe.db"), path.with_name("loop.db")
    os.mkfifo(pipe)  # opening it would wait for a writer
    loop.symlink_to(loop)
    for place, detail in ((pipe, "not a regular file"), (loop, "symbolic links")):
        for action in (summary, lambda path: client(path, "a"), lambda path: forget(path, ["a"])):
            with pytest.raises(StateUnusableError, match=detail):
                action(place)


def test_a_damaged_file_is_an_error_and_is_not_moved(path):
    path.write_bytes(b"\xa5" * 8192)
    for action in (summary, lambda path: list(export(path)), lambda path: forget(path, ["a"])):
        with pytest.raises(StateDamagedError, match="is damaged"):
            action(path)
    assert path.read_bytes() == b"\xa5" * 8192


def test_a_newer_file_is_not_guessed_at(path):
    fill(path, ["a"])
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE clients ADD COLUMN mood TEXT")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="newer presenced"):
        summary(path)


@pytest.fixture
def open_path(open_directory: Path) -> Path:
    if os.geteuid() != 0:
        missing("becoming another user needs root")
    return open_directory / "presenced.db"


def as_nobody(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    # Imports come first: the other user may not be let in where Python lies.
    become = (
        "import os, sys; from pathlib import Path\n"
        "from presenced.store.file import *; from presenced.store.tools import *\n"
        "os.setgid(65534); os.setuid(65534)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", become + code, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_user_with_read_access_sees_the_file_of_a_stopped_daemon(open_path, seen_before):
    fill(open_path, ["a"])
    open_path.chmod(0o644)
    if seen_before:
        summary(open_path)  # by root, who leaves a log of no length
    done = as_nobody("print(summary(Path(sys.argv[1])).clients)", open_path)
    assert done.stdout == "{'online': 1}\n", done.stderr


def test_a_user_without_write_access_is_an_error_with_its_remedy(open_path):
    fill(open_path, ["a"])
    open_path.chmod(0o644)
    done = as_nobody("forget(Path(sys.argv[1]), ['a'])", open_path)
    assert f"StateUnusableError: the state file {open_path} cannot be used" in done.stderr
    assert "run this command as root" in done.stderr


def test_a_directory_that_the_user_may_not_search_is_an_error_with_its_remedy(open_path):
    path = open_path.with_name("closed") / "presenced.db"
    path.parent.mkdir(mode=0o700)
    fill(path, ["a"])
    for function in ("summary", "StateFile.open"):
        done = as_nobody(f"{function}(Path(sys.argv[1]))", path)
        error = f"StateUnusableError: the state file {path} cannot be used: Permission denied; "
        assert error in done.stderr


def test_root_leaves_nothing_behind_that_keeps_the_daemons_user_out(open_path):
    path = open_path
    fill(path, ["a", "b"])
    path.with_name("presenced.db.lock").unlink()
    for each in (path.parent, path):
        os.chown(each, 65534, 65534)
    forget(path, ["a"])
    summary(path)
    code = "file = StateFile.open(Path(sys.argv[1])); print(file.commit(Changes()))"
    done = as_nobody(code, path)
    assert done.stdout == "0\n", done.stderr


@pytest.fixture
def config(path, tmp_path):
    config = tmp_path / "presenced.yaml"
    config.write_text(yaml.safe_dump({"state": {"path": str(path)}}))
    return config


def test_the_command_shows(path, config):
    fill(path, ["a", "esc\x1b[31m"])
    done = run_here("state", "show", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: format {VERSION}, ")
    assert "not in use" in done.stdout
    assert ["online", "2"] in [line.split() for line in done.stdout.splitlines()]
    done = run_here("state", "show", "--config", str(config), "a")
    assert "last event       connected, 1970-01-01T00:00:01.500Z\n" in done.stdout
    assert "reason" not in done.stdout
    done = run_here("state", "show", "--file", str(path), "esc\x1b[31m")
    assert "client           esc\\x1b[31m\n" in done.stdout
    done = run_here("state", "show", "--file", str(path), "b")
    assert (done.returncode, done.stdout) == (1, f"{path} knows no client b.\n")


def test_the_command_forgets_and_exports(path, config):
    fill(path, ["a", "b", "c"])
    done = run_here("state", "forget", "--config", str(config), "a", "x")
    assert done.returncode == 1
    assert done.stdout == "a: forgotten\nx: not known\n"
    config.write_text("{}\n")
    done = run_here("state", "export", "--config", str(config), STATE_DIRECTORY=str(path.parent))
    assert [json.loads(line)["client_id"] for line in done.stdout.splitlines()] == ["b", "c"]


def test_the_command_needs_no_configuration_if_the_environment_names_the_file(path):
    if DEFAULT_CONFIG.exists():
        pytest.skip(f"this machine has {DEFAULT_CONFIG}")
    fill(path, ["a"])
    assert '"client_id":"a"' in run_here("state", "export", STATE_DIRECTORY=str(path.parent)).stdout
    assert '"client_id":"a"' in run_here("state", "export", PRESENCED_STATE__PATH=str(path)).stdout
    done = run_here("state", "show")
    assert done.returncode == 1
    assert f"there is no configuration {DEFAULT_CONFIG}" in done.stderr
    missing = path.with_name("missing.yaml")
    done = run_here("state", "show", "--config", str(missing), STATE_DIRECTORY=str(path.parent))
    assert (done.returncode, done.stderr) == (2, f"presenced: {missing}: no such file\n")


def test_the_command_reports_what_is_wrong(path, config):
    done = run_here("state", "show", "--config", str(config))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"presenced: there is no state file {path}")
    config.write_text("{}\n")
    done = run_here("state", "show", "--config", str(config))
    assert done.returncode == 1
    assert "set state.path, or name it by --file" in done.stderr
    assert run_here("state", "forget", "--config", str(config)).returncode == 2


def test_a_file_that_cannot_be_read_is_an_error(path):
    path.mkdir()
    with pytest.raises(StateUnusableError, match="it is a directory"):
        summary(path)
