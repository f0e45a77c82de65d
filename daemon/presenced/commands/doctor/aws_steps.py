"""The steps of the requests to AWS: each request of the daemon is made once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeVar

from presenced.aws import operations
from presenced.aws.answers import NamePage, Subscription
from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError, Cause
from presenced.aws.operations import Request
from presenced.commands.doctor import aws_findings
from presenced.commands.doctor.report import Finding, Status
from presenced.commands.output import counted
from presenced.settings import MqttSettings

T = TypeVar("T")

_ATTEMPTS = 2
# What to ask about if there is none: that AWS knows nothing by this name is an answer.
_ANY_NAME = "presenced-doctor"
_INDEX, _CONTROL, _DATA = "index", "iot", "iotdata"
_EVERYTHING = frozenset({_INDEX, _CONTROL, _DATA})

# What else fails for the same reason, and is skipped.
_NO_CREDENTIALS = (Cause.CREDENTIALS, Cause.CLOCK)
_NO_INDEX = (Cause.INDEX_OFF, Cause.INDEX_BUILDING)
_NO_SERVER = (
    Cause.NAME_RESOLUTION,
    Cause.UNREACHABLE,
    Cause.TLS,
    Cause.TIMEOUT,
    Cause.UNREADABLE,
)


class _Step(NamedTuple):
    """A step, and what it needs: the index, and the service of its requests."""

    name: str
    check: Callable[[], Awaitable[Finding]]
    needs: frozenset[str]


class AwsProbe:
    """The requests that the daemon makes, in the order of the steps.

    `mqtt` are the daemon's own settings, not those of the doctor's connections, and None if events
    come from another source: no subscription is looked for then. The groups are asked for only if
    `seed_registry` is set.
    """

    def __init__(
        self, client: AwsClient, mqtt: MqttSettings | None, *, seed_registry: bool
    ) -> None:
        self._client = client
        self._mqtt = mqtt
        self._seed_registry = seed_registry
        self._thing = self._group = _ANY_NAME

    async def findings(self) -> AsyncIterator[tuple[str, Finding]]:
        """Make the requests, and yield each step with its finding.

        A fault that every later request would meet skips the steps that it concerns.
        """
        failed: frozenset[str] = frozenset()
        for name, check, needs in self._steps():
            if needs & failed:
                yield name, Finding(Status.SKIPPED)
                continue
            try:
                finding = await check()
            except AwsError as error:
                finding = Finding.of_aws(error)
                failed |= _concerned(error, needs)
            yield name, finding

    def _steps(self) -> Iterator[_Step]:
        control, index = frozenset({_CONTROL}), frozenset({_CONTROL, _INDEX})
        data = frozenset({_DATA})
        yield _Step("credentials", self._credentials, _EVERYTHING)
        yield _Step("indexing mode", self._indexing_mode, control)
        yield _Step("index status", self._index_status, index)
        yield _Step("SearchIndex", self._search, index)
        yield _Step("GetThingConnectivityData", self._thing_connectivity, index)
        yield _Step("GetConnection", self._connection, data)
        if self._seed_registry:
            yield _Step("ListThingGroups", self._thing_groups, control)
            yield _Step("DescribeThingGroup", self._thing_group, control)
            yield _Step("ListBillingGroups", self._billing_groups, control)
        yield _Step("event types", self._event_types, control)
        mqtt = self._mqtt
        if mqtt is None:
            return
        for client_id, filters in zip(mqtt.client_ids, mqtt.connections, strict=True):
            check = partial(self._subscriptions, mqtt, client_id, filters)
            yield _Step(f"subscriptions of {client_id}", check, data)

    async def _credentials(self) -> Finding:
        found = await self._client.credentials.get()
        return aws_findings.credentials_found(found.source, self._client.credentials.valid_for)

    async def _indexing_mode(self) -> Finding:
        return aws_findings.indexing_mode(await self._ask(operations.get_indexing_configuration()))

    async def _index_status(self) -> Finding:
        return aws_findings.index_status(await self._ask(operations.describe_index()))

    async def _search(self) -> Finding:
        page = await self._ask(operations.search_index())
        if page.things:
            self._thing = page.things[0].name
        return aws_findings.first_page(page)

    async def _thing_connectivity(self) -> Finding:
        name = self._thing
        seen = await self._find(operations.get_thing_connectivity_data(name))
        return _unknown(name) if seen is None else aws_findings.connectivity(name, seen)

    async def _connection(self) -> Finding:
        client_id = self._mqtt.client_id if self._mqtt else _ANY_NAME
        seen = await self._find(operations.get_connection(client_id))
        return _unknown(client_id) if seen is None else aws_findings.connectivity(client_id, seen)

    async def _thing_groups(self) -> Finding:
        page = await self._ask(operations.list_thing_groups())
        if page.names:
            self._group = page.names[0]
        return _names_found(page, "thing group")

    async def _thing_group(self) -> Finding:
        group = await self._find(operations.describe_thing_group(self._group))
        return _unknown(self._group) if group is None else Finding(Status.OK, group.name)

    async def _billing_groups(self) -> Finding:
        return _names_found(await self._ask(operations.list_billing_groups()), "billing group")

    async def _event_types(self) -> Finding:
        enabled = await self._ask(operations.describe_event_configurations())
        connections = self._mqtt.connections if self._mqtt else ()
        filters = [each for connection in connections for each in connection]
        return aws_findings.event_types(enabled, filters)

    async def _subscriptions(
        self, mqtt: MqttSettings, client_id: str, filters: tuple[str, ...]
    ) -> Finding:
        held: list[Subscription] = []
        token: str | None = None
        while True:
            page = await self._find(operations.list_subscriptions(client_id, token))
            if page is None:
                return aws_findings.no_session(client_id)
            held += page.subscriptions
            token = page.next_token
            if token is None:
                break
        return aws_findings.subscriptions(held, filters, qos=mqtt.qos, endpoint=mqtt.certified_name)

    async def _ask(self, request: Request[T]) -> T:
        return (await self._client.send(request, attempts=_ATTEMPTS)).value

    async def _find(self, request: Request[T]) -> T | None:
        """Return None if AWS knows nothing by the name: the permission for the request is there."""
        try:
            return await self._ask(request)
        except AwsError as error:
            if error.cause is not Cause.NOT_FOUND:
                raise
            return None


def _concerned(error: AwsError, needs: frozenset[str]) -> frozenset[str]:
    """Return what fails with every later request too, of what a failed step needs."""
    if error.cause in _NO_CREDENTIALS or needs == _EVERYTHING:
        return _EVERYTHING
    if error.cause in _NO_INDEX:
        return frozenset({_INDEX})
    return needs - {_INDEX} if error.cause in _NO_SERVER else frozenset()


def _unknown(name: str) -> Finding:
    return Finding(Status.OK, f"allowed; AWS knows nothing of {name}")


def _names_found(page: NamePage, noun: str) -> Finding:
    more = ", and more follow" if page.next_token else ""
    return Finding(Status.OK, f"{counted(len(page.names), noun)} on the first page{more}")
