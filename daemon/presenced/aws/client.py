"""The client: signed requests within their budgets, repeated after passing faults, counted."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Generic, TypeVar

import msgspec

from presenced.aws.budgets import Budgets
from presenced.aws.credentials import (
    ASSUME_ROLE,
    Credentials,
    CredentialsCache,
    CredentialsProvider,
    DefaultChainProvider,
    RoleAliasProvider,
    no_credentials_yet,
)
from presenced.aws.errors import RESULTS, AwsError, Cause, Result
from presenced.aws.operations import OPERATIONS, Request
from presenced.aws.queue import OPERATIONS as QUEUE_OPERATIONS
from presenced.aws.refusals import clock_ahead, refusal
from presenced.aws.signing import signed_headers
from presenced.aws.transport import (
    POOL_SIZE,
    HttpAnswer,
    HttpRequest,
    Transport,
    client_tls,
    timed_out,
)
from presenced.settings import AwsEndpoints, Settings, aws_endpoints, read_aws_proxy
from presenced.settings.proxy import Proxy
from presenced.settings.sqs import MAX_RECEIVERS
from presenced.system.loop import Clocks

T = TypeVar("T")

ATTEMPTS = 5
"""How often a request is made that fails with a passing fault."""

ATTEMPT_TIMEOUT = 10.0
"""Seconds for one attempt, unless the caller says otherwise."""

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 20.0


def retry_delay(attempt: int, share: float) -> float:
    """Return the seconds to wait after a failed attempt, counted from 1.

    The delay is a random `share` (0 to 1) of a time that doubles with each attempt, so that many
    clients that fail together do not come back together.
    """
    return share * min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (attempt - 1))


@dataclass(slots=True)
class RequestCounts:
    """How many requests were made, by operation and result; those about AWS IoT start at 0."""

    requests: dict[tuple[str, Result], int] = field(
        default_factory=lambda: {
            (name, result): 0
            for name in (*(operation.name for operation in OPERATIONS), ASSUME_ROLE)
            for result in RESULTS
        }
    )

    def count(self, operation: str, error: AwsError | None) -> None:
        """Count a request that succeeded, or failed with an error."""
        key: tuple[str, Result] = (operation, error.result if error else "ok")
        self.requests[key] = self.requests.get(key, 0) + 1

    def expect(self, operations: Iterable[str]) -> None:
        """Start the counters of operations at 0, unless they run already."""
        for name in operations:
            for result in RESULTS:
                self.requests.setdefault((name, result), 0)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer as a value, and as it was received: its `body` is JSON.

    `asked` is when the successful attempt was sent, `received` when its answer was complete; both
    in seconds since the epoch. `clock_ahead` is how many seconds this machine's clock is ahead of
    the server's, by the date of the answer; None if it has none.
    """

    value: T
    asked: float
    received: float
    body: bytes = field(repr=False)
    clock_ahead: float | None = None


class AwsClient:
    """Asks AWS, from one event loop."""

    def __init__(
        self,
        endpoints: AwsEndpoints,
        credentials: CredentialsCache,
        transport: Transport,
        budgets: Budgets,
        counts: RequestCounts,
        clocks: Clocks,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.credentials = credentials
        self._endpoints = endpoints
        self._transport = transport
        self._budgets = budgets
        self._counts = counts
        self._clocks = clocks
        self._jitter = jitter
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def use_share(self, share: float) -> None:
        """Make only a share of the lookups that the settings allow, above 0 and at most 1."""
        self._budgets.use_share(share)

    async def send(
        self, request: Request[T], *, attempts: int = ATTEMPTS, within: float = ATTEMPT_TIMEOUT
    ) -> Answer[T]:
        """Make a request when the budget allows it, and again after a passing fault.

        Each attempt ends `within` seconds. Raises AwsError.
        """
        attempt = 1
        with self._requesting():
            while True:
                await self._budgets.take(request)
                try:
                    return await self._attempt(request, within)
                except AwsError as error:
                    if attempt >= attempts or not error.may_pass:
                        raise
                await asyncio.sleep(retry_delay(attempt, self._jitter()))
                attempt += 1

    async def try_send(self, request: Request[T], *, within: float) -> Answer[T] | None:
        """Make a request once and now; return None if its budget is used up.

        Raises AwsError, after `within` seconds at the latest.
        """
        if not self._budgets.try_take(request):
            return None
        with self._requesting():
            return await self._attempt(request, within)

    async def close_when_idle(self) -> None:
        """Close the connections after the requests that are under way; make no others.

        If it is cancelled, they are closed at once.
        """
        try:
            await self._idle.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections, when nothing is being asked any more."""
        await self.credentials.close()
        await self._transport.close()

    @contextmanager
    def _requesting(self) -> Iterator[None]:
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _attempt(self, request: Request[T], within: float) -> Answer[T]:
        unsigned = self._unsigned(request)
        try:
            answer = await self._exchange(request, unsigned, within)
        except AwsError as error:
            self._counts.count(unsigned.operation, error)
            raise
        self._counts.count(unsigned.operation, None)
        return answer

    def _unsigned(self, request: Request[object]) -> HttpRequest:
        operation = request.operation
        if request.base_url is not None:
            base: str | None = request.base_url
            key = "sqs.queue_url"
        elif operation.service == "iotdata":
            base, key = self._endpoints.data_url, "aws.data_url and mqtt.endpoint"
        else:
            base, key = self._endpoints.iot_url, "aws.iot_url and aws.region"
        if base is None:
            detail = "no address of the data plane is set"
            raise AwsError(Cause.INVALID_REQUEST, operation.name, detail, "Set aws.data_url")
        url = base + request.target
        return HttpRequest(
            operation.name, key, operation.method, url, request.headers, body=request.body
        )

    async def _exchange(
        self, request: Request[T], unsigned: HttpRequest, within: float
    ) -> Answer[T]:
        deadline = asyncio.get_running_loop().time() + within
        try:
            async with asyncio.timeout_at(deadline):
                credentials = await self.credentials.get()
        except TimeoutError:
            raise no_credentials_yet(unsigned.operation, within) from None
        asked = self._clocks.wall()
        signed = await self._signed(unsigned, request.operation.service, credentials, asked)
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._transport.exchange(signed)
        except TimeoutError:
            raise timed_out(unsigned, within) from None
        if answer.status != HTTPStatus.OK:
            error = refusal(request.operation, answer, self._endpoints.region)
            if error.cause is Cause.CREDENTIALS:
                self.credentials.discard(credentials)
            raise error
        value = _value(request, unsigned, answer)
        return Answer(value, asked, answer.received, answer.body, clock_ahead(answer))

    async def _signed(
        self, unsigned: HttpRequest, service: str, credentials: Credentials, now: float
    ) -> HttpRequest:
        headers = await signed_headers(
            unsigned.method,
            unsigned.url,
            unsigned.headers,
            unsigned.body,
            signer=credentials.signer,
            region=self._endpoints.region,
            service=service,
            date=datetime.fromtimestamp(now, UTC),
        )
        return replace(unsigned, headers=headers)


def _value(request: Request[T], sent: HttpRequest, answer: HttpAnswer) -> T:
    try:
        return request.read(answer.body)
    except msgspec.MsgspecError as error:
        # Without the answer itself, which has names and attributes of things.
        raise AwsError(
            Cause.UNREADABLE,
            sent.operation,
            f"the response from {sent.address} is not a valid AWS response ({error})",
            f"Check {sent.address_key}",
            status=answer.status,
        ) from None


def open_client(settings: Settings, counts: RequestCounts, clocks: Clocks) -> AwsClient:
    """Return a client for the settings; its connections are made with the first request.

    Raises SettingsError if the region is unknown.
    """
    return _open(settings, settings.region, POOL_SIZE, counts, clocks)


def open_queue_client(settings: Settings, counts: RequestCounts, clocks: Clocks) -> AwsClient:
    """Return a client for the queue of the settings.

    It has a connection for each receiver, however many there are after a reload.
    """
    counts.expect(QUEUE_OPERATIONS)
    size = POOL_SIZE + MAX_RECEIVERS
    return _open(settings, settings.queue_region, size, counts, clocks)


def _open(
    settings: Settings,
    region: str | None,
    pool_size: int,
    counts: RequestCounts,
    clocks: Clocks,
) -> AwsClient:
    files = settings.tls_files
    ca = files.ca if files else None
    endpoints = aws_endpoints(settings.aws, settings.mqtt_endpoint, settings.sqs.queue_url)
    return AwsClient(
        replace(endpoints, region=region or endpoints.region),
        open_credentials(settings, counts, clocks),
        Transport(partial(client_tls, ca), clocks.wall, pool_size, _proxy_loader(settings)),
        Budgets(settings.reconcile, clocks.monotonic),
        counts,
        clocks,
    )


def _proxy_loader(settings: Settings) -> Callable[[], Proxy | None]:
    return partial(read_aws_proxy, settings.aws, settings.mqtt)


def open_credentials(settings: Settings, counts: RequestCounts, clocks: Clocks) -> CredentialsCache:
    """Return the credentials for requests to AWS, which are fetched when they are needed.

    Raises SettingsError if there is a role alias and the region of AWS IoT is unknown.
    """
    aws, files = settings.aws, settings.tls_files
    provider: CredentialsProvider = DefaultChainProvider(clocks)
    if files and aws.role_alias and aws.thing_name:
        endpoints = aws_endpoints(aws, settings.mqtt_endpoint, settings.sqs.queue_url)
        assert endpoints.credentials_url is not None  # noqa: S101 - there is a role alias
        provider = RoleAliasProvider(
            endpoints.credentials_url,
            region=endpoints.region,
            role_alias=aws.role_alias,
            thing_name=aws.thing_name,
            files=files,
            load_proxy=_proxy_loader(settings),
            clocks=clocks,
            count=partial(counts.count, ASSUME_ROLE),
        )
    return CredentialsCache(provider, clocks)
