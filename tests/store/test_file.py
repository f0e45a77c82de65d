"""The state file: rows, locks, formats, damage."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import missing
from presenced.store.changes import Changes
from presenced.store.errors import (
    StateDamagedError,
    StateError,
    StateLockedError,
    StateUnusableError,
)
from presenced.store.file import StateFile, default_path
from presenced.store.format import APPLICATION_ID, VERSION
from presenced.store.schema import (
    TABLES,
    ClientRow,
    CounterRow,
    MetaRow,
    ThingGroupRow,
    ThingRow,
    ThingTypeRow,
)
from statefiles import client_row, clients_in, fill, of_clients, query, thing_row

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


def test_every_row_comes_back_as_it_was(path):
    changes = of_clients(client_row("ü/\x00/b c", extra='{"doubts":[1]}', version=2**63 - 1))
    changes.things["t"] = thing_row("t", event_time=None)
    changes.thing_groups["g"] = ThingGroupRow("g", None, None, 5, 1, 5, "up", "{}", "[]")
    changes.thing_types["y"] = ThingTypeRow("y", "id", 1, 5, 0, -1, 1, '["a"]', None)
    changes.count("iot_events_total", '{"family":"presence"}', 2.5)
    changes.note("written_by", "1.0")
    file = StateFile.open(path)
    assert file.commit(changes) == 0
    file.close()
    file = StateFile.open(path)
    assert list(file.read(ClientRow)) == list(changes.clients.values())
    assert list(file.read(ThingRow)) == [changes.things["t"]]
    assert list(file.read(ThingGroupRow)) == [changes.thing_groups["g"]]
    assert list(file.read(ThingTypeRow)) == [changes.thing_types["y"]]
    assert list(file.read(CounterRow)) == [
        CounterRow("iot_events_total", '{"family":"presence"}', 2.5)
    ]
    assert list(file.read(MetaRow)) == [MetaRow("written_by", "1.0")]
    file.close()


def test_many_rows_are_read_without_gap_or_repetition(path):
    names = [f"d-{number:05}" for number in range(20_000)]
    fill(path, names)
    file = StateFile.open(path)
    read = [row.client_id for row in file.read(ClientRow)]
    file.close()
    assert read == names


def test_other_programs_know_the_file_as_ours(path):
    fill(path, ["a"])
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert query(path, "PRAGMA user_version") == [(VERSION,)]
    assert query(path, "SELECT client_id, state FROM clients") == [("a", "online")]


@pytest.mark.parametrize(
    "bad",
    [
        client_row("bad", version=2**63),
        client_row("bad", reason="\ud800"),
        client_row("bad", state="asleep"),
        client_row("bad", session=object()),
    ],
)
def test_a_row_that_sqlite_does_not_take_keeps_no_other_from_the_file(path, bad):
    file = StateFile.open(path)
    names = [f"d-{number}" for number in range(300)]
    good = [client_row(name) for name in names]
    assert file.commit(of_clients(*good[:150], bad, *good[150:])) == 1
    assert sorted(clients_in(file)) == sorted(names)
    file.close()


def test_a_client_keeps_the_number_of_its_arrival_until_it_arrives_again(path):
    file = StateFile.open(path)
    for arrivals, kept in [([None], None), ([4, None], 4), ([None, None], 4), ([9], 9)]:
        pending = of_clients(client_row("b"))
        for arrival in arrivals:
            pending.merge(of_clients(client_row("a", arrival=arrival, version=arrival)))
        file.commit(pending)
        row = clients_in(file)["a"]
        assert (row.arrival, row.version) == (kept, arrivals[-1])
    file.close()


def test_a_failed_commit_changes_nothing(path):
    file = StateFile.open(path)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE things")
    other.close()
    changes = of_clients(client_row())
    changes.things["t"] = thing_row()
    with pytest.raises(StateUnusableError, match="no such table"):
        file.commit(changes)
    assert clients_in(file) == {}
    assert file.commit(of_clients(client_row())) == 0  # and the next one can
    file.close()


HOLD = """
import sys
from pathlib import Path
from presenced.store.file import StateFile
file = StateFile.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StateLockedError, match=f"process {holder.pid}.*stop that one") as found:
            StateFile.open(path)
        assert str(path) in str(found.value)
        holder.kill()
    StateFile.open(path).close()


def test_a_link_to_a_file_is_the_same_file(path, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(path)
    file = StateFile.open(link)
    file.commit(of_clients(client_row()))
    with pytest.raises(StateLockedError):
        StateFile.open(path)
    file.close()

    def find_damage(_):
        raise StateDamagedError(link, "bad value")

    with pytest.raises(StateDamagedError) as found:
        StateFile.open(link, find_damage)
    assert found.value.moved_aside.parent == path.parent
    assert link.is_symlink()
    StateFile.open(link).close()
    assert query(path, "SELECT count(*) FROM clients") == [(0,)]


def test_a_lock_that_is_a_link_is_not_followed(path):
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name("presenced.db.lock").symlink_to(victim)
    with pytest.raises(StateUnusableError):
        StateFile.open(path)
    assert victim.read_text() == "precious"


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path):
    fill(path, ["a"])
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE clients ADD COLUMN mood TEXT")
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StateError, match="newer presenced"):
        StateFile.open(path)
    assert query(path, "SELECT client_id FROM clients") == [("a",)]
    with pytest.raises(StateError):  # and not kept locked
        StateFile.open(path)


def test_a_database_of_another_program_is_refused_and_left_alone(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE clients (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="another program"):
        StateFile.open(path)
    assert path.read_bytes()[100:] == before[100:]
    assert query(path, "SELECT count(*) FROM clients") == [(0,)]


def truncate_header(path):
    os.truncate(path, 50)


def truncate_pages(path):
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def garble_header(path):
    path.write_bytes(b"\xa5" * 100 + path.read_bytes()[100:])


def garble_schema(path):
    content = bytearray(path.read_bytes())
    content[100:PAGE] = b"\xa5" * (PAGE - 100)
    path.write_bytes(content)


def garble_middle(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // PAGE * PAGE
    content[middle : middle + 4 * PAGE] = b"\xa5" * 4 * PAGE
    path.write_bytes(content)


def garble_text(path):
    path.write_bytes(path.read_bytes().replace(b"d-10000", b"d-1000\xff"))


def not_a_database(path):
    path.write_text("# presenced's configuration\n" * 100)


def moved_aside(path):
    """Open and read a damaged file; where it has been moved."""
    with pytest.raises(StateDamagedError) as found:
        StateFile.open(path, clients_in)
    return found.value.moved_aside


@pytest.mark.parametrize(
    "damage",
    [
        truncate_header,
        truncate_pages,
        garble_header,
        garble_schema,
        garble_middle,
        garble_text,
        not_a_database,
    ],
)
def test_a_damaged_file_is_moved_aside_and_a_new_one_made(path, damage):
    fill(path, [f"d-{number:05}" for number in range(20_000)])
    damage(path)
    damaged = path.read_bytes()
    aside = moved_aside(path)
    assert aside.read_bytes()[100:] == damaged[100:]
    assert aside.name.startswith("presenced.db.corrupt-")
    file = StateFile.open(path)
    assert clients_in(file) == {}
    file.commit(of_clients(client_row("new")))
    file.close()
    file = StateFile.open(path)
    assert list(clients_in(file)) == ["new"]
    file.close()


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA application_id = 5",
        "PRAGMA application_id = 0",
        *(f"PRAGMA user_version = {version}" for version in (-1, 0, 1, 2, 3, VERSION + 1, 99)),
        "PRAGMA application_id = 0; PRAGMA user_version = 0",
        "DROP TABLE things",
        "DROP TABLE mass_events",
        "DROP TABLE mass_events; DROP TABLE recent_transitions; DROP TABLE trend_minutes",
        "DROP TABLE meta; CREATE VIEW meta AS SELECT 'gaps' AS key, '1' AS value",
        "ALTER TABLE clients RENAME COLUMN gaps TO gapt",
        "ALTER TABLE clients DROP COLUMN offline_at",
        "ALTER TABLE clients ADD COLUMN mood TEXT",
        "CREATE TRIGGER t AFTER INSERT ON clients BEGIN DELETE FROM clients; END",
    ],
)
def test_tables_and_header_that_do_not_fit_are_damage(path, sql):
    fill(path, ["a"])
    with sqlite3.connect(path) as connection:
        connection.executescript(sql)
    connection.close()
    moved_aside(path)
    StateFile.open(path).close()


def test_what_others_add_beside_the_tables_is_left_alone(path):
    """As programs do that copy the file, or a person who wants to look into it faster."""
    fill(path, ["a"])
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE _copied (number INTEGER); CREATE INDEX by_state ON clients (state);"
            "CREATE VIEW online AS SELECT * FROM clients WHERE state = 'online'; ANALYZE"
        )
    connection.close()
    file = StateFile.open(path)
    assert list(clients_in(file)) == ["a"]
    file.close()


def test_null_where_there_is_none_is_damage(path):
    """One byte: the type of a value in `meta`."""
    file = StateFile.open(path)
    changes = Changes()
    changes.note("gaps", "1")
    file.commit(changes)
    file.close()
    text, null = b"\x03\x15\x0fgaps1", b"\x03\x15\x00gaps1"
    assert path.read_bytes().count(text) == 1
    path.write_bytes(path.read_bytes().replace(text, null))
    moved_aside(path)
    StateFile.open(path).close()


def test_keys_out_of_order_are_damage(path):
    """Reading on after the last key of a query would read the same rows for ever."""
    fill(path, [f"d-{number:05}" for number in range(5_000)])
    path.write_bytes(path.read_bytes().replace(b"d-01999", b"d-00999"))
    moved_aside(path)


def test_a_header_that_makes_the_file_read_only_is_damage(path):
    """With another cause it could be read at each start, and never be written."""
    fill(path, ["a"])
    content = bytearray(path.read_bytes())
    content[18] = 130
    path.write_bytes(content)
    moved_aside(path)
    StateFile.open(path).close()


def test_a_damaged_page_that_is_only_written_is_damage(path):
    fill(path, [f"d-{number:05}" for number in range(20_000)])
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM clients WHERE client_id > 'd-00100'")
    connection.close()
    content = bytearray(path.read_bytes())
    first_free = int.from_bytes(content[32:36])
    assert first_free
    start = (first_free - 1) * PAGE
    content[start : start + PAGE] = b"\xa5" * PAGE
    path.write_bytes(content)
    moved_aside(path)


def test_an_error_in_what_restores_is_damage(path):
    fill(path, ["a"])

    def fail(_):
        raise AttributeError("'NoneType' object has no attribute 'partition'")

    with pytest.raises(StateDamagedError, match="partition"):
        StateFile.open(path, fail)
    StateFile.open(path).close()


@pytest.mark.parametrize("with_log", [False, True])
def test_a_file_of_zero_bytes_that_was_used_before_is_damage(path, with_log):
    fill(path, ["a"])
    path.write_bytes(b"")
    if with_log:
        path.with_name("presenced.db.lock").unlink()
        path.with_name("presenced.db-wal").write_bytes(b"log")
    with pytest.raises(StateDamagedError, match="0 bytes") as found:
        StateFile.open(path)
    aside = found.value.moved_aside
    assert aside.read_bytes() == b""
    assert not with_log or aside.with_name(aside.name + "-wal").read_bytes() == b"log"
    StateFile.open(path).close()


def test_a_file_of_zero_bytes_that_was_never_used_is_a_new_one(path):
    """Such as one that is made beforehand, to give it an owner."""
    path.touch()
    StateFile.open(path).close()
    assert query(path, "SELECT count(*) FROM clients") == [(0,)]


def loop(path):
    path.symlink_to(path)


def loop_of_directories(path):
    path.parent.rmdir()
    path.parent.symlink_to(path.parent)


def file_for_directory(path):
    path.parent.rmdir()
    path.parent.write_text("")


def pipe(path):
    os.mkfifo(path)


def directory_for_lock(path):
    path.with_name(path.name + ".lock").mkdir()


@pytest.mark.parametrize(
    ("name", "make", "detail", "remedy"),
    [
        ("p.db", loop, "Too many levels of symbolic links", "form a loop"),
        ("p.db", loop_of_directories, "Too many levels of symbolic links", "form a loop"),
        ("p.db", file_for_directory, "Not a directory", "is a file"),
        ("p" * 300, lambda _: None, "File name too long", "make it shorter"),
        ("p" * 253, lambda _: None, "File name too long", "make it shorter"),
        ("p.db", pipe, "it is not a regular file", "set state.path to a file"),
        ("p.db", directory_for_lock, "Is a directory", "remove the directory"),
    ],
)
def test_a_path_that_leads_to_no_file_is_an_error_with_its_remedy(
    tmp_path, name, make, detail, remedy
):
    path = tmp_path / "directory" / name
    path.parent.mkdir()
    make(path)
    with pytest.raises(StateUnusableError) as found:
        StateFile.open(path)
    assert (found.value.cause, found.value.detail) == ("other", detail)
    assert remedy in found.value.remedy


def test_a_missing_directory_is_named(path):
    with pytest.raises(StateUnusableError, match="there is no directory") as found:
        StateFile.open(path.parent / "nowhere" / "presenced.db")
    assert str(path.parent / "nowhere") in str(found.value)


def test_a_directory_in_the_files_place_is_no_state_file(path):
    path.mkdir()
    with pytest.raises(StateUnusableError, match=str(path)):
        StateFile.open(path)


OPEN_AS_NOBODY = """
import os, sys
from pathlib import Path
from presenced.store.file import StateFile
from presenced.store.errors import StateUnusableError
os.setgid(65534); os.setuid(65534)
try:
    StateFile.open(Path(sys.argv[1]))
except StateUnusableError as error:
    print(error.cause, error)
"""


@pytest.mark.parametrize("has_file", [False, True])
def test_a_read_only_directory_is_an_error_with_its_remedy(open_directory, has_file):
    if os.geteuid() != 0:
        missing("becoming a user who may not write needs root")
    path = open_directory / "presenced.db"
    if has_file:
        fill(path, ["a"])
    open_directory.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AS_NOBODY, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("read_only "), done.stderr
    assert f"{path} cannot be used" in done.stdout
    assert "let the user that presenced runs as write" in done.stdout


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"STATE_DIRECTORY": ""}, None),
        ({"STATE_DIRECTORY": "/var/lib/presenced"}, Path("/var/lib/presenced/presenced.db")),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, Path("/var/lib/a/presenced.db")),
    ],
)
def test_the_default_path_is_in_systemds_state_directory(environ, expected):
    assert default_path(environ) == expected


def test_changes_know_how_many_rows_they_hold():
    changes = of_clients(client_row("a"), client_row("b"))
    changes.things["t"] = None
    assert len(changes) == 3
    assert not Changes()


FORMAT_1 = (Path(__file__).parent / "format_1.sql").read_text()
FORMAT_2 = FORMAT_1 + "ALTER TABLE clients ADD COLUMN offline_at REAL;"
FORMAT_3 = FORMAT_2 + "ALTER TABLE clients ADD COLUMN arrival INTEGER;"


@pytest.mark.parametrize(("version", "sql"), [(1, FORMAT_1), (2, FORMAT_2), (3, FORMAT_3)])
def test_files_of_earlier_formats_are_migrated(path, version, sql):
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    row = client_row(
        "a",
        state="offline",
        offline_at=None if version < 2 else 5.5,
        arrival=None if version < 3 else 7,
    )
    columns = row[: 13 + version]
    connection.execute(f"INSERT INTO clients VALUES ({', '.join('?' * len(columns))})", columns)
    connection.commit()
    connection.close()
    file = StateFile.open(path)
    assert clients_in(file) == {"a": row}
    file.close()
    assert query(path, "PRAGMA user_version") == [(VERSION,)]
    fresh = path.with_name("fresh.db")
    StateFile.open(fresh).close()
    for table in TABLES:
        columns = f"SELECT * FROM pragma_table_xinfo('{table.name}')"
        assert query(path, columns) == query(fresh, columns)
        kind = f"SELECT wr FROM pragma_table_list('{table.name}')"
        assert query(path, kind) == query(fresh, kind)
    counted = "SELECT count(*) FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
    assert query(path, counted) == query(fresh, counted)


@pytest.mark.parametrize("version", [0, VERSION, VERSION + 1])
def test_tables_of_an_earlier_format_with_another_number_are_damage(path, version):
    connection = sqlite3.connect(path)
    connection.executescript(FORMAT_1)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    moved_aside(path)
    StateFile.open(path).close()
