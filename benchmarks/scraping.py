"""Scrapes as Prometheus makes them, up to the last byte."""

import gzip
import http.client
import time
from typing import NamedTuple

__all__ = ["Scrape", "samples", "scrape"]


class Scrape(NamedTuple):
    """An answer and the seconds from the request to its last byte."""

    seconds: float
    body: bytes
    zipped: bool

    @property
    def text(self) -> bytes:
        """The exposition."""
        return gzip.decompress(self.body) if self.zipped else self.body


def scrape(port: int, path: str = "/metrics", *, zipped: bool = False) -> Scrape:
    """GET of a path on loopback, over a connection of its own.

    Raises OSError while nobody listens, SystemExit for an answer that is no success.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Accept": "text/plain;version=0.0.4"}
    headers["Accept-Encoding"] = "gzip" if zipped else "identity"
    began = time.perf_counter()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    took = time.perf_counter() - began
    if answer.status != http.client.OK:
        raise SystemExit(f"{path} answers {answer.status}: {body[:200]!r}")
    return Scrape(took, body, answer.headers.get("Content-Encoding") == "gzip")


def samples(text: bytes, name: str) -> list[float]:
    """The values of every sample of one name; a timestamp behind a value is left out."""
    start = name.encode()
    return [
        float(line.rpartition(b"}")[2].split()[0] if b"}" in line else line.split()[1])
        for line in text.splitlines()
        if line.startswith((start + b"{", start + b" "))
    ]
