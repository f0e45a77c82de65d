"""Everything that asks AWS, as one part of the daemon."""

import asyncio
from collections.abc import Callable

from presenced.aws import operations
from presenced.aws.client import RequestCounts, open_client
from presenced.aws.credentials import ASSUME_ROLE
from presenced.aws.lookups import LookupDriver
from presenced.aws.merger import Delivery, Merger
from presenced.aws.snapshot_driver import SnapshotDriver
from presenced.fleet import Fleet
from presenced.pipeline import Batch
from presenced.settings import Settings
from presenced.system.loop import Clocks


class Reconciler:
    """Asks AWS from `start` to `stop`, if `reconcile.enabled`; an observer of the pipeline.

    `snapshots` has the last snapshot. `counts` are the requests, counted together with others in
    `requests`.
    """

    def __init__(
        self,
        fleet: Fleet,
        delivery: Delivery,
        settings: Settings,
        is_up: Callable[[], bool],
        clocks: Clocks,
        requests: RequestCounts | None = None,
    ) -> None:
        self.counts = requests or RequestCounts()
        self.counts.expect([*(operation.name for operation in operations.OPERATIONS), ASSUME_ROLE])
        self._fleet = fleet
        self._clocks = clocks
        self._settings = settings
        self._client = open_client(settings, self.counts, clocks)
        self._merger = Merger(delivery)
        self._lookups = LookupDriver(fleet, self._merger, self._client, clocks)
        self.snapshots = SnapshotDriver(
            fleet, self._merger, self._client, settings.reconcile, is_up, clocks
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._use_lookups()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the requests to AWS; presence goes on without them."""
        errors = (self.snapshots.error, self._lookups.error)
        return sorted({f"AWS cannot be asked: {error}" for error in errors if error})

    def observe(self, batch: Batch) -> None:
        """See what an answer must be compared with, and what it is wanted for."""
        self._merger.observe(batch)
        self._lookups.observe(batch)

    def start(self) -> None:
        """Begin to ask."""
        self._tasks = [
            asyncio.create_task(self.snapshots.run()),
            asyncio.create_task(self._lookups.run()),
        ]

    def use(self, settings: Settings) -> None:
        """Go on with other settings from the next request on; a snapshot goes on as well."""
        if not settings.reconcile.enabled:
            return  # that takes effect at the next start
        before, self._settings = self._settings, settings
        self.snapshots.settings = settings.reconcile
        if _asked_with(settings) != _asked_with(before):
            old, self._client = self._client, open_client(settings, self.counts, self._clocks)
            self.snapshots.client = self._lookups.client = self._client
            self._use_lookups()
            closing = asyncio.create_task(old.close_when_idle())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """Stop all requests."""
        self._fleet.presence.lookups.use("never", None)
        tasks = [*self._tasks, *self._closing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _use_lookups(self) -> None:
        reconcile = self._settings.reconcile
        lookups = self._fleet.presence.lookups
        lookups.use(reconcile.verify_offline, reconcile.lookups_per_second)


def _asked_with(settings: Settings) -> tuple[object, ...]:
    """Return what a client for requests is made of."""
    endpoint, queue_url = settings.mqtt_endpoint, settings.sqs.queue_url
    return settings.aws, settings.reconcile, settings.tls_files, endpoint, queue_url
