"""Lines of exposition text, of which a change touches few bytes and a scrape copies few."""

from array import array
from collections.abc import Iterator

from presenced.metrics.catalog.metric import Metric

__all__ = ["CHUNK", "Block", "Family"]

_BITS = 7
CHUNK = 1 << _BITS
"""Lines that are copied and compressed together. Fewer cost a scrape more calls, more cost a change
more bytes to copy and to compress anew (`benchmarks/rows/scrape.py`)."""
_SLOT = CHUNK - 1


class Block:
    """Text that nobody changes any more, and its compressed form once somebody has made that."""

    __slots__ = ("deflated", "text")

    def __init__(self, text: bytes | bytearray) -> None:
        self.text = text
        self.deflated: bytes | None = None


class Family:
    """The samples of one metric: a line at each place, and none at a place that is free.

    Places count from 0, and a new one is the next.
    """

    def __init__(self, metric: Metric) -> None:
        self._name = metric.name
        head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
        self._head = Block(head.encode())
        self._chunks: list[_Chunk] = []

    def put(self, place: int, labels: str, value: bytes) -> None:
        """Have a sample at a place, instead of what was there."""
        self._put(place, f"{self._name}{{{labels}}} ".encode() + value + b"\n")

    def free(self, place: int) -> None:
        """Have nothing at a place."""
        self._put(place, b"")

    def set_value(self, place: int, value: bytes) -> None:
        """Change the value of the sample at a place."""
        self._chunks[place >> _BITS].set_value(place & _SLOT, value)

    def blocks(self) -> Iterator[Block]:
        """All of it as it is now; the same blocks as before where nothing has changed."""
        yield self._head
        for chunk in self._chunks:
            yield chunk.block

    def _put(self, place: int, line: bytes) -> None:
        if place >> _BITS == len(self._chunks):
            self._chunks.append(_Chunk())
        self._chunks[place >> _BITS].put(place & _SLOT, line)


class _Chunk:
    """Up to `CHUNK` lines.

    Changes are made in place until the text is given out, which costs nothing, and in a copy from
    then on: so what was given out stays as it was, and nothing is kept twice.
    """

    __slots__ = ("_block", "_starts", "_text")

    def __init__(self) -> None:
        self._text = bytearray()
        self._block: Block | None = None
        self._starts = array("I", [0])

    @property
    def block(self) -> Block:
        if self._block is None:
            self._block = Block(self._text)
        return self._block

    def put(self, slot: int, line: bytes) -> None:
        text, starts = self._own(), self._starts
        if slot + 1 == len(starts):
            text += line
            starts.append(len(text))
            return
        start, end = starts[slot], starts[slot + 1]
        text[start:end] = line
        grown = len(line) - (end - start)
        if grown:
            for later in range(slot + 1, len(starts)):
                starts[later] += grown

    def set_value(self, slot: int, value: bytes) -> None:
        text = self._text if self._block is None else self._own()
        starts = self._starts
        end = starts[slot + 1] - 1
        at = text.rindex(b" ", starts[slot], end) + 1
        if end - at == len(value):
            text[at:end] = value
        else:
            self.put(slot, bytes(text[starts[slot] : at]) + value + b"\n")

    def _own(self) -> bytearray:
        """The text as nobody else has it."""
        if self._block is not None:
            self._text = self._text.copy()
            self._block = None
        return self._text
