"""`presenced top` at a server that answers as the contract of the API says."""

import base64
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from brokers import free_port
from command_line import run_here
from consoles import staged
from presenced.fleet import Partition
from presenced_emulator.daemon import clean_environment

NOW = "2026-11-27T02:58:00.000Z"


def overview() -> dict[str, Any]:
    """A hall that lost its connection seven minutes ago."""
    trend = [
        {
            "at": f"2026-11-27T{minute // 60:02}:{minute % 60:02}:00.000Z",
            "online": 600 if minute >= 171 else 990,
            "pending": 0,
            "offline": 400 if minute >= 171 else 10,
            "to_online": 0,
            "to_offline": 0,
        }
        for minute in range(60, 178)
    ]
    return {
        "time": NOW,
        "partitions": None,
        "daemon": {
            "state": "receiving",
            "since": "2026-11-27T01:00:00.000Z",
            "text": "events are received",
            "meaning": [
                "12 clients are in doubt (12 online): events may have been lost, last at 02:00Z.",
                "The next event of a client confirms its state.",
            ],
            "in_doubt": 12,
            "aws": {"problems": ["iot:SearchIndex is denied: allow it"], "adopted": 3},
        },
        "fleet": {
            "clients": {"online": 600, "pending": 0, "offline": 400, "unknown": 5},
            "share_online": 0.6,
            "hour_ago": 0.9999,
            "day_ago": None,
            "trend": trend,
        },
        "offline": {
            "by_reason": {"CLIENT_ERROR": 10, "CONNECTION_LOST": 390},
            "by_thing_type": [{"name": "pump", "offline": 300, "of": 500}],
            "by_thing_group": [{"name": "hall-3", "offline": 390, "of": 400}],
            "standout": {
                "kind": "thing_group",
                "name": "hall-3",
                "offline": 390,
                "of": 400,
                "since": "2026-11-27T02:51:00.000Z",
                "reason": "CONNECTION_LOST",
                "text": "hall-3: 97 % offline since 02:51, connection lost",
            },
        },
    }


def clients() -> list[dict[str, Any]]:
    names = ["hall-3/pump-1", "hall-3/pump-\x1b[31m2", "泵-3", "x" * 128]
    return [
        {
            "client_id": name,
            "state": "offline",
            "since": f"2026-11-27T02:5{number}:00.000Z",
            "reason": "CONNECTION_LOST" if number else None,
            "thing_groups": ["hall-3"],
        }
        for number, name in enumerate(names)
    ]


class Server(ThreadingHTTPServer):
    """Answers `overview` and `clients`; wants the pair `user:password` if that is set."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.overview = overview()
        self.clients = clients()
        self.pair: str | None = None
        self.status = 200
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, kind = self.server.status, "application/json"
        answer: Any = {"detail": "try again later", "status": status}
        if self.server.pair is not None and self.headers["Authorization"] != self._basic():
            status = 401
        elif self.path == "/api/v1/overview" and status == 200:
            answer = self.server.overview
        elif self.path.startswith("/api/v1/clients?state=offline&sort=-since&") and status == 200:
            limit = int(self.path.rpartition("=")[2])
            assert 1 <= limit <= 1000
            answer = {
                "clients": self.server.clients[:limit],
                "next_cursor": None,
                "partitions": None,
            }
        elif status == 200:
            status = 404
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _basic(self) -> str:
        return f"Basic {base64.b64encode(str(self.server.pair).encode()).decode()}"

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(port: int = 0) -> Iterator[Server]:
    server = Server(port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def top(server: Server, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{server.server_port}"
    return run_here("top", "--url", url, *arguments, **environ)


def test_into_a_pipe_it_prints_the_three_answers_once() -> None:
    with served() as server:
        done = top(server, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    bars = " " * 48 + "█" * 22 + "▁" * 2
    assert lines == [
        "presenced: receiving events since 01:00:00",
        "  12 clients are in doubt (12 online): events may have been lost, last at",
        "    02:00Z.",
        "  The next event of a client confirms its state.",
        "  AWS: iot:SearchIndex is denied: allow it",
        "",
        "online 60 %, an hour ago 99.99 %, a day ago unknown",
        "  600 online, 0 pending, 400 offline, 5 unknown",
        f"  {bars}",
        "  last 1h 58m: 60 % to 99 %; lowest at 02:51:00",
        "  hall-3: 97 % offline since 02:51, connection lost",
        "",
        "offline by reason                 by thing type          by thing group",
        "390 CONNECTION_LOST               300/500 pump           390/400 hall-3",
        "10 CLIENT_ERROR",
        "",
        "went offline       for  reason                      client",
        "02:50:00         8m 0s                              hall-3/pump-1",
        "02:51:00         7m 0s  CONNECTION_LOST             hall-3/pump-?[31m2",
        "02:52:00         6m 0s  CONNECTION_LOST             泵-3",
        f"02:53:00         5m 0s  CONNECTION_LOST             {'x' * 28}",
    ]
    assert len(server.asked) == 2


def test_single_devices_that_stand_out_are_named_beneath_the_group() -> None:
    with served() as server:
        texts = [
            "camera-0179: taken over 58 times in the last hour: two devices may use this client ID"
        ]
        texts += [f"gateway-003{number}\x1b[2J: 31 connects refused" for number in range(3)]
        server.overview["devices"] = [{"client_id": "a", "text": text} for text in texts]
        lines = top(server, "--once", COLUMNS="100").stdout.splitlines()
    start = lines.index("  hall-3: 97 % offline since 02:51, connection lost")
    assert lines[start + 1] == f"  {texts[0]}"
    assert lines[start + 2 : start + 5] == [
        "  gateway-0030?[2J: 31 connects refused",
        "  gateway-0031?[2J: 31 connects refused",
        "",
    ]


def test_a_certificate_that_expires_is_told_whatever_the_state() -> None:
    with served() as server:
        warning = "presenced's client certificate expired on 2026-11-20 08:00 UTC"
        named = [{"name": "client", "warning": warning}, {"name": "ca", "warning": None}]
        server.overview["daemon"]["certificates"] = named
        lines = top(server, "--once").stdout.splitlines()
    assert lines[:3] == [
        "presenced: receiving events since 01:00:00",
        f"  {warning}",
        "  12 clients are in doubt (12 online): events may have been lost, last at",
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("catching_up", "CATCHING UP since 01:00:00"),
        ("not_receiving", "NOT RECEIVING EVENTS since 01:00:00"),
        ("some_later_state", "some_later_state since 01:00:00"),
    ],
)
def test_trouble_of_the_daemon_comes_first(state: str, words: str) -> None:
    with served() as server:
        text, meaning = "the broker refuses the connection", ["States may be old.", "Check it."]
        server.overview["daemon"] |= {"state": state, "text": text, "meaning": meaning}
        lines = top(server, "--once").stdout.splitlines()
    assert lines[:4] == [f"presenced: {words}", f"  {text}", "  States may be old.", "  Check it."]


def test_the_filters_that_are_not_received_are_named() -> None:
    with served() as server:
        server.overview["daemon"] |= {
            "state": "receiving_partly",
            "not_received": ["a/#", "b/#", "c/#", "d/#"],
            "text": "presenced-2: no answer\npresenced-3: refused",
            "meaning": ["Clients shown as online may be offline."],
        }
        lines = top(server, "--once", COLUMNS="100").stdout.splitlines()
        assert lines[:4] == [
            "presenced: RECEIVING EVENTS, EXCEPT a/#, b/#, c/# and 1 more since 01:00:00",
            "  presenced-2: no answer",
            "  presenced-3: refused",
            "  Clients shown as online may be offline.",
        ]
        assert "online 60 %, an hour ago" in "\n".join(lines)


def test_what_the_state_means_is_told_if_it_is_news() -> None:
    with served() as server:
        daemon = server.overview["daemon"] | {"in_doubt": 0, "meaning": ["No client is in doubt."]}
        server.overview["daemon"] = daemon
        assert "in doubt" not in top(server, "--once").stdout
        server.overview["daemon"] = daemon | {"in_doubt": 3, "meaning": ["3 are in doubt.", "So."]}
        terminal = Terminal(server.server_port, columns=80, rows=18)
        drawn = terminal.read_until("went offline")
        assert terminal.end() == 0
    assert "  3 in doubt" in drawn
    assert "So." not in drawn


def test_a_long_text_is_wrapped_because_its_remedy_is_at_the_end() -> None:
    with served() as server:
        problem = "iot:SearchIndex is denied. " + "Allow it in the policy of the role, please. " * 3
        server.overview["daemon"]["aws"]["problems"] = [problem]
        done = top(server, "--once", COLUMNS="60")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert "  AWS: iot:SearchIndex is denied. Allow it in the policy of" in lines
    assert " ".join(done.stdout.split()).count("the role, please.") == 3


def test_a_narrow_terminal_cuts_no_number() -> None:
    with served() as server:
        server.overview["fleet"]["clients"] |= {"online": 123_456, "offline": 98_765}
        server.overview["offline"] |= {
            "by_thing_type": [{"name": "pump", "offline": 12_345, "of": 23_456}],
            "by_thing_group": [{"name": "hall-3", "offline": 1_234, "of": 1_300}],
        }
        lines = top(server, "--once", COLUMNS="40").stdout.splitlines()
    assert max(map(len, lines)) <= 40
    text = " ".join(" ".join(lines).split())
    for words in ("98,765 offline,", "a day ago", "12,345/23,456 pump", "1,234/1,300 hall-3"):
        assert words in text
    numbers = set(re.findall(r"\d+,\d+", text))
    assert numbers >= {"123,456", "98,765"}
    assert not {"12,3", "1,2"} & numbers


def test_a_fleet_without_clients_in_a_worker_without_partitions() -> None:
    with served() as server:
        server.overview |= {"partitions": {"owned": [], "of": 24, "shown": True}}
        server.overview["fleet"] |= {
            "clients": {"online": 0, "pending": 0, "offline": 0, "unknown": 0},
            "share_online": None,
            "hour_ago": None,
            "trend": [],
        }
        server.clients = []
        server.overview["offline"] |= {
            "by_reason": {},
            "by_thing_type": [],
            "by_thing_group": [],
            "standout": None,
        }
        done = top(server, "--once")
    assert done.returncode == 0
    assert "this worker has 0 of 24 partitions" in done.stdout
    assert "online unknown, an hour ago unknown, a day ago unknown" in done.stdout
    assert "no client is offline" in done.stdout
    assert "\n  last " not in done.stdout


def test_the_trend_ends_now_and_names_the_time_that_it_covers() -> None:
    with served() as server:
        fleet = server.overview["fleet"]
        fleet["trend"] = [
            {"at": f"2026-11-27T02:{minute}:00.000Z", "online": 9999, "pending": 0, "offline": 1}
            for minute in range(53, 58)
        ]
        fleet["clients"] |= {"online": 4_999, "pending": 1, "offline": 5_000}
        lines = top(server, "--once", COLUMNS="80").stdout.splitlines()
        assert "  last 5m 0s: 50 % to 99.99 %; lowest at 02:58:00" in lines
        assert any(line.startswith("online 60 % (of these 1 pending), an hour") for line in lines)
        assert f"  {' ' * 70}█▁" in lines
        fleet["trend"] = []
        assert "lowest" not in top(server, "--once").stdout


def test_while_nothing_is_received_the_numbers_have_their_time() -> None:
    with served() as server:
        server.overview["daemon"] |= {"state": "not_receiving", "as_of": "2026-11-27T02:30:00.000Z"}
        fleet = server.overview["fleet"]
        fleet["trend"] = [each for each in fleet["trend"] if each["at"] < "2026-11-27T02:30"]
        lines = top(server, "--once", COLUMNS="80").stdout.splitlines()
        assert "online 60 % as of 02:30:00, an hour ago 99.99 %, a day ago unknown" in lines
        (bars,) = (line.rstrip() for line in lines if "█" in line)
        assert 50 + 17 <= len(bars) <= 50 + 19  # and five for the time since then
        terminal = Terminal(server.server_port)
        terminal.read_until("\x1b[2monline 60 % as of 02:30:00")
        assert terminal.end() == 0
        server.overview["daemon"]["as_of"] = None
        assert "online 60 % from the state file, an hour" in top(server, "--once").stdout
        server.overview["partitions"] = {"owned": [0], "of": 2}
        assert "online 60 % from the state topic, an" in top(server, "--once").stdout
        fleet["share_online"] = None
        assert "online unknown, an hour ago" in top(server, "--once").stdout


def test_minutes_ahead_of_a_clock_that_was_set_back_do_not_count() -> None:
    with served() as server:
        ahead = {"online": 1, "pending": 0, "offline": 999}
        server.overview["fleet"]["trend"] += [{"at": "2026-11-27T03:10:00.000Z", **ahead}]
        lines = top(server, "--once", COLUMNS="80").stdout.splitlines()
    assert "  last 1h 58m: 60 % to 99 %; lowest at 02:51:00" in lines


def test_wide_characters_are_wrapped_and_not_cut_off() -> None:
    with served() as server:
        text = "泵站三号厅: 97 % offline " + "连接丢失" * 12 + " since 02:51"
        server.overview["offline"]["standout"] = {"text": text}
        lines = top(server, "--once", COLUMNS="40").stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if "泵站三号厅" in line)
    shown = "".join("".join(lines[start : start + 4]).split())
    assert shown.startswith(text.replace(" ", ""))
    wide = [len(line) + sum(each > "\u2e80" for each in line) for line in lines[start : start + 4]]
    assert max(wide) <= 40


@pytest.mark.parametrize(("columns", "rows"), [(40, 10), (80, 12), (80, 18)])
def test_a_low_terminal_still_shows_clients(columns: int, rows: int) -> None:
    with served() as server:
        server.overview["devices"] = [{"text": f"camera-{number}: " + "x" * 60} for number in "123"]
        terminal = Terminal(server.server_port, columns=columns, rows=rows)
        drawn = terminal.read_until("\x1b[H") + terminal.read_until("\x1b[H")
        drawn = terminal.read_until("\x1b[H")
        assert terminal.end() == 0
    lines = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", drawn).splitlines()
    assert len(lines) <= rows + 1
    assert lines[0].startswith("presenced: receiving events")
    assert any(line.startswith("online 60 %") for line in lines)
    header = next(number for number, line in enumerate(lines) if line.startswith("went offline"))
    assert lines[header + 1].startswith("02:50:00")
    assert lines[header + 2].startswith("02:51:00")


def test_an_output_without_unicode_has_other_bars() -> None:
    with served() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run(
            [sys.executable, "-m", "presenced", "top", "--url", url],
            capture_output=True,
            check=False,
            env=clean_environment() | {"PYTHONIOENCODING": "ascii:replace"},
            timeout=60,
        )
    assert done.returncode == 0
    assert b"#" * 22 + b".." in done.stdout


def test_the_password_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("sécret\n")
    with served() as server:
        server.pair = "oncall:sécret"
        refused = top(server, "--once", "--user", "oncall", PRESENCED_TOP_PASSWORD="wrong")
        assert refused.returncode == 1
        assert "--password-file FILE or the environment variable" in refused.stderr
        assert "wrong" not in refused.stderr
        by_file = ("--once", "--user", "oncall", "--password-file", str(file))
        assert top(server, *by_file).returncode == 0
        done = top(server, "--once", "--user", "oncall", PRESENCED_TOP_PASSWORD="sécret")
        assert done.returncode == 0
        missing = top(server, "--once", "--user", "a", "--password-file", str(tmp_path / "none"))
        assert missing.returncode == 2
        assert "--password-file" in missing.stderr


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (503, "presenced: try again later"),
        (502, "answers 502: try again later"),
        (404, "metrics.api is off"),
        (500, "answers 500: try again later"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, words: str) -> None:
    with served() as server:
        server.status = status
        done = top(server, "--once")
    assert done.returncode == 1
    assert words in done.stderr


def test_nothing_that_answers_and_something_else() -> None:
    done = run_here("top", "--once", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    with served() as server:
        server.overview = {"some": "thing"}
        done = top(server, "--once")
    assert done.returncode == 1
    assert "is not an answer of presenced" in done.stderr


@pytest.mark.parametrize("url", ["localhost:9883", "ftp://x", "http://a:b@x", "http://x/?a"])
def test_a_wrong_url_is_wrong_usage(url: str) -> None:
    assert run_here("top", "--url", url).returncode == 2


class Terminal:
    """`presenced top` in a terminal."""

    def __init__(self, port: int, columns: int = 80, rows: int = 24, **environ: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        url = f"http://127.0.0.1:{port}"
        # Workers of pytest-xdist have a size of a terminal there, which would count for more.
        sizes = ("COLUMNS", "LINES")
        others = {key: each for key, each in clean_environment().items() if key not in sizes}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "presenced", "top", "--url", url, "--interval", "50ms"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=others | {"TERM": "xterm"} | environ,
            # A shell has background jobs ignore Ctrl-C, and so the tests that it runs there.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, text: str) -> str:
        """What was written since the last call, up to a text."""
        deadline = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._master], [], [], 1)[0]:
                self.seen += os.read(self._master, 65536).decode(errors="replace")
        until, found, self.seen = self.seen.partition(text)
        return until + found

    def end(self) -> int:
        """The exit status after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        try:
            while select.select([self._master], [], [], 0.2)[0]:
                os.read(self._master, 65536)
        except OSError:  # the other end is closed
            pass
        status = self.process.wait(60)
        os.close(self._master)
        return status


def test_in_a_terminal_it_draws_again_and_outlives_the_daemon() -> None:
    port = free_port()
    with served(port):
        terminal = Terminal(port)
        first = terminal.read_until("hall-3/pump-1")
        assert "\x1b[1;31m  AWS:" in first
    terminal.read_until("as of 02:58:00 UTC: ")
    assert "does not answer: Connection refused" in terminal.read_until("\x1b[0m")
    terminal.read_until("hall-3/pump-1")  # what was known stays
    with served(port) as server:
        server.clients = [{"client_id": "a-new-one"}]
        terminal.read_until("a-new-one")
    assert terminal.end() == 0


def test_a_line_as_wide_as_the_terminal_keeps_its_last_character() -> None:
    with served() as server:
        server.clients = [{"client_id": "x" * 128}]
        terminal = Terminal(server.server_port)
        drawn = terminal.read_until("x" * 20)
        drawn += terminal.read_until("went offline")
        assert terminal.end() == 0
    # After the last column the cursor stays on it, so that erasing the rest would take it away.
    assert not re.search(r"x\x1b\[[KJ]", drawn)


def test_a_worker_whose_lease_is_over_says_so() -> None:
    with staged(partition=Partition(0, 4)) as stage:
        stage.call(lambda: stage.fleet.hear("connected", at=1))
        shown = run_here("top", "--once", "--url", stage.url)
        assert "this worker has 1 of 4 partitions" in shown.stdout
        stage.fleet.holding = False
        done = run_here("top", "--once", "--url", stage.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("presenced: this worker shows no clients at present: Kafka has")


def test_a_worker_that_may_show_no_client_takes_those_shown_away() -> None:
    with served() as server:
        terminal = Terminal(server.server_port)
        terminal.read_until("hall-3/pump-1")
        server.status = 503
        shown = terminal.read_until("presenced: try again later")
        shown = terminal.read_until("presenced: try again later")
        assert "pump-1" not in shown
        server.status = 200
        terminal.read_until("hall-3/pump-1")
        assert terminal.end() == 0


def test_a_terminal_without_colours_is_not_painted() -> None:
    with served() as server:
        terminal = Terminal(server.server_port, NO_COLOR="1")
        text = terminal.read_until("hall-3/pump-1") + terminal.read_until("hall-3/pump-1")
        assert terminal.end() == 0
    # Only the cursor home, and what clears the rest of a line or of the screen.
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", text)) == {"\x1b[H", "\x1b[K", "\x1b[J"}
