"""The answer to a scrape, in the text format or as OpenMetrics."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from presenced.metrics.classes import ClassCounts
from presenced.metrics.collector import TotalsCollector
from presenced.metrics.lines import Block
from presenced.metrics.series import ClientSeries
from presenced.mqtt.status import ConnectionStatus
from presenced.outages import GapReason
from presenced.pipeline import Pipeline
from presenced.state.writer import WriterCounts

__all__ = ["Exposition", "View"]

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

    def blocks(self, accept: str = "") -> tuple[list[Block], str]:
        """The exposition and its content type, as the `Accept` header asks for it.

        Whatever changes later, the blocks stay as they are: all tell of one moment. Those that
        nothing has changed in are the same as at the last scrape.
        """
        encode, content_type = choose_encoder(accept)
        body = encode(self._registry)
        ending = _EOF if body.endswith(_EOF) else b""
        totals = Block(body.removesuffix(_EOF))
        return [totals, *self._view.series.blocks(), Block(ending)], content_type

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """As `blocks`, in one piece."""
        blocks, content_type = self.blocks(accept)
        return b"".join(block.text for block in blocks), content_type
