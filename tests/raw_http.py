"""Requests as bytes, for clients that no library imitates: malformed, unfinished, or silent."""

import select
import socket
import time
from collections.abc import Iterable


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection on which nothing has been sent."""
    return socket.create_connection((host, port), timeout=20)


def exchange(port: int, data: bytes, host: str = "127.0.0.1") -> bytes:
    """The bytes that come back until the listener closes the connection."""
    with connect(port, host) as connection:
        connection.sendall(data)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the peer closes; TimeoutError if it does not within 20 s of silence."""
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except ConnectionError:
        pass
    return received


def status_of(answer: bytes) -> int:
    """The status in an answer; 0 if there is none."""
    line = answer.partition(b"\r\n")[0].split(b" ")
    return int(line[1]) if len(line) > 1 else 0


def request(path: str = "/metrics", method: str = "GET", *lines: bytes, host: str = "localhost"):
    """A request, after which the listener closes the connection."""
    head = [f"{method} {path} HTTP/1.1".encode(), f"Host: {host}".encode(), *lines]
    return b"\r\n".join([*head, b"Connection: close", b"", b""])


def open_ones(connections: Iterable[socket.socket]) -> list[socket.socket]:
    """Those that the peer has not closed; what they have to read is thrown away."""
    remaining = list(connections)
    readable, _, _ = select.select(remaining, [], [], 0)
    for each in readable:
        try:
            is_open = bool(each.recv(1 << 16))
        except ConnectionError:
            is_open = False
        if not is_open:
            remaining.remove(each)
    return remaining


def trickle(connections: Iterable[socket.socket], data: bytes) -> None:
    """Send a little on each connection that is still open."""
    for each in connections:
        try:
            each.sendall(data)
        except OSError:
            continue
    time.sleep(0.05)
