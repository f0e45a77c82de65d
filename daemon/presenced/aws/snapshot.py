"""Read AWS's record of the whole fleet, page by page, and merge each page as it comes."""

from collections.abc import AsyncIterator, Callable, Sequence

from presenced.aws import operations
from presenced.aws.answers import NamePage, ThingRow
from presenced.aws.client import AwsClient
from presenced.aws.merger import Merger
from presenced.aws.rows import presence_rows, registry_event_time, registry_events
from presenced.events.model import RegistryEvent, ThingGroupEvent
from presenced.fleet import Fleet
from presenced.system.loop import CooperativeScheduler, freeze_survivors

_ACTIVE = "ACTIVE"
_ROWS_AT_ONCE = 5
# A full collection would traverse the tables of all clients and things, again and again while they
# grow: hundreds of milliseconds at a million.
_FREEZE_EVERY = 10_000


class Snapshot:
    """One reading of the record, and how far it has come.

    `number` tells it from others, and is left in the things of the registry that it lists: a set
    of a million names would hold the event loop for tens of milliseconds whenever it grows.
    `settles` is whether its rows verify clients, `things` how many things have been read.
    """

    def __init__(
        self, fleet: Fleet, merger: Merger, number: int, *, settles: bool, seed_registry: bool
    ) -> None:
        self.settles = settles
        self.number = number
        self.things = 0
        self._fleet = fleet
        self._merger = merger
        self._scheduler = CooperativeScheduler()
        self._seed_registry = seed_registry
        self._billing_groups: frozenset[str] | None = None
        self._next_token: str | None = None
        self._is_complete = False
        # Gaps from now on are left to the next snapshot.
        self._epoch = fleet.presence.gap_epoch

    async def read(self, client: Callable[[], AwsClient]) -> None:
        """Read what has not been read yet; after an AwsError, another call goes on from there.

        `client` returns the one for the next request.
        """
        if self._seed_registry and self._billing_groups is None:
            await self._read_groups(client)
        await self._check_index(client)
        while not self._is_complete:
            with self._merger.asking():
                page = await client().send(operations.search_index(self._next_token))
                await self._merge_in_slices(page.value.things, page.asked)
            before, self.things = self.things, self.things + len(page.value.things)
            if before // _FREEZE_EVERY != self.things // _FREEZE_EVERY:
                freeze_survivors()
            self._next_token = page.value.next_token
            self._is_complete = page.value.next_token is None
        await self._check_index(client)

    async def _check_index(self, client: Callable[[], AwsClient]) -> None:
        """An index that is being rebuilt has old data, which settles nothing."""
        answer = await client().send(operations.describe_index())
        self.settles = self.settles and answer.value.index_status == _ACTIVE

    async def _read_groups(self, client: Callable[[], AwsClient]) -> None:
        billing = {name async for name in _names(client, operations.list_billing_groups)}
        async for name in _names(client, operations.list_thing_groups):
            answer = await client().send(operations.describe_thing_group(name))
            group = answer.value
            event = ThingGroupEvent(
                type="updated",
                timestamp=registry_event_time(answer.asked, self._fleet),
                thing_group=group.name,
                thing_group_id=group.group_id,
                version=group.version,
                parent=group.parent,
            )
            self._merger.merge((), [event])
        self._billing_groups = frozenset(billing)

    async def _merge_in_slices(self, things: Sequence[ThingRow], asked: float) -> None:
        """Merge a page and let the event loop go on meanwhile: a hundred rows take too long."""
        async with self._scheduler.turn() as turn:
            for begin in range(0, len(things), _ROWS_AT_ONCE):
                self._merge(things[begin : begin + _ROWS_AT_ONCE], asked)
                await turn.yield_if_due()

    def _merge(self, things: Sequence[ThingRow], asked: float) -> None:
        rows = presence_rows(
            things, self._fleet, asked=asked, epoch=self._epoch, settles=self.settles
        )
        registry: list[RegistryEvent] = []
        if self._seed_registry:
            billing = self._billing_groups or frozenset()
            registry = registry_events(things, self._fleet, asked=asked, billing_groups=billing)
        self._merger.merge(rows, registry)
        live = self._fleet.inventory.things.live
        for thing in things:
            if (known := live.get(thing.name)) is not None:
                known.listed_in = self.number


async def _names(
    client: Callable[[], AwsClient], request: Callable[[str | None], operations.Request[NamePage]]
) -> AsyncIterator[str]:
    token: str | None = None
    while True:
        page = (await client().send(request(token))).value
        for name in page.names:
            yield name
        token = page.next_token
        if token is None:
            return
