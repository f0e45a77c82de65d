"""Read AWS's record of the whole fleet, page by page, and hand each page on as it comes."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from presenced.aws import operations
from presenced.aws.answers import NamePage, ThingGroup, ThingRow
from presenced.aws.client import AwsClient

_ACTIVE = "ACTIVE"


@dataclass(slots=True)
class Snapshot:
    """One reading of the record, and how far it has come.

    `began` is when, in seconds since the epoch; in whole milliseconds it is the `number` that tells
    a snapshot from others. `settles` is whether its rows verify clients, `things` how many things
    have been read. It `has_registry` if its rows also say what things are.
    """

    began: float
    settles: bool
    has_registry: bool
    things: int = 0

    @property
    def number(self) -> int:
        """What tells it from other snapshots."""
        return round(self.began * 1000)


class SnapshotTargetError(Exception):
    """What has been read could not be handed on; the text says why, and what to do about it."""


class SnapshotTarget(Protocol):
    """What takes the pages of a snapshot: a fleet, or a topic that all parts of the fleet read.

    Methods that wait may raise SnapshotTargetError; they are then called again.
    """

    @property
    def is_up(self) -> bool:
        """Whether the events of before are there, so that rows can be compared with them."""

    @property
    def gap(self) -> float:
        """What is another value, 0 or more, after each gap in the events."""

    @property
    def accuracy(self) -> float:
        """T (`presence.timestamp_accuracy`), in seconds."""

    async def begin(self, snapshot: Snapshot) -> None:
        """Take note of a snapshot that begins: nothing of it has been asked for yet."""

    def asking(self) -> AbstractContextManager[None]:
        """Surround the request for a page and `add`."""

    def add_group(self, group: ThingGroup, asked: float) -> None:
        """Take a thing group."""

    async def add(self, snapshot: Snapshot, things: Sequence[ThingRow], asked: float) -> None:
        """Take a page; its things have thing groups only. `asked` is in seconds since the epoch."""

    async def end(self, snapshot: Snapshot, ended: float, client: Callable[[], AwsClient]) -> None:
        """Take note that a snapshot is complete, at `ended`; `client` asks what that leads to."""


class SnapshotReader:
    """Reads `snapshot` into a target.

    `client` returns the one for the next request.
    """

    def __init__(
        self, snapshot: Snapshot, target: SnapshotTarget, client: Callable[[], AwsClient]
    ) -> None:
        self.snapshot = snapshot
        self._target = target
        self._client = client
        self._billing_groups: frozenset[str] | None = None
        self._next_token: str | None = None
        self._has_begun = self._is_complete = False

    async def read(self) -> None:
        """Read what has not been read yet; after an error, another call goes on from there.

        Raises AwsError and SnapshotTargetError.
        """
        snapshot, target = self.snapshot, self._target
        if not self._has_begun:
            await target.begin(snapshot)
            self._has_begun = True
        if snapshot.has_registry and self._billing_groups is None:
            await self._read_groups()
        await self._check_index()
        while not self._is_complete:
            with target.asking():
                page = await self._client().send(operations.search_index(self._next_token))
                await target.add(snapshot, self._in_thing_groups(page.value.things), page.asked)
            snapshot.things += len(page.value.things)
            self._next_token = page.value.next_token
            self._is_complete = page.value.next_token is None
        await self._check_index()

    async def _check_index(self) -> None:
        """An index that is being rebuilt has old data, which settles nothing."""
        answer = await self._client().send(operations.describe_index())
        self.snapshot.settles &= answer.value.index_status == _ACTIVE

    async def _read_groups(self) -> None:
        billing = {name async for name in self._names(operations.list_billing_groups)}
        async for name in self._names(operations.list_thing_groups):
            answer = await self._client().send(operations.describe_thing_group(name))
            self._target.add_group(answer.value, answer.asked)
        self._billing_groups = frozenset(billing)

    def _in_thing_groups(self, things: Sequence[ThingRow]) -> Sequence[ThingRow]:
        """Return rows without billing groups, which are among their groups and are none."""
        billing = self._billing_groups
        return [each.without_groups(billing) for each in things] if billing else things

    async def _names(
        self, request: Callable[[str | None], operations.Request[NamePage]]
    ) -> AsyncIterator[str]:
        token: str | None = None
        while True:
            page = (await self._client().send(request(token))).value
            for name in page.names:
                yield name
            token = page.next_token
            if token is None:
                return
