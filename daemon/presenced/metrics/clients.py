"""The metrics of single clients and of their classes, as an observer of the pipeline."""

from presenced.fleet import Fleet
from presenced.metrics.series import ClassCounts, ClientSeries
from presenced.pipeline import Batch
from presenced.presence import ClientChange
from presenced.settings import MetricsSettings


class ClientMetrics:
    """The series of the fleet's clients and the counts of their classes."""

    series: ClientSeries
    classes: ClassCounts

    def __init__(self, fleet: Fleet, settings: MetricsSettings) -> None:
        self._fleet = fleet
        self.use(settings)

    def use(self, settings: MetricsSettings) -> None:
        """Build series and classes for all clients that are known."""
        fleet = self._fleet
        self.series = ClientSeries(fleet, settings)
        self.classes = ClassCounts(settings.client_id_pattern)
        for client in fleet.presence.clients.values():
            self.series.show(client)
            self.classes.count(client, client.state, 1)

    def observe(self, batch: Batch) -> None:
        """Update the series and classes of the clients that changed."""
        for change in batch.changes.clients:
            if change.transition is not None or change.adopted:
                self.series.show(change.client)
            elif change.described:
                self.series.describe(change.client)
            elif change.after is None and change.before is not None:
                self.series.drop(change.client)
        if self.classes.labels:
            for change in batch.changes.clients:
                self._count(change)

    def _count(self, change: ClientChange) -> None:
        if change.before is not change.after:
            if change.before is not None:
                self.classes.count(change.client, change.before, -1)
            if change.after is not None:
                self.classes.count(change.client, change.after, 1)
