"""Attack: get credentials into logs and answers, or fill the disk with log lines."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon
from raw_http import connect, exchange, request, status_of
from waiting import wait_for

SECRET = base64.b64encode(b"prometheus:correct horse battery staple")
CREDENTIALS = b"Authorization: Basic " + SECRET

MALFORMED = {
    "space before the colon": request("/metrics", "GET", b"Authorization : Basic " + SECRET),
    "control character": request("/metrics", "GET", CREDENTIALS + b"\x01"),
    "NUL": request("/metrics", "GET", CREDENTIALS + b"\0"),
    "lone line feed": b"GET / HTTP/1.1\nHost: x\n" + CREDENTIALS + b"\n \n\n\r\n\r\n",
    "long header": request("/metrics", "GET", CREDENTIALS + b"A" * 9000),
    "long name": request("/metrics", "GET", SECRET + b"A" * 9000 + b": x"),
    "long target": request("/" + SECRET.decode() + "A" * 9000),
    "many headers": request("/metrics", "GET", *[CREDENTIALS] * 500),
    "method line": SECRET + b" is not a method\r\n" + CREDENTIALS + b"\r\n\r\n",
    "no version": b"GET /" + SECRET + b"\r\n" + CREDENTIALS + b"\r\n\r\n",
    "version": b"GET / HTTP/" + SECRET + b"\r\n" + CREDENTIALS + b"\r\n\r\n",
    "target": b"GET http://[" + SECRET + b" HTTP/1.1\r\n" + CREDENTIALS + b"\r\n\r\n",
    "port": b"GET http://x:" + SECRET + b"/ HTTP/1.1\r\n" + CREDENTIALS + b"\r\n\r\n",
    "length": request("/metrics", "POST", b"Content-Length: " + SECRET, CREDENTIALS),
    "two lengths": request("/", "POST", b"Content-Length: 1", b"Content-Length: 2", CREDENTIALS),
    "chunk": request("/-/reload", "POST", b"Transfer-Encoding: chunked", CREDENTIALS)
    + SECRET
    + b"\r\n\r\n",
    "chunk without end": request("/metrics", "GET", b"Transfer-Encoding: chunked", CREDENTIALS)
    + b"5\r\n"
    + SECRET
    + b"\r\n0\r\n\r\n",
    "coding": request("/metrics", "POST", b"Content-Encoding: gzip", b"Content-Length: 57")
    + SECRET
    + b"\r\n",
    "expectation": request("/metrics", "GET", b"Expect: " + SECRET),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET + b"\r\n\r\n",
}


@pytest.fixture
def daemon(daemon_of: Any) -> Daemon:
    """A daemon at the level that writes most."""
    made: Daemon = daemon_of(log={"level": "debug"}, metrics={"enable_reload_endpoint": True})
    return made


def shown(text: bytes) -> bool:
    """Whether a text holds the credentials, or a part of them that is of use."""
    return any(SECRET[at : at + 12] in text for at in range(len(SECRET) - 12))


def test_malformed_requests_show_nothing_in_answers_and_logs(daemon: Daemon) -> None:
    for name, data in MALFORMED.items():
        answer = exchange(daemon.port, data)
        assert status_of(answer) != 500, name
        assert not shown(answer), name
    assert status_of(exchange(daemon.port, request())) == 200
    log = daemon.log_file.read_bytes()
    assert not shown(log)
    assert b"malformed request" in log
    for line in map(json.loads, log.splitlines()):
        assert line["level"] != "error", "it is the client's fault"


def test_a_malformed_request_is_answered_400(daemon: Daemon) -> None:
    for name in ("space before the colon", "control character", "long header", "method line"):
        answer = exchange(daemon.port, MALFORMED[name])
        assert status_of(answer) == 400, name
        assert answer.endswith(b"\r\n\r\nBad Request\n"), name


def test_thousands_of_malformed_requests_write_a_few_lines(daemon: Daemon) -> None:
    before = daemon.log_file.stat().st_size
    for _ in range(150):
        for data in MALFORMED.values():
            with connect(daemon.port) as connection:
                connection.sendall(data)
    wait_for(lambda: daemon.get("/-/healthy")[0] == 200, what="an answer after the flood")
    written = daemon.log_file.stat().st_size - before
    assert written < 30_000, f"{written} bytes for 3000 requests"


def test_the_console_format_shows_no_more(daemon_of: Any, tmp_path: Path) -> None:
    daemon: Daemon = daemon_of(log={"level": "debug", "format": "console"})
    for data in MALFORMED.values():
        exchange(daemon.port, data)
    log = daemon.log_file.read_bytes()
    assert not shown(log)
    assert b"malformed request" in log
