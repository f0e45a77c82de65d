"""Make the lookups that presence wants, and merge their answers."""

import asyncio
from contextlib import suppress

from presenced.aws import operations
from presenced.aws.answers import Connectivity
from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError, Cause
from presenced.aws.merger import Delivery, Merger
from presenced.aws.rows import lookup_row
from presenced.fleet import Fleet
from presenced.pipeline import Batch
from presenced.presence.lookups import LOOKUP_TIMEOUT
from presenced.system.log import ThrottledLogger, get_logger
from presenced.system.loop import Clocks

_RETRY_BUDGET_EVERY = 0.1


class LookupDriver:
    """Observes the pipeline; looks up, while `run` runs, the clients of `Presence.lookups`.

    `client` may be replaced. `error` is why the last lookup failed, None if it did not.
    """

    def __init__(self, fleet: Fleet, delivery: Delivery, client: AwsClient, clocks: Clocks) -> None:
        self.client = client
        self.error: AwsError | None = None
        self._fleet = fleet
        self._merger = Merger(delivery)
        self._clocks = clocks
        self._wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = ThrottledLogger(get_logger("presenced.aws"))

    def observe(self, batch: Batch) -> None:
        """See what an answer must be compared with, and start the lookups that this batch wants."""
        self._merger.observe(batch)
        if self._fleet.presence.lookups:
            self._wanted.set()

    async def run(self) -> None:
        """Make lookups until cancelled; those that are under way are dropped then."""
        lookups = self._fleet.presence.lookups
        self._wanted.set()  # by what came before
        try:
            while True:
                await self._wanted.wait()
                for client_id in lookups.take(self._clocks.monotonic()):
                    task = asyncio.create_task(self._look_up(client_id))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                self._wanted.clear()
                if lookups:  # beyond the budget of this moment
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wanted.wait(), _RETRY_BUDGET_EVERY)
                    self._wanted.set()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _look_up(self, client_id: str) -> None:
        epoch = self._fleet.presence.gap_epoch
        request: operations.Request[Connectivity]
        if client_id in self._fleet.inventory.things.live:
            request = operations.get_thing_connectivity_data(client_id)
        else:
            request = operations.get_connection(client_id)
        with self._merger.asking():
            try:
                answer = await self.client.try_send(request, within=LOOKUP_TIMEOUT)
            except AwsError as error:
                self._note(error)
                self._merger.give_up_lookup(client_id)
                return
            if answer is None:  # the budget of this operation is used up
                self._fleet.presence.lookups.put_back(client_id)
                asyncio.get_running_loop().call_later(_RETRY_BUDGET_EVERY, self._wanted.set)
                return
            self.error = None
            row = lookup_row(
                client_id,
                answer.value,
                asked=answer.asked,
                epoch=epoch,
                operation=request.operation.name,
            )
            self._merger.merge([row])

    def _note(self, error: AwsError) -> None:
        """Store and log an error; an unknown client is not an error."""
        if error.cause is Cause.NOT_FOUND:
            self.error = None
            return
        self.error = error
        self._log.warning(
            "a lookup failed; clients go offline without it",
            key=error.cause,
            operation=error.operation,
            error=error.detail,
            remedy=error.remedy,
        )
