"""The health check of containers, against real sockets; against the daemon in tests/image."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import free_port
from presenced.commands import healthcheck
from presenced.commands.healthcheck import arguments_of, listener_of, problem_at
from presenced.settings import ListenAddress

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """A listener that sends this answer to one request; with None it accepts and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer or b"")

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def ask(answer: bytes | None, *, protected: bool = False) -> str | None:
    with server(answer) as port:
        timeout = 20 if answer is not None else 0.2
        return problem_at(ListenAddress(None, port), protected=protected, timeout=timeout)


def test_what_counts_as_healthy() -> None:
    assert ask(HEALTHY) is None
    assert "503" in (ask(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") or "")
    assert "answers ''" in (ask(b"") or "")


@pytest.mark.parametrize(
    "answer", [HEALTHY, b"HTTP/1.1 401 Unauthorized\r\n\r\n", b"\x15\x03", b""]
)
def test_any_answer_of_a_protected_listener_is_healthy(answer: bytes) -> None:
    assert ask(answer, protected=True) is None


@pytest.mark.parametrize("protected", [False, True])
def test_a_hung_or_absent_daemon_is_not_healthy(protected: bool) -> None:
    assert "timed out" in (ask(None, protected=protected) or "")
    absent = ListenAddress("127.0.0.1", free_port())
    assert "refused" in (problem_at(absent, protected=protected) or "")


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["/opt/presenced/bin/python3", "/opt/presenced/bin/presenced", "run"], ["run"]),
        (["/sbin/docker-init", "--", "presenced", "demo", "--seed", "7"], ["demo", "--seed", "7"]),
        (["python3", "-m", "presenced", "run", "--listen", ":1"], ["run", "--listen", ":1"]),
        (["/pause"], ["run"]),
    ],
)
def test_arguments_of_process_1(words: list[str], arguments: list[str]) -> None:
    assert arguments_of("\0".join([*words, ""]).encode()) == arguments


def test_where_the_daemon_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = tmp_path / "default.yaml"
    monkeypatch.setattr(healthcheck, "DEFAULT_CONFIG", default)
    assert listener_of(["run"]) == (ListenAddress(None, 9883), False)
    assert listener_of(["demo"]) == (ListenAddress("127.0.0.1", 9883), False)
    assert listener_of(["demo", "--listen", ":1"]) == (ListenAddress(None, 1), False)

    default.write_text("metrics: {listen: ':2'}\n")
    assert listener_of(["run", "--client-id", "x"]) == (ListenAddress(None, 2), False)
    other = tmp_path / "other.yaml"
    other.write_text("metrics: {listen: ':3', web_config: web.yaml}\n")
    assert listener_of(["run", "--config", str(other)]) == (ListenAddress(None, 3), True)
    monkeypatch.setenv("PRESENCED_METRICS__LISTEN", ":4")
    assert listener_of(["run", "--config", str(other)]) == (ListenAddress(None, 4), True)
    assert listener_of(["run", "--config", str(other), "--listen=:5"])[0].port == 5

    other.write_text("metrics: {listen: ':3', web_config: web.yaml, health_listen: '[::1]:6'}\n")
    assert listener_of(["run", "--config", str(other)]) == (ListenAddress("::1", 6), False)


def test_exit_status_and_output(capsys: pytest.CaptureFixture[str]) -> None:
    with server(HEALTHY) as port:
        assert healthcheck.main(["run", f"--listen=127.0.0.1:{port}"]) == 0
    assert capsys.readouterr().out == "presenced is healthy.\n"
    assert healthcheck.main(["run", f"--listen=:{free_port()}"]) == 1
    assert "does not answer at 127.0.0.1:" in capsys.readouterr().out


def test_an_invalid_configuration_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert healthcheck.main(["run", "--listen=nonsense"]) == 1
    assert "metrics.listen" in capsys.readouterr().out
