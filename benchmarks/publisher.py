"""The load generator: encoded packets, written to a socket in large blocks."""

import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Self

from benchmarks import packets
from benchmarks.events import Event

__all__ = ["Publisher", "encoded", "packed", "sink_rate"]

_EVENTS_A_BLOCK = 1000
_TICK = 0.01


def packed(events: Iterable[Event], qos: int = 0) -> Iterator[bytes]:
    """A PUBLISH packet of each event."""
    for number, event in enumerate(events):
        yield packets.publish(*event, packet_id=number % 65535 + 1 if qos else None)


def encoded(events: Iterable[Event], qos: int = 0) -> list[bytes]:
    """Blocks of a thousand PUBLISH packets each, ready to be written."""
    return list(_blocks(packed(events, qos)))


def _blocks(stream: Iterator[bytes]) -> Iterator[bytes]:
    while block := b"".join(islice(stream, _EVENTS_A_BLOCK)):
        yield block


class Publisher:
    """A connection that publishes what was encoded; a context manager."""

    def __init__(self, port: int, client_id: str = "publisher") -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._connection.sendall(packets.connect(client_id))
        answer = self._connection.recv(4)
        if answer != b"\x20\x02\x00\x00":
            raise SystemExit(f"the broker refuses the publisher: {answer!r}")
        threading.Thread(target=self._swallow, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.sendall(packets.DISCONNECT)
        self._connection.shutdown(socket.SHUT_WR)
        self._connection.close()

    def send(self, blocks: Sequence[bytes]) -> float:
        """Write all as fast as they are taken; returns the seconds that it took."""
        began = time.perf_counter()
        for block in blocks:
            self._connection.sendall(block)
        return time.perf_counter() - began

    def pace(self, packets: Sequence[bytes], rate: float) -> None:
        """Write packets at a rate per second, in blocks a hundredth of a second apart."""
        began, sent = time.perf_counter(), 0
        while sent < len(packets):
            due = int((time.perf_counter() - began) * rate) + 1
            self._connection.sendall(b"".join(packets[sent:due]))
            sent = max(sent, due)
            time.sleep(_TICK)

    def _swallow(self) -> None:
        """Read acknowledgements, which would block the broker otherwise."""
        try:
            while self._connection.recv(65536):
                pass
        except OSError:
            return


def sink_rate(blocks: Sequence[bytes], events: int) -> float:
    """Events a second that the generator writes to a socket whose other end only reads."""
    ours, theirs = socket.socketpair()

    def drain() -> None:
        while theirs.recv(1 << 20):
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    began = time.perf_counter()
    for block in blocks:
        ours.sendall(block)
    ours.close()
    reader.join()
    theirs.close()
    return events / (time.perf_counter() - began)
