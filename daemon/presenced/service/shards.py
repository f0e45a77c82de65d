"""The fleets of this process, and what shows them."""

from collections import Counter
from collections.abc import Callable, Iterator

from presenced.fleet import Partition
from presenced.metrics.declaration import FleetSources
from presenced.presence import State
from presenced.service.shard import Shard
from presenced.service.transition_log import TransitionLog
from presenced.settings import MetricsSettings, Settings
from presenced.system.loop import Clocks
from presenced.web.api.application import Api
from presenced.web.api.parts import FleetPart, PartSources


class Shards:
    """One shard for good, or one for each partition of Kafka that this process owns.

    Those that are shown are in metrics and `api`, if `may_show` allows it now; all others catch up.
    The shard of a partition that is being restored belongs to the thread that restores it, and is
    not among them.
    """

    def __init__(
        self,
        settings: Settings,
        clocks: Clocks,
        transitions: TransitionLog,
        api: Api | None,
        may_show: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._metrics = settings.metrics
        self._clocks = clocks
        self._transitions = transitions
        self._api = api
        self._may_show = may_show
        self._closed = False
        self._shards: list[Shard] = []
        self._shown: dict[Shard, FleetPart | None] = {}

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def open(self, partition: Partition | None = None) -> Shard:
        """Return a new shard, whose transitions are logged from its first batch on.

        That of a partition is left alone until `add` is called.
        """
        shard = Shard(self._settings, self._clocks, partition)
        shard.pipeline.observers += [shard.clients, self._transitions]
        if partition is None:
            self._shards.append(shard)
        return shard

    def add(self, shard: Shard) -> None:
        """Take the shard of a partition that has been restored; settings may have changed since."""
        shard.use(self._settings)
        if shard.clients.settings != self._metrics:
            shard.clients.use(self._metrics)
        self._shards.append(shard)
        if self._closed:
            shard.delivery.close()

    def show(self, shard: Shard) -> None:
        """Show a shard, after its clients have been restored."""
        part = None
        if self._api is not None:
            part = self._api.add(
                PartSources(shard.pipeline, shard.gaps, shard.delivery.hold_after, shard.partition)
            )
            shard.pipeline.observers.append(part)
        self._shown[shard] = part

    def drop(self, shard: Shard) -> None:
        """Show a shard no more; that may be called more than once."""
        if shard in self._shards:
            self._shards.remove(shard)
        if shard in self._shown:
            del self._shown[shard]
            if self._api is not None and shard.partition is not None:
                self._api.remove(shard.partition.number)

    def shown(self) -> list[FleetSources]:
        """Return what metrics are read from, in the order of partitions."""
        if not self._may_show():
            return []
        shown = [shard.sources for shard in self._shown]
        return sorted(shown, key=lambda each: each.partition.number if each.partition else 0)

    @property
    def clients(self) -> Counter[State]:
        """How many clients are in each state, in the shards that are shown."""
        total = Counter(dict.fromkeys(State, 0))
        for sources in self.shown():
            total.update(sources.presence.clients)
        return total

    def use(self, settings: Settings) -> None:
        """Go on with other settings; the clients stay."""
        self._settings = settings
        for shard in self._shards:
            shard.use(settings)

    def use_metrics(self, metrics: MetricsSettings) -> None:
        """Give clients and groups other series."""
        self._metrics = metrics
        for shard in self._shards:
            shard.clients.use(metrics)

    def arm(self) -> None:
        """Let deadlines fire that the source holds back no more."""
        for shard in self._shards:
            shard.delivery.arm()

    def flush(self) -> None:
        """Keep what has changed, soon."""
        for shard in self._shards:
            shard.delivery.flush()

    def close(self) -> None:
        """Apply what waits, and take nothing after that."""
        self._closed = True
        for shard in self._shards:
            shard.delivery.close()
