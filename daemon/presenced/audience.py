"""Who is told what becomes of clients: metrics, and the API where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presenced.api.application import Api
    from presenced.metrics.exposition import View
    from presenced.presence import Client, State, Transition

__all__ = ["Audience"]


class Audience:
    """Passes on what `Fleet` tells; `view` and `api` are to be set before it tells anything."""

    view: View
    api: Api | None = None

    def count(self, client: Client, state: State, change: int) -> None:
        """A client enters (1) or leaves (-1) a state."""
        self.view.classes.count(client, state, change)
        if change > 0 and self.api is not None:
            self.api.entered(client, state)

    def transition(self, client: Client, transition: Transition) -> None:
        """A client went online or offline."""
        self.view.series.show(client)
        if self.api is not None:
            self.api.went(client, transition)

    def forget(self, client: Client) -> None:
        """A client is dropped."""
        self.view.series.drop(client)
        if self.api is not None:
            self.api.forgotten(client)

    def describe(self, client: Client) -> None:
        """The registry may say something else of a client."""
        self.view.series.describe(client)
        if self.api is not None:
            self.api.described(client)
