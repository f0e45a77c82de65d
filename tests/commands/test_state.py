"""`presenced state show`: what it prints, and which file it finds."""

import subprocess
import sys
from pathlib import Path

import pytest

from presenced.cli import main
from presenced.settings import DEFAULT_CONFIG
from presenced.store.file import StateFile
from statefiles import client_row, of_clients

AT = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with clients in every state."""
    path = tmp_path / "presenced.db"
    awaited = f'{{"awaited":[[7,"s-1",1,{AT}]]}}'
    changes = of_clients(
        client_row("on", since=AT, transition=AT, event_time=1_700_000_000_500, extra=awaited),
        client_row("off", state="offline", since=AT, reason="CONNECTION_LOST", connected=0, gaps=1),
        client_row("soon", state="pending", since=AT, deadline=AT + 5, connected=0, gaps=1),
        client_row("thing", state="unknown", since=None, event_time=-1, connected=0),
        client_row("gone", state="offline", departed=1, connected=0),
        client_row("\x1b[2Jname", thing_name="pump", since=AT, gaps=1),
    )
    changes.note("gaps", "1")
    file = StateFile.open(path)
    file.commit(changes)
    file.close()
    return path


def shown(path: Path, capsys: pytest.CaptureFixture[str], client_id: str) -> dict[str, str]:
    assert main(["state", "show", "--file", str(path), client_id]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line[:17].strip(): line[17:] for line in lines}


def test_a_client_is_shown_in_the_words_of_the_api(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(path, capsys, "on") == {
        "client": "on",
        "state": "online",
        "since": "2023-11-14T22:13:20.000Z",
        "last transition": "2023-11-14T22:13:20.000Z",
        "last event": "connected, 2023-11-14T22:13:20.500Z",
        "version": "7",
        "session": "s-1",
        "verified": "no: events may have been lost since its last event",
        "still awaited": "1 disconnects of replaced connections",
    }
    offline = shown(path, capsys, "off")
    assert (offline["state"], offline["reason"]) == ("offline", "CONNECTION_LOST")
    assert "verified" not in offline
    assert shown(path, capsys, "soon")["goes offline"] == "2023-11-14T22:13:25.000Z"
    assert shown(path, capsys, "thing") == {"client": "thing", "state": "unknown"} | {
        "last transition": "1970-01-01T00:00:01.500Z"
    }


def test_a_forgotten_client_is_shown_as_such(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forgotten = shown(path, capsys, "gone")
    assert forgotten["state"] == "forgotten"
    assert "since" not in forgotten
    assert forgotten["last event"].startswith("disconnected, ")


def test_names_do_not_control_the_terminal(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = shown(path, capsys, "\x1b[2Jname")
    assert (named["client"], named["thing"]) == ("\\x1b[2Jname", "pump")


def test_the_summary_has_nothing_internal(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "show", "--file", str(path)]) == 0
    said = capsys.readouterr().out
    assert "forgotten clients" in said
    assert "meta" not in said
    assert "counted disconnects" not in said


def test_without_a_configuration_it_says_that_there_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if DEFAULT_CONFIG.exists():
        pytest.skip(f"this machine has {DEFAULT_CONFIG}")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert main(["state", "show"]) == 1
    said = capsys.readouterr().err
    assert f"there is no configuration {DEFAULT_CONFIG}" in said
    assert "--file" in said
    assert "/var/lib" not in said


def test_a_configuration_without_state_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    config = tmp_path / "presenced.yaml"
    config.write_text("mqtt: {endpoint: localhost, tls: false}\n")
    assert main(["state", "show", "--config", str(config)]) == 1
    assert f"{config} names no state file: set state.path" in capsys.readouterr().err


def test_a_full_disk_ends_an_export_with_a_message(path: Path) -> None:
    command = [sys.executable, "-m", "presenced", "state", "export", "--file", str(path)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 1
    assert done.stderr == "presenced: cannot write to standard output: No space left on device\n"
