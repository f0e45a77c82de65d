"""Hand AWS's answers to the fleet, with the events that arrived while they were asked for."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from presenced.events.model import LifecycleEvent, RegistryEvent
from presenced.pipeline import Batch
from presenced.presence.record import Row


class Delivery(Protocol):
    """Applies rows and registry events to the fleet, stores the result, arms the deadline timer."""

    def merge(
        self,
        rows: Iterable[Row],
        registry: Iterable[RegistryEvent],
        events: Mapping[str, LifecycleEvent],
    ) -> None:
        """Merge what AWS says, as `Pipeline.merge` does."""

    def give_up_lookup(self, client_id: str) -> None:
        """Take a client offline without waiting for its lookup any longer."""


class Merger:
    """Observes the pipeline, and merges answers; `asking` surrounds a request and its merging."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._requests = 0
        # The last accepted event of each client since the oldest request that is under way, and
        # when it was received.
        self._events: dict[str, tuple[LifecycleEvent, float]] = {}

    def observe(self, batch: Batch) -> None:
        """Note the events that came after a request was made."""
        if not self._requests:
            return
        for change in batch.changes.clients:
            if isinstance(change.event, LifecycleEvent) and change.against is None:
                self._events[change.client.client_id] = change.event, change.received

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Note events from now until the answer has been merged."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._events.clear()

    def merge(self, rows: Iterable[Row], registry: Iterable[RegistryEvent] = ()) -> None:
        """Merge what AWS says about clients, and about things and groups."""
        rows = list(rows)
        events = {}
        for row in rows:
            event, received = self._events.get(row.client_id, (None, 0.0))
            if event is not None and received >= row.asked:
                events[row.client_id] = event
        self._delivery.merge(rows, registry, events)

    def give_up_lookup(self, client_id: str) -> None:
        """Report that no answer about a client will come."""
        self._delivery.give_up_lookup(client_id)
