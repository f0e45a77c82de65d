"""Scrapes as Prometheus makes them, up to the last byte."""

import gzip
import http.client
import io
import socket
import time
from typing import NamedTuple, cast

__all__ = ["Scrape", "samples", "scrape"]

_LONGEST = 120.0


class Scrape(NamedTuple):
    """The seconds from the request to the last byte, and the exposition."""

    seconds: float
    text: bytes


def scrape(port: int, path: str = "/metrics", *, zipped: bool = False) -> Scrape:
    """GET of a path on loopback, over a connection of its own; taken apart when the time is taken.

    Raises OSError while nobody listens, SystemExit for an answer that is no success.
    """
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        "Accept: text/plain;version=0.0.4\r\n"
        f"Accept-Encoding: {'gzip' if zipped else 'identity'}\r\n\r\n"
    )
    pieces = []
    began = ended = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=_LONGEST) as connection:
        connection.sendall(request.encode())
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
            ended = time.perf_counter()
    return Scrape(ended - began, _content(b"".join(pieces), path))


class _Received:
    """What `http.client` wants of a socket."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _content(received: bytes, path: str) -> bytes:
    answer = http.client.HTTPResponse(cast(socket.socket, _Received(received)))
    answer.begin()
    body = answer.read()
    if answer.status != http.client.OK:
        raise SystemExit(f"{path} answers {answer.status}: {body[:200]!r}")
    return gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body


def samples(text: bytes, name: str) -> list[float]:
    """The values of every sample of one name, without labels or with any, or of one series."""
    series = name.encode()
    return [
        float(line.rpartition(b" ")[2])
        for line in text.splitlines()
        if line.startswith((series + b"{", series + b" "))
    ]
