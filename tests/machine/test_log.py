"""Logs: levels, formats, and repeated faults left out."""

import json
import os

import pytest

from presenced.system import log
from presenced.system.log import Throttle


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    log.get_logger("part").info("it happened", client_id="a\nb")
    log.get_logger("part").debug("not this")
    (line,) = capsys.readouterr().err.splitlines()
    shown = json.loads(line)
    assert shown.pop("timestamp").endswith("Z")
    assert shown == {
        "event": "it happened",
        "level": "info",
        "component": "part",
        "client_id": "a\nb",
    }


def test_console_text(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "console")
    log.get_logger("part").warning("it happened", client_id="a\nb")
    (line,) = capsys.readouterr().err.splitlines()
    assert "it happened" in line
    assert r"client_id='a\nb'" in line


def test_console_text_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "console")
    log.get_logger("part").info("it happened", client_id="\x1b]0;title\x07\x1b[2Jgone")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert r"\x1b]0;title" in shown


def test_a_broken_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as broken:
        monkeypatch.setattr("sys.stderr", broken)
        log.configure("info", "json")
        log.get_logger("part").info("nobody reads this")
        broken_pipe = os.open(os.devnull, os.O_WRONLY)
        os.dup2(broken_pipe, writer)  # so that closing it can flush
        os.close(broken_pipe)


def test_auto_is_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "auto")
    log.get_logger("part").info("it happened")
    assert json.loads(capsys.readouterr().err)["event"] == "it happened"


def test_loggers_follow_a_new_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "json")
    logger = log.get_logger("part")
    logger.info("not yet")
    log.configure("info", "json")
    logger.info("now")
    assert json.loads(capsys.readouterr().err)["event"] == "now"


def test_repeats_are_left_out_and_counted() -> None:
    now = 0.0
    throttle = Throttle(60.0, clock=lambda: now)
    assert throttle.admit("fault") == 0
    assert [throttle.admit("fault") for _ in range(5)] == [None] * 5
    assert throttle.admit("another fault") == 0
    now = 60.0
    assert throttle.admit("fault") == 5
    assert throttle.admit("fault") is None


def test_different_faults_do_not_fill_the_memory() -> None:
    throttle = Throttle(60.0, capacity=10, clock=lambda: 0.0)
    assert [throttle.admit(number) for number in range(1000)] == [0] * 1000
    assert len(throttle._seen) == 10


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_do_not_show_what_variables_hold(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    log.configure("info", log_format)
    payload = "principal" + "-of-somebody"
    try:
        1 / len(payload[:0])
    except ZeroDivisionError:
        log.get_logger("part").exception("it broke")
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown
    assert payload not in shown
