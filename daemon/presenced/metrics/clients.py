"""The metrics of single clients and of their classes, as an observer of the pipeline."""

from collections.abc import Iterable

from presenced.fleet import Fleet, Partition
from presenced.metrics.classes import ClassCounts
from presenced.metrics.series import ClientSeries
from presenced.pipeline import Batch
from presenced.presence import Client, ClientChange, State
from presenced.presence.name_patterns import NamePatterns
from presenced.settings import MetricsSettings

_UNKNOWN = State.UNKNOWN  # as a global: see `State`


class ClientMetrics:
    """The series of the fleet's clients and the counts of their classes, by `settings`."""

    series: ClientSeries
    classes: ClassCounts
    groups: NamePatterns
    """The thing groups that have series."""

    def __init__(
        self, fleet: Fleet, settings: MetricsSettings, partition: Partition | None = None
    ) -> None:
        self._fleet = fleet
        self._partition = partition
        self.settings = settings
        self.restored()

    def restored(self) -> None:
        """Build series and classes for all clients, which are in the order of their arrival."""
        self._build(self.settings, self._fleet.presence.clients.values())

    def use(self, settings: MetricsSettings) -> None:
        """Use other settings; the clients keep their order."""
        self.settings = settings
        if self.series.enabled:
            self._build(settings, self.series.clients())
        else:
            self.restored()

    def _build(self, settings: MetricsSettings, in_order: Iterable[Client]) -> None:
        series, classes = (
            ClientSeries(self._fleet, settings, self._partition),
            ClassCounts(settings.client_id_pattern),
        )
        for client in in_order:
            if client.state is not _UNKNOWN:
                series.add(client)
        for client in self._fleet.presence.clients.values():
            classes.count(client, client.state, 1)
        self.series, self.classes = series, classes
        self.groups = NamePatterns(settings.thing_groups)

    def observe(self, batch: Batch) -> None:
        """Update the series and classes of the clients that changed."""
        for change in batch.changes.clients:
            transition = change.transition
            if transition is not None:
                if transition.previous is _UNKNOWN:
                    self.series.add(change.client)
                else:
                    self.series.show(change.client)
            elif change.adopted:
                self.series.add(change.client)
            elif change.described:
                self.series.describe(change.client)
            elif change.after is None and change.before is not None:
                self.series.drop(change.client)
            elif change.event is not None and change.after is not _UNKNOWN:
                self.series.note_event(change.client)
        if self.classes.labels:
            for change in batch.changes.clients:
                self._count(change)

    def _count(self, change: ClientChange) -> None:
        if change.before is not change.after:
            if change.before is not None:
                self.classes.count(change.client, change.before, -1)
            if change.after is not None:
                self.classes.count(change.client, change.after, 1)
