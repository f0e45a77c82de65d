"""The answer to a scrape: the text format or OpenMetrics, plain or as gzip."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from presenced.metrics.catalog import OF_DAEMON, OF_FLEET
from presenced.metrics.declaration import FleetSources, MetricSources, WorstClientsMetric
from presenced.metrics.metric import Block
from presenced.metrics.series import series_blocks

_EOF = b"# EOF\n"
_TEXT, _OPENMETRICS = map(choose_encoder, ("text/plain", "application/openmetrics-text"))
_ENCODERS = {content_type: encode for encode, content_type in (_TEXT, _OPENMETRICS)}

CONTENT_TYPES = tuple(_ENCODERS)
"""The formats of the exposition: the text format, which is the default, and OpenMetrics."""


@dataclass(frozen=True, slots=True)
class Snapshot(Collector):
    """All metrics at one moment.

    Blocks of `clients` without changes are the same objects as at the last scrape.
    """

    encode: Callable[[Collector], bytes]
    families: Sequence[Metric]
    clients: Sequence[Block]

    def collect(self) -> Sequence[Metric]:
        """Return the families to `encode`."""
        return self.families

    def blocks(self) -> list[Block]:
        """Return the exposition; call it in a thread, as prometheus_client needs 10 µs a sample."""
        body = self.encode(self)
        ending = _EOF if body.endswith(_EOF) else b""
        return [Block(body.removesuffix(_EOF)), *self.clients, Block(ending)]


class Exposition:
    """Answers scrapes from one set of sources."""

    def __init__(self, sources: MetricSources, *, process_metrics: bool = True) -> None:
        self._sources = sources
        self._process = CollectorRegistry(auto_describe=False)
        if process_metrics:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._process)

    def collect(self, content_type: str = CONTENT_TYPES[0]) -> Snapshot:
        """Collect the present metrics, for one of `CONTENT_TYPES`."""
        sources = self._sources
        fleets = sources.fleets()
        families = [
            *_of_fleets(fleets, partitioned=sources.partitioned),
            *(metric.collect([((), sources)]) for metric in OF_DAEMON.values()),
            *self._process.collect(),
        ]
        blocks = list(series_blocks([each.clients.series for each in fleets]))
        return Snapshot(_ENCODERS[content_type], families, blocks)

    def render(self, content_type: str = CONTENT_TYPES[0]) -> bytes:
        """Return the exposition in one piece."""
        return b"".join(block.text for block in self.collect(content_type).blocks())


def _of_fleets(fleets: Sequence[FleetSources], *, partitioned: bool) -> Iterator[Metric]:
    """Yield the metrics of clients and events; those of partitions have a label for them."""
    partition = ("partition",) if partitioned else ()
    labelled = [((str(p.number),) if (p := each.partition) else (), each) for each in fleets]
    classes = fleets[0].clients.classes.labels if fleets else ()
    for metric in OF_FLEET.values():
        if metric.global_:
            yield metric.collect([((), fleets[0])] if fleets else [])
        elif isinstance(metric, WorstClientsMetric):
            yield metric.collect(labelled, (*partition, *classes))
        elif metric.by_class:
            if classes:
                yield metric.collect(labelled, (*partition, *classes))
        else:
            yield metric.collect(labelled, partition)


_LEVEL = 1
# RFC 1952: deflate, no flags, no time, fastest algorithm, unknown operating system.
_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255))
# RFC 1951: an empty last block.
_LAST = b"\x03\x00"


def gzip_parts(blocks: Iterable[Block]) -> list[bytes]:
    """Return one gzip member with the text of all blocks, as parts to send in this order.

    Each block keeps its compressed text, so that only changed blocks are compressed again. A full
    flush (zlib's manual, `deflate`) ends each block: its compressed text does not refer to earlier
    blocks and stays valid when they change. Call it in a thread: zlib releases the GIL.
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
