"""A metric as Prometheus knows it, and its text: label names, labels, lines of samples."""

import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from presenced.settings.values import RESERVED


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric for Prometheus and the documentation; `query` is an example in PromQL."""

    name: str
    help: str
    query: str
    labels: tuple[str, ...] = field(default=(), kw_only=True)
    kind: ClassVar[Literal["gauge", "counter", "histogram"]] = "gauge"


_VALID = re.compile("(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


MAX_ID_BYTES = 128
"""AWS IoT Core's limit of a client ID, in bytes of UTF-8 ("AWS IoT Core quotas").

Other brokers allow more, and the ID is in the text of each series.
"""


def is_long(text: str) -> bool:
    """Return whether a text is longer than AWS IoT Core allows a client ID to be."""
    length = len(text)
    return 4 * length > MAX_ID_BYTES and len(text.encode(errors="replace")) > MAX_ID_BYTES


def label_names(names: Iterable[str], taken: Collection[str] = RESERVED) -> dict[str, str]:
    """Return a valid and unique label name for each name, none of those `taken`.

    Valid names do not change, whatever other names there are. In other names, each character that
    Prometheus does not allow becomes `_` ("Metric names and labels" of its documentation). If the
    result is taken, `_2`, `_3` and so on are appended.
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
    """Return labels as written between the braces of a sample (text format and OpenMetrics)."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _valid(name: str) -> str:
    if _VALID.fullmatch(name):
        return name
    # Names that begin with two underscores are reserved for Prometheus itself.
    cleaned = re.sub("^_+", "_", re.sub("[^a-zA-Z0-9_]", "_", name))
    return f"_{cleaned}" if cleaned[0].isdigit() else cleaned


_BITS = 7
CHUNK = 1 << _BITS
"""Lines that are copied and compressed together.

With fewer lines a scrape makes more calls; with more lines a change copies and compresses more
bytes (`benchmarks/rows/scrape.py`).
"""
_SLOT = CHUNK - 1


class Block:
    """Text that no longer changes, and its compressed form, None before the first use."""

    __slots__ = ("deflated", "text")

    def __init__(self, text: bytes | bytearray) -> None:
        self.text = text
        self.deflated: bytes | None = None


class Family:
    """The samples of one metric: one line at each place, none at a free place.

    Places count from 0; a new place is the next number.
    """

    def __init__(self, metric: Metric) -> None:
        self._name = metric.name
        head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
        self._head = Block(head.encode())
        self._chunks: list[_Chunk] = []

    def put(self, place: int, labels: str, value: bytes) -> None:
        """Put a sample at a place, instead of the one that is there."""
        self._put(place, f"{self._name}{{{labels}}} ".encode() + value + b"\n")

    def free(self, place: int) -> None:
        """Remove the sample at a place."""
        self._put(place, b"")

    def set_value(self, place: int, value: bytes) -> None:
        """Change the value of the sample at a place."""
        self._chunks[place >> _BITS].set_value(place & _SLOT, value)

    @property
    def head(self) -> Block:
        """The lines that precede the samples in the exposition."""
        return self._head

    def samples(self) -> Iterator[Block]:
        """Yield the samples; a block without changes is the same object as before."""
        for chunk in self._chunks:
            yield chunk.block

    def _put(self, place: int, line: bytes) -> None:
        if place >> _BITS == len(self._chunks):
            self._chunks.append(_Chunk())
        self._chunks[place >> _BITS].put(place & _SLOT, line)


class _Chunk:
    """Up to `CHUNK` lines.

    The text changes in place until a scrape gets it. The first change after that copies it, so that
    the scrape keeps its text.
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
        """Return the text, copied if a scrape has it."""
        if self._block is not None:
            self._text = self._text.copy()
            self._block = None
        return self._text
