"""The answer to a scrape, in the text format or as OpenMetrics.

Blocks of text as gzip, of which only those that have changed are compressed anew.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from presenced.metrics.collector import MetricSources, TotalsCollector
from presenced.metrics.metric import Block

_EOF = b"# EOF\n"


class _Collected(Collector):
    """Families as they were when they were collected."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is shown at one moment. Whatever changes later, it stays as it is.

    The blocks of `clients` in which nothing has changed are the same as at the last scrape.
    """

    content_type: str
    encode: Callable[[CollectorRegistry], bytes]
    totals: CollectorRegistry
    clients: Sequence[Block]

    def blocks(self) -> list[Block]:
        """The exposition. May run in a thread: prometheus_client takes 10 us for a sample."""
        body = self.encode(self.totals)
        ending = _EOF if body.endswith(_EOF) else b""
        return [Block(body.removesuffix(_EOF)), *self.clients, Block(ending)]


class Exposition:
    """Renders scrapes of one view."""

    def __init__(self, view: MetricSources, *, process_metrics: bool = True) -> None:
        self._view = view
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(TotalsCollector(view))
        if process_metrics:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)

    def collect(self, accept: str = "") -> Snapshot:
        """What is shown now, in the format that the `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        totals = CollectorRegistry(auto_describe=False)
        totals.register(_Collected(self._registry.collect()))
        return Snapshot(content_type, encode, totals, list(self._view.clients.series.blocks()))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in one piece, and its content type."""
        snapshot = self.collect(accept)
        return b"".join(block.text for block in snapshot.blocks()), snapshot.content_type


_LEVEL = 1
# RFC 1952: deflate, no flags, no time, made by the fastest algorithm on an unknown system.
_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255))
# RFC 1951: a last block that holds nothing.
_LAST = b"\x03\x00"


def gzip_parts(blocks: Iterable[Block]) -> list[bytes]:
    """One gzip member that holds the texts of all the blocks, in parts that follow on each other.

    What is compressed stays with its block. It refers to nothing before it, because a full flush
    ends each (zlib's manual, `deflate`), and so stays right whatever changes around it. May run in
    a thread: nothing but that is written, and the interpreter is free while zlib works.
    """
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [_HEADER]
    checksum = size = 0
    for block in blocks:
        if block.deflated is None:
            block.deflated = deflate.compress(block.text) + deflate.flush(zlib.Z_FULL_FLUSH)
        parts.append(block.deflated)
        checksum = zlib.crc32(block.text, checksum)
        size += len(block.text)
    return [*parts, _LAST, struct.pack("<LL", checksum, size & 0xFFFFFFFF)]
