"""What is known of a metric.

Label names made from names that follow other rules, and label values as text.

Lines of exposition text, of which a change touches few bytes and a scrape copies few.
"""

import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from presenced.settings.values import RESERVED


class Metric(NamedTuple):
    """A metric as Prometheus knows it; `name` is that of its samples.

    `query` is an example of what to ask of it, in PromQL.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str
    query: str


_VALID = re.compile("(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def label_names(names: Iterable[str], taken: Collection[str] = RESERVED) -> dict[str, str]:
    """A label name for each name: valid, not among `taken`, and none twice.

    Names that are label names stay as they are. In others what Prometheus does not allow becomes
    `_` ("Metric names and labels" of its documentation); where that is taken, `_2` and so on
    follows. It does not matter for a valid name which others there are beside it.
    """
    used = set(taken)
    labels = {}
    for name in sorted(names, key=lambda name: (_VALID.fullmatch(name) is None, name)):
        label = stem = _valid(name)
        number = 1
        while label in used:
            number += 1
            label = f"{stem.rstrip('_')}_{number}"
        used.add(label)
        labels[name] = label
    return labels


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand between the braces of a sample (text format 0.0.4 and OpenMetrics)."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _valid(name: str) -> str:
    if _VALID.fullmatch(name):
        return name
    cleaned = re.sub("[^a-zA-Z0-9_]", "_", name)
    # Two underscores at the start are kept for Prometheus itself.
    cleaned = re.sub("^_+", "_", cleaned)
    return f"_{cleaned}" if cleaned[0].isdigit() else cleaned


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
