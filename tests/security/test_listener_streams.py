"""Attack: connect, ask for what takes long, and disconnect, thousands of times."""

import socket
from typing import Any

from daemons import Daemon
from raw_http import connect
from waiting import wait_for

STREAM = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def resident_bytes(daemon: Daemon) -> float:
    return daemon.value("process_resident_memory_bytes") or 0.0


def is_streamed(daemon: Daemon) -> bool:
    """Whether there is a place for a stream, which is then given back."""
    with connect(daemon.port) as connection:
        connection.sendall(STREAM)
        received = b""
        while b"listening" not in received and b"streams is open" not in received:
            piece = connection.recv(4096)
            assert piece, received
            received += piece
        # Nothing unread may turn the end into an error that is noticed by another way.
        connection.shutdown(socket.SHUT_RDWR)
        return b" 200 " in received


def test_streams_end_with_their_clients(daemon_of: Any) -> None:
    """More one after the other than may be open at once, within one interval of heartbeats."""
    daemon: Daemon = daemon_of()
    for _ in range(20):
        is_streamed(daemon)
    before = resident_bytes(daemon)
    served = sum(is_streamed(daemon) for _ in range(1500))
    assert served > 1300, "closed streams still count"
    assert resident_bytes(daemon) - before < 20e6
    wait_for(lambda: daemon.get("/api/v1/summary")[0] == 200)


def test_answers_that_take_long_end_with_their_clients(daemon_of: Any) -> None:
    daemon: Daemon = daemon_of()
    before = resident_bytes(daemon)
    for number in range(2000):
        with connect(daemon.port) as connection:
            coding = (b"gzip", b"identity")[number % 2]
            connection.sendall(
                b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: " + coding + b"\r\n\r\n"
            )
    assert daemon.get("/metrics")[0] == 200
    assert resident_bytes(daemon) - before < 40e6
