"""The operations of AWS IoT Core that presenced calls, on an emulated account.

Pure: the time is an argument, in seconds since the epoch.
"""

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from presenced_emulator.aws import answers
from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.answers import Body
from presenced_emulator.aws.errors import AwsError
from presenced_emulator.aws.faults import Faults
from presenced_emulator.aws.index import IndexStatus
from presenced_emulator.aws.paging import Pager

INDEX = "AWS_Things"
SEARCH_PAGE = 100
SEARCH_PAGE_LIMIT = 500
LIST_PAGE = 25
LIST_PAGE_LIMIT = 250
SUBSCRIPTION_PAGE = 20
SUBSCRIPTION_PAGE_LIMIT = 200

Parameters = Mapping[str, Any]
"""The parameters of a request by their names in AWS's API, wherever they were in it."""

_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


class Operation(NamedTuple):
    """An operation's request line and signing name; `{...}` in the path are parameters."""

    method: str
    path: str
    service: str = "iot"


OPERATIONS = {
    "DescribeEventConfigurations": Operation("GET", "/event-configurations"),
    "DescribeIndex": Operation("GET", "/indices/{indexName}"),
    "DescribeThingGroup": Operation("GET", "/thing-groups/{thingGroupName}"),
    "GetConnection": Operation("GET", "/connections/{clientId}", "iotdata"),
    "GetIndexingConfiguration": Operation("GET", "/indexing/config"),
    "GetThingConnectivityData": Operation("POST", "/things/{thingName}/connectivity-data"),
    "ListBillingGroups": Operation("GET", "/billing-groups"),
    "ListSubscriptions": Operation("GET", "/connections/{clientId}/subscriptions", "iotdata"),
    "ListThingGroups": Operation("GET", "/thing-groups"),
    "ListThings": Operation("GET", "/things"),
    "SearchIndex": Operation("POST", "/indices/search"),
}


class Operations:
    """Answers requests about an account. Each operation raises AwsError."""

    def __init__(self, account: EmulatedAccount, faults: Faults, rng: random.Random) -> None:
        self._account = account
        self._faults = faults
        self._pager = Pager(rng)
        self._methods: dict[str, Callable[[Parameters, float], Body]] = {
            "DescribeEventConfigurations": self._describe_event_configurations,
            "DescribeIndex": self._describe_index,
            "DescribeThingGroup": self._describe_thing_group,
            "GetConnection": self._get_connection,
            "GetIndexingConfiguration": self._get_indexing_configuration,
            "GetThingConnectivityData": self._get_thing_connectivity_data,
            "ListBillingGroups": self._list_billing_groups,
            "ListSubscriptions": self._list_subscriptions,
            "ListThingGroups": self._list_thing_groups,
            "ListThings": self._list_things,
            "SearchIndex": self._search_index,
        }

    def answer(self, operation: str, parameters: Parameters, now: float) -> Body:
        """Return the body of the answer. Raises AwsError."""
        return self._methods[operation](parameters, now)

    def _search_index(self, parameters: Parameters, now: float) -> Body:
        names = _name_pattern(parameters.get("queryString"))
        limit = min(_limit(parameters, SEARCH_PAGE, SEARCH_PAGE_LIMIT), SEARCH_PAGE)
        self._check_index(parameters.get("indexName", INDEX))
        account = self._account
        if account.index.status is IndexStatus.BUILDING:
            raise AwsError("IndexNotReadyException", f"Index {INDEX} is not ready")
        listing = f"SearchIndex {parameters['queryString']}"
        short = self._faults.short_pages
        page = self._pager.begin(listing, parameters.get("nextToken"), limit, short)
        found, more = account.index.search(names, page.after, page.limit, now)
        token = self._pager.token(page, found[-1].thing_id if found else None) if more else None
        connectivity = account.indexing.connectivity
        rows = [answers.index_row(each, connectivity=connectivity) for each in found]
        return {"nextToken": token, "things": rows}

    def _describe_index(self, parameters: Parameters, _: float) -> Body:
        self._check_index(parameters["indexName"])
        indexed = "REGISTRY"
        if self._account.indexing.connectivity:
            indexed += "_AND_CONNECTIVITY_STATUS"
        status = self._account.index.status.value
        return {"indexName": INDEX, "indexStatus": status, "schema": indexed}

    def _get_indexing_configuration(self, _: Parameters, __: float) -> Body:
        indexing = self._account.indexing
        return answers.indexing_configuration(
            things=indexing.things, connectivity=indexing.connectivity
        )

    def _get_thing_connectivity_data(self, parameters: Parameters, _: float) -> Body:
        name, account = parameters["thingName"], self._account
        if _THING_NAME.fullmatch(name) is None:
            raise AwsError("InvalidRequestException", f"Invalid thing name: {name}")
        # AWS documents no other error for connectivity that is not indexed.
        indexed = account.indexing.things and account.indexing.connectivity
        if not indexed or account.index.status is IndexStatus.BUILDING:
            raise AwsError("IndexNotReadyException", "Connectivity is not indexed")
        if name not in account.registry.things:
            raise AwsError("ResourceNotFoundException", f"Thing {name} not found")
        return answers.thing_connectivity(name, account.connectivity(name))

    def _get_connection(self, parameters: Parameters, now: float) -> Body:
        record = self._account.connection(_client_id(parameters), now)
        if record is None:
            raise AwsError("ResourceNotFoundException", "Client not found")
        return answers.connection(record)

    def _list_subscriptions(self, parameters: Parameters, _: float) -> Body:
        client_id, connections = _client_id(parameters), self._account.connections
        record = connections.get(client_id)
        if record is None or (not record.connected and record.clean_session):
            raise AwsError("ResourceNotFoundException", "Client not found")
        limit = _limit(parameters, SUBSCRIPTION_PAGE, SUBSCRIPTION_PAGE_LIMIT)
        entries = {
            topic_filter: {"topicFilter": topic_filter, "qos": qos}
            for topic_filter, qos in connections.subscriptions(client_id).items()
        }
        listing = f"ListSubscriptions {client_id}"
        return self._page(listing, limit, "subscriptions", entries, parameters)

    def _describe_event_configurations(self, _: Parameters, __: float) -> Body:
        return answers.event_configurations(self._account.events)

    def _describe_thing_group(self, parameters: Parameters, _: float) -> Body:
        name, registry = parameters["thingGroupName"], self._account.registry
        if name not in registry.groups:
            raise AwsError("ResourceNotFoundException", f"Thing group {name} not found")
        return answers.thing_group(registry.groups[name], registry)

    def _list_things(self, parameters: Parameters, _: float) -> Body:
        thing_type = parameters.get("thingTypeName")
        entries = {
            thing.name: answers.thing_entry(thing)
            for thing in self._account.registry.things.values()
            if thing_type in (None, thing.thing_type)
        }
        return self._list(f"ListThings {thing_type}", "things", entries, parameters)

    def _list_thing_groups(self, parameters: Parameters, _: float) -> Body:
        parent, registry = parameters.get("parentGroup", ""), self._account.registry
        if parent and parent not in registry.groups:
            raise AwsError("ResourceNotFoundException", f"Thing group {parent} not found")
        recursive = parameters.get("recursive", "true") == "true"
        prefix = parameters.get("namePrefixFilter", "")
        entries = {
            name: answers.group_entry(name)
            for name, group in registry.groups.items()
            if name.startswith(prefix)
            and (
                parent in ("", *(each.name for each in registry.ancestors(group)))
                if recursive
                else parent == group.parent
            )
        }
        listing = f"ListThingGroups {parent} {recursive} {prefix}"
        return self._list(listing, "thingGroups", entries, parameters)

    def _list_billing_groups(self, parameters: Parameters, _: float) -> Body:
        prefix = parameters.get("namePrefixFilter", "")
        entries = {
            name: answers.group_entry(name, "billinggroup")
            for name in self._account.registry.billing_groups
            if name.startswith(prefix)
        }
        return self._list(f"ListBillingGroups {prefix}", "billingGroups", entries, parameters)

    def _list(
        self, listing: str, key: str, entries: Mapping[str, Body], parameters: Parameters
    ) -> Body:
        limit = _limit(parameters, LIST_PAGE, LIST_PAGE_LIMIT)
        return self._page(listing, limit, key, entries, parameters)

    def _page(
        self,
        listing: str,
        limit: int,
        key: str,
        entries: Mapping[str, Body],
        parameters: Parameters,
    ) -> Body:
        """Return one page of a listing; the last one has no token."""
        short = self._faults.short_pages
        page = self._pager.begin(listing, parameters.get("nextToken"), limit, short)
        shown, token = self._pager.cut(page, sorted(entries.items()))
        return {key: shown} if token is None else {key: shown, "nextToken": token}

    def _check_index(self, name: str) -> None:
        if name != INDEX or not self._account.indexing.things:
            raise AwsError("ResourceNotFoundException", f"Index {name} not found")


def _limit(parameters: Parameters, default: int, largest: int) -> int:
    """Return `maxResults`. Raises AwsError."""
    given = parameters.get("maxResults", default)
    try:
        limit = int(given)
    except (TypeError, ValueError):
        limit = 0
    if not 1 <= limit <= largest:
        raise AwsError("InvalidRequestException", f"maxResults must be from 1 to {largest}")
    return limit


def _client_id(parameters: Parameters) -> str:
    client_id = str(parameters["clientId"])
    if client_id.startswith("$") or len(client_id) > 128:
        raise AwsError("InvalidRequestException", "Invalid client ID")
    return client_id


def _name_pattern(query: object) -> re.Pattern[str] | None:
    """Return the pattern of a query by name, None for `thingName:*`. Raises AwsError.

    Of AWS's query language this is the part that presenced uses.
    """
    if not isinstance(query, str) or not query:
        raise AwsError("InvalidRequestException", "queryString is required")
    found = re.fullmatch(r"thingName:([a-zA-Z0-9:_*-]+)", query)
    if found is None:
        raise AwsError("InvalidQueryException", f"The emulator cannot answer the query {query}")
    if found[1] == "*":
        return None
    return re.compile(re.escape(found[1]).replace(r"\*", ".*"))
