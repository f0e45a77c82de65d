"""Read AWS's record of the whole fleet, page by page, and merge each page as it comes."""

from collections.abc import AsyncIterator, Callable, Sequence

from presenced.aws import operations
from presenced.aws.answers import NamePage, ThingRow
from presenced.aws.client import AwsClient
from presenced.aws.merger import Merger
from presenced.aws.rows import presence_rows, registry_events, told_at
from presenced.events.model import RegistryEvent, ThingGroupEvent
from presenced.fleet import Fleet

_ACTIVE = "ACTIVE"


class Snapshot:
    """One reading of the record, and how far it has come.

    `settles` is whether its rows verify clients. `things` are the names that have been read.
    """

    def __init__(self, fleet: Fleet, merger: Merger, *, settles: bool, seed_registry: bool) -> None:
        self.settles = settles
        self.things: set[str] = set()
        self._fleet = fleet
        self._merger = merger
        self._seed_registry = seed_registry
        self._billing_groups: frozenset[str] | None = None
        self._next_token: str | None = None
        self._is_complete = False

    async def read(self, client: AwsClient) -> None:
        """Read what has not been read yet; after an AwsError, another call goes on from there."""
        if self._seed_registry and self._billing_groups is None:
            await self._read_groups(client)
        await self._check_index(client)
        while not self._is_complete:
            epoch = self._fleet.presence.gap_epoch
            with self._merger.asking():
                page = await client.send(operations.search_index(self._next_token))
                self._merge(page.value.things, page.asked, epoch)
            self._next_token = page.value.next_token
            self._is_complete = page.value.next_token is None
        await self._check_index(client)

    async def _check_index(self, client: AwsClient) -> None:
        """An index that is being rebuilt has old data, which settles nothing."""
        answer = await client.send(operations.describe_index())
        self.settles = self.settles and answer.value.index_status == _ACTIVE

    async def _read_groups(self, client: AwsClient) -> None:
        billing = {name async for name in _names(client, operations.list_billing_groups)}
        async for name in _names(client, operations.list_thing_groups):
            answer = await client.send(operations.describe_thing_group(name))
            group = answer.value
            event = ThingGroupEvent(
                type="updated",
                timestamp=told_at(answer.asked, self._fleet),
                thing_group=group.name,
                thing_group_id=group.group_id,
                version=group.version,
                parent=group.parent,
            )
            self._merger.merge((), [event])
        self._billing_groups = frozenset(billing)

    def _merge(self, things: Sequence[ThingRow], asked: float, epoch: int) -> None:
        self.things.update(thing.name for thing in things)
        rows = presence_rows(things, self._fleet, asked=asked, epoch=epoch, settles=self.settles)
        registry: list[RegistryEvent] = []
        if self._seed_registry:
            billing = self._billing_groups or frozenset()
            registry = registry_events(things, self._fleet, asked=asked, billing_groups=billing)
        self._merger.merge(rows, registry)


async def _names(
    client: AwsClient, request: Callable[[str | None], operations.Request[NamePage]]
) -> AsyncIterator[str]:
    token: str | None = None
    while True:
        page = (await client.send(request(token))).value
        for name in page.names:
            yield name
        token = page.next_token
        if token is None:
            return
