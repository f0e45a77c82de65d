"""How many requests a second may be made."""

import asyncio
from collections.abc import Callable
from itertools import takewhile

from presenced.aws.operations import Budget, Request
from presenced.settings.aws import ReconcileSettings
from presenced.system.token_bucket import TokenBucket

# AWS allows 100 GetConnection a second, and one a second for each client.
_CONNECTIONS_PER_SECOND, _CONNECTIONS_AT_ONCE = 90, 10
_SAME_CLIENT_EVERY = 1.0


class Budgets:
    """The requests that the settings allow: searches one by one, lookups up to a second's at once.

    In no second are there more than 100 of GetConnection, and one about the same client. The whole
    of it is for this process until `use_share`.
    """

    def __init__(self, settings: ReconcileSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lookups_per_second = settings.lookups_per_second
        self._searches = TokenBucket(1 / settings.searches_per_second, 1, clock=clock)
        self._lookups = self._bucket(self._lookups_per_second, self._lookups_per_second)
        self._connections = self._bucket(_CONNECTIONS_PER_SECOND, _CONNECTIONS_AT_ONCE)
        # When each client was last asked about, for the last second.
        self._asked: dict[str, float] = {}
        self._queues = {budget: asyncio.Lock() for budget in Budget}

    def use_share(self, share: float) -> None:
        """Leave all but a share of the lookups, above 0 and at most 1, to other processes."""
        before = self._lookups.tokens, self._connections.tokens
        lookups = self._lookups_per_second * share
        self._lookups = self._bucket(lookups, lookups)
        self._connections = self._bucket(
            _CONNECTIONS_PER_SECOND * share, _CONNECTIONS_AT_ONCE * share
        )
        # What has been spent stays so: partitions may move often.
        for bucket, tokens in zip((self._lookups, self._connections), before, strict=True):
            bucket.spend(max(0.0, bucket.tokens - tokens))

    def _bucket(self, per_second: float, at_once: float) -> TokenBucket:
        return TokenBucket(1 / per_second, max(1.0, at_once), clock=self._clock)

    def try_take(self, request: Request[object]) -> bool:
        """Spend the budget for a request now; return False if it is used up."""
        if self.wait(request) > 0:
            return False
        self._spend(request)
        return True

    async def take(self, request: Request[object]) -> None:
        """Wait for the budget, in the order of the calls, and spend it."""
        async with self._queues[request.operation.budget]:
            while (seconds := self.wait(request)) > 0:  # noqa: ASYNC110 - only time changes it
                await asyncio.sleep(seconds)
            self._spend(request)

    def wait(self, request: Request[object]) -> float:
        """Return for how many seconds the budget for a request is used up, 0 if it is not."""
        waits = [bucket.wait for bucket in self._buckets(request)]
        if request.client_id is not None:
            asked = self._asked.get(request.client_id, float("-inf"))
            waits.append(asked + _SAME_CLIENT_EVERY - self._clock())
        return max([0.0, *waits])

    def _spend(self, request: Request[object]) -> None:
        for bucket in self._buckets(request):
            bucket.take()
        if request.client_id is not None:
            self._remember(request.client_id, self._clock())

    def _remember(self, client_id: str, now: float) -> None:
        # In the order of time, so that those of more than a second ago are the first.
        for asked_before in list(
            takewhile(lambda each: self._asked[each] + _SAME_CLIENT_EVERY <= now, self._asked)
        ):
            del self._asked[asked_before]
        self._asked[client_id] = now

    def _buckets(self, request: Request[object]) -> tuple[TokenBucket, ...]:
        match request.operation.budget:
            case Budget.SEARCHES:
                return (self._searches,)
            case Budget.LOOKUPS:
                return (self._lookups,)
            case Budget.CONNECTIONS:
                return self._lookups, self._connections
            case Budget.NONE:
                return ()
