"""The operations of AWS IoT that presenced uses, and their requests; those of SQS are in `queue`.

Methods, paths and limits are those of the AWS IoT API reference, permissions and their resources
those of the Service Authorization Reference. Operations of the service `iotdata` are those of the
account's own data endpoint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

from presenced.aws import answers

T_co = TypeVar("T_co", covariant=True)

INDEX = "AWS_Things"
"""The index of the things of an account."""

EVERY_THING = "thingName:*"
"""The query that finds all things."""

_SEARCH_PAGE, _LIST_PAGE, _SUBSCRIPTION_PAGE = 100, 250, 200


class Budget(Enum):
    """What limits how often an operation may be requested."""

    NONE = auto()
    """The operation is rare."""
    SEARCHES = auto()
    LOOKUPS = auto()
    CONNECTIONS = auto()
    """Lookups of which AWS allows fewer, and one a second for each client."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, by the name that AWS and its permission have.

    `service` is what its requests are signed for. `resource` is the last part of the ARN that the
    permission is about, or `*`. `action` is the name of the permission, if it is another one.
    """

    name: str
    service: Literal["iot", "iotdata", "sqs"]
    method: Literal["GET", "POST"]
    resource: str
    budget: Budget = Budget.NONE
    action: str = ""

    @property
    def permission(self) -> str:
        """The action that a policy has to allow."""
        prefix = "sqs" if self.service == "sqs" else "iot"
        return f"{prefix}:{self.action or self.name}"

    @property
    def needs_index(self) -> bool:
        """Whether it asks the index itself, so that 404 means that there is none."""
        return self.resource.startswith("index/")


_INDEX_RESOURCE = f"index/{INDEX}"
SEARCH_INDEX = Operation("SearchIndex", "iot", "POST", _INDEX_RESOURCE, Budget.SEARCHES)
DESCRIBE_INDEX = Operation("DescribeIndex", "iot", "GET", _INDEX_RESOURCE)
GET_INDEXING_CONFIGURATION = Operation("GetIndexingConfiguration", "iot", "GET", "*")
GET_THING_CONNECTIVITY_DATA = Operation(
    "GetThingConnectivityData", "iot", "POST", "thing/*", Budget.LOOKUPS
)
GET_CONNECTION = Operation("GetConnection", "iotdata", "GET", "client/*", Budget.CONNECTIONS)
LIST_SUBSCRIPTIONS = Operation("ListSubscriptions", "iotdata", "GET", "client/*")
DESCRIBE_EVENT_CONFIGURATIONS = Operation("DescribeEventConfigurations", "iot", "GET", "*")
LIST_THING_GROUPS = Operation("ListThingGroups", "iot", "GET", "*", Budget.SEARCHES)
DESCRIBE_THING_GROUP = Operation(
    "DescribeThingGroup", "iot", "GET", "thinggroup/*", Budget.SEARCHES
)
LIST_BILLING_GROUPS = Operation("ListBillingGroups", "iot", "GET", "*", Budget.SEARCHES)

OPERATIONS = (
    SEARCH_INDEX,
    DESCRIBE_INDEX,
    GET_INDEXING_CONFIGURATION,
    GET_THING_CONNECTIVITY_DATA,
    GET_CONNECTION,
    LIST_SUBSCRIPTIONS,
    DESCRIBE_EVENT_CONFIGURATIONS,
    LIST_THING_GROUPS,
    DESCRIBE_THING_GROUP,
    LIST_BILLING_GROUPS,
)


@dataclass(frozen=True, slots=True)
class Request(Generic[T_co]):
    """A request before it is signed; `read` makes a value of the answer's body.

    `path` is percent-encoded, `query` is not. `client_id` is the client that it is about, if its
    budget counts clients. `base_url` is where it goes, if not to an endpoint of AWS IoT.
    """

    operation: Operation
    path: str
    read: Callable[[bytes], T_co]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    client_id: str | None = None
    base_url: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that say what the body is; the operation of SQS is named by one."""
        if self.body is None:
            return {}
        if self.operation.service == "sqs":
            return {
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{self.operation.name}",
            }
        return {"Content-Type": "application/json"}

    @property
    def target(self) -> str:
        """Path and query, percent-encoded."""
        query = "&".join(f"{name}={_encoded(value)}" for name, value in self.query.items())
        return f"{self.path}?{query}" if query else self.path


def search_index(
    next_token: str | None = None, query: str = EVERY_THING
) -> Request[answers.ThingPage]:
    """Return the request for a page of the things that a query finds."""
    content: dict[str, str | int] = {
        "indexName": INDEX,
        "queryString": query,
        "maxResults": _SEARCH_PAGE,
    }
    if next_token is not None:
        content["nextToken"] = next_token
    body = msgspec.json.encode(content)
    return Request(SEARCH_INDEX, "/indices/search", answers.thing_page, body=body)


def describe_index() -> Request[answers.IndexDescription]:
    """Return the request for the status of the index of things."""
    return Request(DESCRIBE_INDEX, f"/indices/{INDEX}", answers.index_description)


def get_indexing_configuration() -> Request[answers.IndexingConfiguration]:
    """Return the request for what is indexed."""
    return Request(GET_INDEXING_CONFIGURATION, "/indexing/config", answers.indexing_configuration)


def get_thing_connectivity_data(thing_name: str) -> Request[answers.Connectivity]:
    """Return the request for the connectivity of the client that has a thing's name."""
    path = f"/things/{_encoded(thing_name)}/connectivity-data"
    return Request(GET_THING_CONNECTIVITY_DATA, path, answers.thing_connectivity, body=b"{}")


def get_connection(client_id: str) -> Request[answers.Connectivity]:
    """Return the request for the connectivity of any client. AWS forgets it after 30 minutes."""
    path = f"/connections/{_encoded(client_id)}"
    return Request(GET_CONNECTION, path, answers.connection, client_id=client_id)


def list_subscriptions(
    client_id: str, next_token: str | None = None
) -> Request[answers.SubscriptionPage]:
    """Return the request for a page of the subscriptions that AWS holds for a client."""
    path = f"/connections/{_encoded(client_id)}/subscriptions"
    query = _page(_SUBSCRIPTION_PAGE, next_token)
    return Request(LIST_SUBSCRIPTIONS, path, answers.subscription_page, query)


def describe_event_configurations() -> Request[Mapping[str, bool]]:
    """Return the request for which types of events are enabled."""
    path = "/event-configurations"
    return Request(DESCRIBE_EVENT_CONFIGURATIONS, path, answers.event_types)


def list_thing_groups(next_token: str | None = None) -> Request[answers.NamePage]:
    """Return the request for a page of the names of all thing groups."""
    query = {**_page(_LIST_PAGE, next_token), "recursive": "true"}
    return Request(LIST_THING_GROUPS, "/thing-groups", answers.name_page, query)


def describe_thing_group(name: str) -> Request[answers.ThingGroup]:
    """Return the request for a thing group and its parent."""
    path = f"/thing-groups/{_encoded(name)}"
    return Request(DESCRIBE_THING_GROUP, path, answers.thing_group)


def list_billing_groups(next_token: str | None = None) -> Request[answers.NamePage]:
    """Return the request for a page of the names of billing groups."""
    query = _page(_LIST_PAGE, next_token)
    return Request(LIST_BILLING_GROUPS, "/billing-groups", answers.name_page, query)


def _page(size: int, next_token: str | None) -> dict[str, str]:
    query = {"maxResults": str(size)}
    return query if next_token is None else {"nextToken": next_token, **query}


def _encoded(text: str) -> str:
    """Return a text as one segment of a path, or as a value of a query (RFC 3986 section 2.3)."""
    if text in (".", ".."):  # else it would be removed when the path is normalized
        return text.replace(".", "%2E")
    # A client ID from JSON may have an unpaired surrogate, which has no UTF-8.
    return quote(text, safe="", errors="replace")
