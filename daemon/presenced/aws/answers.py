"""What AWS answers, as typed values. Times are in milliseconds since the epoch.

Shapes are those of the AWS IoT API reference. Unknown fields are ignored, missing ones are None or
empty, and numbers may be strings. The functions raise msgspec.MsgspecError if an answer has
another shape.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import msgspec

from presenced.events.payloads import MAX_TIMESTAMP

T = TypeVar("T")
Number = int | float

# Smaller numbers are seconds (up to the year 5138), greater ones milliseconds (from 1973 on). The
# API reference gives the unit of SearchIndex only.
_LEAST_MILLISECONDS = 10**11
_NO_REASON = ("NONE", "UNKNOWN")


class Connectivity(msgspec.Struct, frozen=True):
    """Whether AWS calls a client connected, and since when.

    `timestamp` is None for a client that never connected, and if AWS no longer knows when it did.
    `reason` is that of the disconnect; None for a connected client, and if AWS does not know it.
    """

    connected: bool
    timestamp: int | None = None
    reason: str | None = None


class ThingRow(msgspec.Struct, frozen=True):
    """A thing in an answer of SearchIndex.

    `groups` has billing groups among the thing groups. `connectivity` is None if it is not indexed.
    """

    name: str
    thing_id: str | None
    thing_type: str | None
    groups: tuple[str, ...]
    attributes: Mapping[str, str]
    connectivity: Connectivity | None

    def without_groups(self, names: Collection[str]) -> "ThingRow":
        """Return it without groups of these names."""
        kept = tuple(each for each in self.groups if each not in names)
        return self if kept == self.groups else msgspec.structs.replace(self, groups=kept)


class ThingPage(msgspec.Struct, frozen=True):
    """A page of SearchIndex: it may be short or empty, and is the last one without `next_token`."""

    things: tuple[ThingRow, ...]
    next_token: str | None


class NamePage(msgspec.Struct, frozen=True):
    """A page of the names of groups; without `next_token` the last one."""

    names: tuple[str, ...]
    next_token: str | None


class ThingGroup(msgspec.Struct, frozen=True):
    """A thing group; `parent` is None at the top of the hierarchy."""

    name: str
    group_id: str | None
    version: int | None
    parent: str | None


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription that AWS holds for a client."""

    topic_filter: str
    qos: int


class SubscriptionPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of ListSubscriptions; without `next_token` the last one."""

    subscriptions: tuple[Subscription, ...] = ()
    next_token: str | None = None


class IndexDescription(msgspec.Struct, frozen=True, rename="camel"):
    """An index: ACTIVE; BUILDING, which answers no query; or REBUILDING, which has old data."""

    index_status: str | None = None


class IndexingConfiguration(msgspec.Struct, frozen=True):
    """What the index of things holds: connectivity if `connectivity_mode` is STATUS."""

    thing_mode: str | None
    connectivity_mode: str | None


class _Wire(msgspec.Struct, rename="camel"):
    """An answer as AWS sends it."""


class _RowConnectivity(_Wire):
    connected: bool | None = None
    timestamp: Number | None = None
    disconnect_reason: str | None = None


class _Row(_Wire):
    thing_name: str
    thing_id: str | None = None
    thing_type_name: str | None = None
    thing_group_names: tuple[str, ...] | None = None
    attributes: dict[str, str] | None = None
    connectivity: _RowConnectivity | None = None


class _Rows(_Wire):
    things: list[_Row] | None = None
    next_token: str | None = None


class _ThingConnectivity(_Wire):
    connected: bool
    timestamp: Number | None = None
    disconnect_reason: str | None = None


class _Connection(_Wire):
    connected: bool
    connected_since: Number | None = None
    disconnected_since: Number | None = None
    disconnect_reason: str | None = None


class _GroupName(_Wire):
    group_name: str


class _GroupNames(_Wire):
    thing_groups: list[_GroupName] = []
    billing_groups: list[_GroupName] = []
    next_token: str | None = None


class _GroupMetadata(_Wire):
    parent_group_name: str | None = None


class _Group(_Wire):
    thing_group_name: str
    thing_group_id: str | None = None
    version: int | None = None
    thing_group_metadata: _GroupMetadata | None = None


class _ThingIndexing(_Wire):
    thing_indexing_mode: str | None = None
    thing_connectivity_indexing_mode: str | None = None


class _Indexing(_Wire):
    thing_indexing_configuration: _ThingIndexing | None = None


class _EventType(msgspec.Struct, rename="pascal"):
    enabled: bool = False


class _EventTypes(_Wire):
    event_configurations: dict[str, _EventType] = {}


def _decoder(shape: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(shape, strict=False).decode


_rows = _decoder(_Rows)
_thing_connectivity = _decoder(_ThingConnectivity)
_connection = _decoder(_Connection)
_group_names = _decoder(_GroupNames)
_group = _decoder(_Group)
_indexing = _decoder(_Indexing)
_event_types = _decoder(_EventTypes)

index_description = _decoder(IndexDescription)
"""Read an answer of DescribeIndex."""

subscription_page = _decoder(SubscriptionPage)
"""Read an answer of ListSubscriptions."""


def thing_page(body: bytes) -> ThingPage:
    """Read an answer of SearchIndex."""
    answer = _rows(body)
    return ThingPage(tuple(map(_thing_row, answer.things or ())), answer.next_token or None)


def _thing_row(row: _Row) -> ThingRow:
    seen, connectivity = row.connectivity, None
    if seen is not None and seen.connected is not None:
        connectivity = _connectivity(seen.connected, seen.timestamp, seen.disconnect_reason)
    return ThingRow(
        name=row.thing_name,
        thing_id=row.thing_id,
        thing_type=row.thing_type_name,
        groups=row.thing_group_names or (),
        attributes=row.attributes or {},
        connectivity=connectivity,
    )


def thing_connectivity(body: bytes) -> Connectivity:
    """Read an answer of GetThingConnectivityData."""
    answer = _thing_connectivity(body)
    return _connectivity(answer.connected, answer.timestamp, answer.disconnect_reason)


def connection(body: bytes) -> Connectivity:
    """Read an answer of GetConnection."""
    answer = _connection(body)
    since = answer.connected_since if answer.connected else answer.disconnected_since
    return _connectivity(answer.connected, since, answer.disconnect_reason)


def _connectivity(connected: bool, timestamp: Number | None, reason: str | None) -> Connectivity:  # noqa: FBT001
    # The reason of a connected client is that of its last disconnect.
    known = not connected and reason not in _NO_REASON
    return Connectivity(connected, _milliseconds(timestamp), reason if known else None)


def _milliseconds(time: Number | None) -> int | None:
    if not time or not 0 < time <= MAX_TIMESTAMP:  # nor NaN
        return None
    return round(time if time >= _LEAST_MILLISECONDS else time * 1000)


def name_page(body: bytes) -> NamePage:
    """Read an answer of ListThingGroups or of ListBillingGroups."""
    answer = _group_names(body)
    groups = answer.thing_groups or answer.billing_groups
    return NamePage(tuple(group.group_name for group in groups), answer.next_token or None)


def thing_group(body: bytes) -> ThingGroup:
    """Read an answer of DescribeThingGroup."""
    group = _group(body)
    metadata = group.thing_group_metadata
    return ThingGroup(
        name=group.thing_group_name,
        group_id=group.thing_group_id,
        version=group.version,
        parent=metadata.parent_group_name if metadata else None,
    )


def indexing_configuration(body: bytes) -> IndexingConfiguration:
    """Read an answer of GetIndexingConfiguration."""
    things = _indexing(body).thing_indexing_configuration or _ThingIndexing()
    return IndexingConfiguration(
        things.thing_indexing_mode, things.thing_connectivity_indexing_mode
    )


def event_types(body: bytes) -> Mapping[str, bool]:
    """Read an answer of DescribeEventConfigurations: whether each type of events is enabled."""
    types = _event_types(body).event_configurations
    return {name: each.enabled for name, each in types.items()}
