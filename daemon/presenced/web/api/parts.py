"""The parts of the fleet that the API shows: one, or one for each partition that a worker has."""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from presenced.fleet import Fleet, Partition
from presenced.pipeline import Batch, Pipeline
from presenced.presence import Client, ClientChange
from presenced.recent.troubles import troubles_of
from presenced.sources.gaps import Gaps
from presenced.system.loop import Clocks
from presenced.web.api.client_index import ClientIndex
from presenced.web.api.doubt import doubt_of
from presenced.web.api.explanation import ClientDetails
from presenced.web.api.history import History
from presenced.web.api.selection import Key, Order, Page, PageRequest

# Partitions have nearly as many clients as one another. A part that has more of a page than that is
# asked again.
_SLACK = 10


class PartSources(NamedTuple):
    """A fleet, or the part of it in a partition of Kafka, as far as the API shows it."""

    pipeline: Pipeline
    gaps: Gaps
    hold_after: Callable[[], float]
    partition: Partition | None = None


class FleetPart:
    """A part of the fleet: its clients as pages and their history. An observer of its pipeline.

    `publish` is called with its fleet and those changes of a batch that are transitions. A part
    that is `closed` is not shown.
    """

    def __init__(
        self,
        sources: PartSources,
        index: ClientIndex,
        history: History,
        publish: Callable[[Fleet, Sequence[ClientChange]], None],
    ) -> None:
        self.fleet = sources.pipeline.fleet
        self.flapping = sources.pipeline.flapping
        self.partition = sources.partition
        self.index = index
        self.history = history
        self.closed = False
        self._sources = sources
        self._publish = publish

    def observe(self, batch: Batch) -> None:
        """Update the index and the history, and publish transitions."""
        if self.closed:
            return
        changes = batch.changes.clients
        transitions: list[ClientChange] = []
        for change in changes:
            if change.after is not None:
                if change.before is None:
                    self.index.added(change.client)
                self.index.changed(change.client)
            elif change.before is not None:
                self.index.removed(change.client)
            if change.transition is not None:
                transitions.append(change)
        if transitions:
            self._publish(self.fleet, transitions)
        self.history.observe(changes)

    def close(self) -> None:
        """Show nothing of it any more."""
        self.closed = True
        self.index.close()

    def details(self, client: Client, clocks: Clocks) -> ClientDetails:
        """Return all that is known about one of its clients."""
        now, presence = clocks.wall(), self.fleet.presence
        due = presence.deadline(client)
        history = self.history.get(client.client_id)
        doubt = None
        if presence.is_unverified(client):
            contradicted = presence.status.is_in_doubt(client.client_id)
            doubt = doubt_of(client, history, self._sources.gaps.last, contradicted=contradicted)
        return ClientDetails(
            client=client,
            history=history,
            now=now,
            deadline=None if due is None else due - clocks.monotonic() + now,
            held=due is not None and due > self._sources.hold_after(),
            awaits_lookup=presence.lookups.is_awaited(client.client_id),
            doubt=doubt,
            held_until=self.flapping.held_until(client.client_id, now),
            troubles=tuple(troubles_of(self.flapping.recent, client.client_id, now)),
        )


class MergedPage(NamedTuple):
    """Clients with their parts, and the key after which the next page begins, if there is one."""

    clients: list[tuple[FleetPart, Client]]
    next: Key | None


class FleetParts:
    """The parts by partition. `max_histories` is for how many clients they keep a history together.

    `partition_count` is how many partitions the whole fleet has; None before the first was added,
    and if the fleet has only one part.
    """

    def __init__(self, max_histories: int) -> None:
        self.partition_count: int | None = None
        self._max_histories = max_histories
        self._parts: dict[int | None, FleetPart] = {}

    def __iter__(self) -> Iterator[FleetPart]:
        return iter(self._parts.values())

    def add(self, part: FleetPart) -> None:
        """Add a part, in place of another one of the same partition."""
        number = None
        if part.partition is not None:
            number, self.partition_count = part.partition
        self.remove(number)
        self._parts[number] = part
        self._share()

    def remove(self, number: int | None) -> None:
        """Remove and close the part of a partition, if it is there."""
        part = self._parts.pop(number, None)
        if part is not None:
            part.close()
            self._share()

    def find(self, client_id: str) -> tuple[FleetPart, Client] | None:
        """Return a client and its part; None if no part has it."""
        for part in self:
            client = part.fleet.presence.clients.get(client_id)
            if client is not None:
                return part, client
        return None

    async def page(self, request: PageRequest) -> MergedPage:
        """Return a page of the clients of all parts, as `ClientIndex.page` does of one."""
        parts = [*self]
        rest = request._replace(parts=len(parts) or 1)
        if len(parts) > 1:
            share = 2 * request.limit // len(parts) + _SLACK
            rest = rest._replace(limit=min(share, request.limit))
        found: list[tuple[Any, FleetPart, Client]] = []
        while True:
            pages = [(part, await part.index.page(rest)) for part in parts if not part.closed]
            merged, end = _merge(pages, request.order)
            found += merged
            is_cut = any(page.cut for _, page in pages)
            if end is None or is_cut or len(found) >= request.limit:
                break
            rest = rest._replace(after=end)
        shown = found[: request.limit]
        following = shown[-1][0] if len(found) > request.limit else end
        # A part may have been removed while another one was asked.
        clients = [(part, client) for _, part, client in shown if not part.closed]
        return MergedPage(clients, following)

    def _share(self) -> None:
        for part in self:
            part.history.max_clients = -(-self._max_histories // len(self._parts))


def _merge(
    pages: Sequence[tuple[FleetPart, Page]], order: Order
) -> tuple[list[tuple[Any, FleetPart, Client]], Key | None]:
    """Return the clients of pages in order, with their keys, and where the first page to end does.

    Clients that come after that end are left out: more of that part may come before them.
    """
    found = [(order.key(client), part, client) for part, page in pages for client in page.clients]
    found.sort(key=itemgetter(0), reverse=order.descending)
    ends: list[Any] = [page.next for _, page in pages if page.next is not None]
    if not ends:
        return found, None
    if order.descending:
        end = max(ends)
        return [each for each in found if each[0] >= end], end
    end = min(ends)
    return [each for each in found if each[0] <= end], end
