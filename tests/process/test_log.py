"""Logs: levels, formats, and repeated lines left out."""

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from presenced.system import log
from presenced.system.log import ThrottledLogger


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


def test_console_text_cannot_send_commands_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "console")
    log.get_logger("part").info("it happened", client_id="\x1b]0;title\x07\x1b[2Jgone")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert r"\x1b]0;title" in shown


def test_a_broken_standard_error_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as broken:
        monkeypatch.setattr("sys.stderr", broken)
        log.configure("info", "json")
        log.get_logger("part").info("lost")
        broken_pipe = os.open(os.devnull, os.O_WRONLY)
        os.dup2(broken_pipe, writer)  # so that closing it can flush
        os.close(broken_pipe)


def test_auto_is_json_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
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


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))


def test_repeats_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = Lines()
    logger = ThrottledLogger(lines)
    assert logger.warning("it failed", key="a", number=1)
    assert [logger.warning("it failed", key="a", number=2) for _ in range(5)] == [False] * 5
    assert logger.warning("it failed", key="b")
    assert logger.warning("something else failed", key="a")
    now = 60.0
    assert logger.warning("it failed", key="a", number=3)
    assert not logger.warning("it failed", key="a")
    assert lines.lines == [
        ("it failed", {"number": 1}),
        ("it failed", {}),
        ("something else failed", {}),
        ("it failed", {"number": 3, "repeats_left_out": 5}),
    ]


def test_different_lines_do_not_fill_the_memory() -> None:
    lines = Lines()
    logger = ThrottledLogger(lines)
    assert all(logger.warning("it failed", key=number) for number in range(1000))
    written = len(lines.lines)
    remembered = [not logger.warning("it failed", key=number) for number in range(744, 1000)]
    assert all(remembered)
    assert logger.warning("it failed", key=743)
    assert len(lines.lines) == written + 1


def test_each_level_is_written_at_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logger = ThrottledLogger(log.get_logger("part"))
    logger.info("first")
    logger.warning("second")
    logger.error("third")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logger.exception("fourth")
    shown = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in shown] == [
        ("first", "info"),
        ("second", "warning"),
        ("third", "error"),
        ("fourth", "error"),
    ]
    assert shown[-1]["exception"][0]["exc_type"] == "ZeroDivisionError"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_have_no_local_variables(
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


@pytest.fixture
def library_log() -> Iterator[None]:
    """The handler of the standard library's records, removed after the test."""
    root = logging.getLogger()
    before = root.handlers[:]
    # One of an earlier test remembers what it has written.
    root.handlers = [each for each in before if not isinstance(each, log.LibraryHandler)]
    log.configure("debug", "json")
    yield
    root.handlers = before


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_of_libraries_are_lines_of_ours(
    library_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("library.part").info("not this")
    logging.getLogger("library.part").warning("%s clients", 5)
    logging.getLogger("library.part").error("it broke")
    first, second = lines_of(capsys)
    assert first.pop("timestamp")
    assert first == {
        "event": "problem in a library",
        "level": "warning",
        "component": "library.part",
        "detail": "5 clients",
    }
    assert (second["detail"], second["level"]) == ("it broke", "error")


def test_lines_of_the_web_server_and_the_loop_repeat_no_request(
    library_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "cHJvbWV0aGV1czpzZWNyZXQ="

    def fail() -> None:
        try:
            int(f"Basic {secret}")
        except ValueError as error:
            raise ConnectionResetError(104, secret) from error

    with pytest.raises(ConnectionResetError) as caught:
        fail()
    raised = caught.value
    logging.getLogger("aiohttp.server").error("Request of %s failed", secret, exc_info=raised)
    for text in (f"Exception in callback f({secret!r})\ndata: {secret}", f"Task <{secret}> failed"):
        logging.getLogger("asyncio").error(text)
    lines = lines_of(capsys)
    assert [line["detail"] for line in lines] == ["Request of", "Exception in callback f", "Task"]
    assert ", in fail\n" in lines[0]["exception"]
    assert lines[0]["exception"].endswith("\nConnectionResetError: Connection reset by peer")
    assert secret not in json.dumps(lines)


def test_repeated_lines_of_libraries_are_left_out(
    library_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1000):
        logging.getLogger("library").warning("client %d is lost", number)
        text = f"Exception in callback f({number})"
        logging.getLogger("asyncio").error(text)
    assert len(lines_of(capsys)) == 2


def test_a_second_configuration_adds_no_second_line(
    library_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", "json")
    logging.getLogger("library").warning("once")
    assert len(lines_of(capsys)) == 1
