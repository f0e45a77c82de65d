"""Everything that asks AWS, as one part of the daemon."""

import asyncio

from presenced.aws import operations
from presenced.aws.client import AwsClient, RequestCounts, open_client
from presenced.aws.credentials import ASSUME_ROLE
from presenced.aws.lookups import LookupDriver
from presenced.aws.merger import Delivery
from presenced.aws.schedule import PastSnapshots
from presenced.aws.snapshot import SnapshotTarget
from presenced.aws.snapshot_driver import SnapshotDriver
from presenced.fleet import Fleet
from presenced.presence.lookups import LookupBudget
from presenced.settings import Settings
from presenced.settings.connection_secrets import aws_proxy_choice
from presenced.system.loop import Clocks


class Reconciler:
    """Asks AWS from `start` to `stop`, if `reconcile.enabled`; what is added meanwhile too.

    `snapshots` takes those of this process, None if another one does. `counts` are the requests,
    counted together with others in `requests`.
    """

    def __init__(
        self, settings: Settings, clocks: Clocks, requests: RequestCounts | None = None
    ) -> None:
        self.counts = requests or RequestCounts()
        self.counts.expect([*(operation.name for operation in operations.OPERATIONS), ASSUME_ROLE])
        self.snapshots: SnapshotDriver | None = None
        self._clocks = clocks
        self._settings = settings
        self._client = open_client(settings, self.counts, clocks)
        self._budget = LookupBudget(settings.reconcile.lookups_per_second)
        self._share = 1.0
        self._fleets: dict[LookupDriver, Fleet] = {}
        self._started = False
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the requests to AWS; presence goes on without them."""
        problems = {f"AWS cannot be asked: {each.error}" for each in self._fleets if each.error}
        if self.snapshots is not None and self.snapshots.problem is not None:
            problems.add(self.snapshots.problem)
        return sorted(problems)

    @property
    def seeds_registry(self) -> bool:
        """Whether AWS is asked what things, types and groups there are."""
        return self._settings.reconcile.seed_registry

    def client(self) -> AwsClient:
        """Return the client for the next request."""
        return self._client

    def defer_lookups(self, fleet: Fleet) -> None:
        """Let a fleet want lookups that `look_up` makes later; its clients wait for none."""
        fleet.presence.lookups.use(self._settings.reconcile.verify_offline, LookupBudget(0.0))

    def look_up(self, fleet: Fleet, delivery: Delivery) -> LookupDriver:
        """Make the lookups that a fleet wants; return what has to observe its pipeline."""
        driver = LookupDriver(fleet, delivery, self._client, self._clocks)
        self._fleets[driver] = fleet
        self._use_lookups(fleet)
        self._run(driver)
        return driver

    def end_lookups(self, driver: LookupDriver) -> None:
        """Make no more lookups of a fleet; those that are under way are dropped."""
        fleet = self._fleets.pop(driver)
        fleet.presence.lookups.use("never", None)
        self._cancel(driver)

    def take_snapshots(self, target: SnapshotTarget, past: PastSnapshots | None = None) -> None:
        """Take the snapshots of the fleet, into a target; the arguments are those of the driver."""
        self.snapshots = driver = SnapshotDriver(
            target, self._client, self._settings.reconcile, self._clocks, past
        )
        self._run(driver)

    def end_snapshots(self) -> None:
        """Take no more snapshots; one that is under way is dropped."""
        driver, self.snapshots = self.snapshots, None
        self._cancel(driver)

    def use_share(self, share: float) -> None:
        """Make a share of the lookups that the settings allow, above 0 and at most 1."""
        self._share = share
        self._client.use_share(share)
        self._budget.use_rate(self._settings.reconcile.lookups_per_second * share)

    def start(self) -> None:
        """Begin to ask."""
        self._started = True
        for driver in self._fleets:
            self._run(driver)
        if self.snapshots is not None:
            self._run(self.snapshots)

    def use(self, settings: Settings) -> None:
        """Go on with other settings from the next request on; a snapshot goes on as well."""
        if not settings.reconcile.enabled:
            return  # that takes effect at the next start
        before, self._settings = self._settings, settings
        if self.snapshots is not None:
            self.snapshots.settings = settings.reconcile
        if _asked_with(settings) != _asked_with(before):
            old, self._client = self._client, open_client(settings, self.counts, self._clocks)
            self.use_share(self._share)
            if self.snapshots is not None:
                self.snapshots.client = self._client
            for driver, fleet in self._fleets.items():
                driver.client = self._client
                self._use_lookups(fleet)
            closing = asyncio.create_task(old.close_when_idle())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """Stop all requests."""
        self._started = False
        for fleet in self._fleets.values():
            fleet.presence.lookups.use("never", None)
        tasks = [*self._tasks.values(), *self._closing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _use_lookups(self, fleet: Fleet) -> None:
        fleet.presence.lookups.use(self._settings.reconcile.verify_offline, self._budget)

    def _run(self, driver: LookupDriver | SnapshotDriver) -> None:
        if self._started:
            self._tasks[driver] = asyncio.create_task(driver.run())

    def _cancel(self, driver: object) -> None:
        task = self._tasks.pop(driver, None)
        if task is not None:
            task.cancel()


def _asked_with(settings: Settings) -> tuple[object, ...]:
    """Return what a client for requests is made of."""
    endpoint, queue_url = settings.mqtt_endpoint, settings.sqs.queue_url
    proxy = aws_proxy_choice(settings.aws, settings.mqtt)
    return settings.aws, settings.reconcile, settings.tls_files, endpoint, queue_url, proxy
