"""Who is told what becomes of clients: metrics, and the API where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presenced.api.application import Api
    from presenced.fleet import Fleet
    from presenced.metrics.exposition import View
    from presenced.presence import Client, State, Transition

__all__ = ["Audience"]


class Audience:
    """Passes on what a fleet tells; `join` comes before it tells anything."""

    _fleet: Fleet
    _view: View
    _api: Api | None

    def join(self, fleet: Fleet, view: View, api: Api | None) -> None:
        """Pass on what this fleet tells to these."""
        self._fleet, self._view, self._api = fleet, view, api
        if api is not None:
            api.on_follow = self.listen
        self.listen()

    def listen(self) -> None:
        """Hear of changed states only where somebody counts them: each costs a microsecond."""
        follows = self._api is not None and self._api.follows
        counts = follows or bool(self._view.classes.labels)
        self._fleet.use_count(self._count if counts else None)

    def _count(self, client: Client, state: State, change: int) -> None:
        """A client enters (1) or leaves (-1) a state."""
        self._view.classes.count(client, state, change)
        if change > 0 and self._api is not None:
            self._api.changed(client)

    def enter(self, client: Client) -> None:
        """A client is new."""
        if self._api is not None:
            self._api.entered(client)

    def restore(self, client: Client) -> None:
        """A client of a state file is known now that could be opened only later."""
        if client.transition is not None:
            self._view.series.show(client)
        if self._api is not None:
            self._api.entered(client)

    def transition(self, client: Client, transition: Transition) -> None:
        """A client went online or offline."""
        self._view.series.show(client)
        if self._api is not None:
            self._api.went(client, transition)

    def forget(self, client: Client) -> None:
        """A client is dropped."""
        self._view.series.drop(client)
        if self._api is not None:
            self._api.forgotten(client)

    def describe(self, client: Client) -> None:
        """The registry may say something else of a client."""
        self._view.series.describe(client)
        if self._api is not None:
            self._api.changed(client)
