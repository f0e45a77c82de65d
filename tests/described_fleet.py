"""A fleet for the series of clients: tests put clients and their descriptions into it."""

from typing import Any

from presenced.fleet import Description, Fleet
from presenced.metrics.series import ClientSeries
from presenced.presence import Client, PresenceRules
from presenced.settings import MetricsSettings


class DescribedFleet(Fleet):
    """A fleet whose registry describes clients by `descriptions`."""

    def __init__(self) -> None:
        super().__init__(PresenceRules())
        self.clients = self.presence.clients
        self.descriptions: dict[str, Description] = {}

    def describe(self, client: Client) -> Description:
        return self.descriptions.get(client.client_id, Description("", {}))

    def series(self, **settings: Any) -> ClientSeries:
        return ClientSeries(self, MetricsSettings(**settings))
