"""Lines about transitions are those that the logger itself would write."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.fleet import Changes
from presenced.pipeline import Batch
from presenced.presence import Client, ClientChange, State, Transition
from presenced.service.transition_log import SecondFormatter, TransitionLog
from presenced.system import log

MANY = [
    Transition(1700000005.0, 1700000000.1239, "a", State.ONLINE, State.OFFLINE, "CONNECTION_LOST"),
    Transition(
        1700000006.0, 1700000006.0, 'b"\n\x1b\x9bü\ud800', State.UNKNOWN, State.ONLINE, None
    ),
    Transition(1700000006.5, 1700000006.5, "c", State.OFFLINE, State.ONLINE, 'odd "reason"'),
]


def written(capsys: pytest.CaptureFixture[str], level: str, log_format: str) -> list[str]:
    log.configure(level, log_format)
    TransitionLog().observe(batch(*MANY))
    return capsys.readouterr().err.splitlines()


def batch(*transitions: Transition) -> Batch:
    changes = [
        ClientChange(Client(each.client_id), each.previous, each.state, each)
        for each in transitions
    ]
    return Batch([], [], Changes(changes, set(), set(), set()))


def expected(capsys: pytest.CaptureFixture[str], log_format: str) -> list[str]:
    log.configure("info", log_format)
    for each in MANY:
        at = datetime.fromtimestamp(each.since, UTC)
        log.get_logger("presenced").info(
            "client went " + each.state,
            client_id=each.client_id,
            previous=str(each.previous),
            since=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            reason=each.reason,
        )
    return capsys.readouterr().err.splitlines()


def without_time(line: str) -> str:
    before, _, after = line.partition("2")
    return before if line.startswith("2") else line.rpartition('"timestamp"')[0] or before + after


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_lines_are_the_same_as_those_of_the_logger(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    lines, wanted = written(capsys, "info", log_format), expected(capsys, log_format)
    assert len(lines) == len(MANY)
    assert list(map(without_time, lines)) == list(map(without_time, wanted))


def test_json_lines_have_timestamps(capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    lines = written(capsys, "info", "json")
    for line in lines:
        assert before <= datetime.fromisoformat(json.loads(line)["timestamp"]) <= datetime.now(UTC)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_all_times_of_a_line_are_written_alike(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    for line in written(capsys, "info", log_format):
        assert len(re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line)) == 2
        assert "+00:00" not in line


def test_nothing_is_written_below_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, "warning", "json") == []


def test_a_new_configuration_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    transitions = TransitionLog()
    transitions.observe(batch(MANY[0]))
    log.configure("warning", "json")
    transitions.use_configuration()
    transitions.observe(batch(MANY[1]))
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["client_id"] == "a"


@given(st.floats(0, 4e9))
def test_times_are_those_of_the_library(at: float) -> None:
    ours = datetime.fromisoformat(SecondFormatter().milliseconds(at))
    library = datetime.fromisoformat(
        datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    )
    # A time that lies between two microseconds may be rounded either way, and then down or not.
    assert abs(ours - library) <= timedelta(milliseconds=1)


def test_a_time_is_rounded_down_and_each_second_is_formatted() -> None:
    seconds = SecondFormatter()
    assert [seconds.milliseconds(at) for at in (1.9996, 1.001, 2.0, 1.0)] == [
        "1970-01-01T00:00:01.999Z",
        "1970-01-01T00:00:01.001Z",
        "1970-01-01T00:00:02.000Z",
        "1970-01-01T00:00:01.000Z",
    ]
