"""The answer to a scrape, in the text format or as OpenMetrics."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from presenced.metrics.classes import ClassCounts
from presenced.metrics.collector import TotalsCollector
from presenced.metrics.lines import Block
from presenced.metrics.series import ClientSeries
from presenced.mqtt.status import ConnectionStatus
from presenced.outages import GapReason
from presenced.pipeline import Pipeline
from presenced.state.writer import WriterCounts

__all__ = ["Exposition", "Snapshot", "View"]

_EOF = b"# EOF\n"


def _no_backlog() -> int:
    return 0


@dataclass(slots=True)
class View:
    """What metrics are read from. `certificate_expiry` and `reloaded_at` are epoch seconds."""

    pipeline: Pipeline
    series: ClientSeries
    transport: str
    classes: ClassCounts = field(default_factory=ClassCounts)
    connections: Sequence[ConnectionStatus] = ()
    backlog: Callable[[], int] = _no_backlog
    gaps: Mapping[GapReason, int] = field(default_factory=lambda: dict.fromkeys(GapReason, 0))
    state: WriterCounts = field(default_factory=WriterCounts)
    certificate_expiry: dict[str, float] = field(default_factory=dict)
    reload_successful: bool = True
    reloaded_at: float = field(default_factory=time.time)

    @property
    def clients_without_series(self) -> int:
        """Clients that should have series of their own and have none for want of room."""
        known = self.pipeline.presence.counts.known
        return max(0, known - self.series.shown) if self.series.enabled else 0


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

    def __init__(self, view: View, *, process_metrics: bool = True) -> None:
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
        return Snapshot(content_type, encode, totals, list(self._view.series.blocks()))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in one piece, and its content type."""
        snapshot = self.collect(accept)
        return b"".join(block.text for block in snapshot.blocks()), snapshot.content_type
