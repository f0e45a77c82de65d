"""Log lines as entries of the systemd journal."""

import io
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.system import log
from presenced.system.journal import Journal, is_journal


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a journal, with standard error leading to it and logs configured for it."""
    path, stderr = tmp_path / "socket", tmp_path / "stderr"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening, stderr.open("w") as stream:
        listening.bind(str(path))
        listening.setblocking(False)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr("sys.stderr", stream)
        root = logging.getLogger()
        before, root.handlers = root.handlers, []
        monkeypatch.setattr("presenced.system.log.JOURNAL_SOCKET", path)
        log.configure("info", "auto")
        yield listening
        root.handlers = before


def entry(journald: socket.socket) -> dict[str, str]:
    """One entry, read as journald reads it."""
    data, fields = io.BytesIO(journald.recv(1 << 20)), {}
    while line := data.readline():
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not equals:
            value = data.read(int.from_bytes(data.read(8), "little"))
            assert data.read(1) == b"\n"
        fields[name.decode()] = value.decode()
    return fields


def test_message_level_and_fields(journald: socket.socket) -> None:
    logger = log.get_logger("part")
    logger.debug("not this")
    logger.warning("it happened", client_id="sensor 1", connections=[1, "a"], reason=None)
    assert entry(journald) == {
        "MESSAGE": 'it happened client_id="sensor 1" connections=[1, "a"]',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "presenced",
        "PRESENCED_COMPONENT": "part",
        "PRESENCED_CLIENT_ID": "sensor 1",
        "PRESENCED_CONNECTIONS": '[1, "a"]',
    }


@pytest.mark.parametrize(
    ("level", "priority"), [("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_levels(journald: socket.socket, level: str, priority: str) -> None:
    getattr(log.get_logger("part"), level)("it happened")
    assert entry(journald)["PRIORITY"] == priority


@pytest.mark.parametrize("client_id", ["a\nPRIORITY=0\nb", "a\u2028b\x1b[31m", "é\ud800"])
def test_hostile_values_stay_in_their_field(journald: socket.socket, client_id: str) -> None:
    log.get_logger("part").info("it happened", client_id=client_id)
    fields = entry(journald)
    assert fields["PRIORITY"] == "6"
    assert fields["MESSAGE"].isprintable()
    assert fields["PRESENCED_CLIENT_ID"] == client_id.encode(errors="replace").decode()


def test_a_traceback_is_a_field_without_local_variables(journald: socket.socket) -> None:
    payload = "principal" + "-of-somebody"
    try:
        1 / len(payload[:0])
    except ZeroDivisionError:
        log.get_logger("part").exception("it broke")
    fields = entry(journald)
    assert fields["MESSAGE"] == 'it broke exception="ZeroDivisionError: division by zero"'
    assert fields["PRIORITY"] == "3"
    assert fields["PRESENCED_EXCEPTION"].startswith("Traceback ")
    assert payload not in json.dumps(fields)


def test_log_records_of_libraries(journald: socket.socket) -> None:
    library = logging.getLogger("library")
    library.info("not this")
    library.warning("%s\nhappened", "it")
    assert entry(journald)["MESSAGE"] == r'problem in a library detail="it\nhappened"'
    try:
        int("one")
    except ValueError:
        library.exception("it broke")
    fields = entry(journald)
    assert (fields["PRIORITY"], fields["PRESENCED_COMPONENT"]) == ("3", "library")
    assert fields["PRESENCED_EXCEPTION"].endswith("\nValueError")


def test_long_values_are_cut(journald: socket.socket) -> None:
    log.get_logger("part").info("it happened", detail="x" * 1_000_000)
    assert len(entry(journald)["PRESENCED_DETAIL"]) == 16 * 1024


def test_field_names_are_valid_for_the_journal(journald: socket.socket) -> None:
    more: dict[str, Any] = {"é-key": "1", "k" * 100: "2"}
    log.get_logger("part").info("it happened", **more)
    fields = entry(journald)
    assert fields["PRESENCED___KEY"] == "1"
    assert fields["PRESENCED_" + "K" * 54] == "2"


def test_a_journal_that_hangs_costs_only_lines(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        full = Journal(tmp_path / "socket")
        begun = time.monotonic()
        while not full.lost:
            full.write([("MESSAGE", "x")])
        for _ in range(1000):
            full.write([("MESSAGE", "x")])
        assert time.monotonic() - begun < 5
        taken = listening.recv(4096)
        while b"lost" not in taken:
            full.write([("MESSAGE", "y")])
            taken = listening.recv(4096)


def test_a_journal_that_is_gone_is_no_error(tmp_path: Path) -> None:
    gone = Journal(tmp_path / "missing")
    gone.write([("MESSAGE", "x")])
    assert gone.lost == 1


def test_a_line_of_a_library_that_cannot_be_formatted_does_not_raise(
    journald: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logging.raiseExceptions", False)  # else pytest raises it
    logging.getLogger("library").warning("%d clients", "many")
    assert entry(journald)["PRESENCED_DETAIL"] == "%d clients"


def test_the_environment_variable_alone_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "file").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:1")
        assert not is_journal(stream)
        assert not is_journal(io.StringIO())
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not is_journal(stream)


def test_a_format_that_is_configured_is_used_in_a_journal_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr("sys.stderr", stream)
        log.configure("info", "json")
        log.get_logger("part").info("it happened")
    assert json.loads((tmp_path / "stderr").read_text())["event"] == "it happened"
