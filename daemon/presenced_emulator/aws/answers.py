"""The JSON bodies of AWS's answers. Pure."""

from collections.abc import Mapping
from typing import Any

from presenced_emulator.aws.index import ThingDocument
from presenced_emulator.connections import ConnectionRecord
from presenced_emulator.registry import ARN, Registry, Thing, ThingGroup

Body = dict[str, Any]


def index_row(document: ThingDocument, *, connectivity: bool) -> Body:
    """Return an entry of `things` in SearchIndex.

    A thing without type or attributes has no such key. `connectivity` is whether it is indexed.
    """
    row: Body = {"thingName": document.name, "thingId": document.thing_id}
    if document.thing_type:
        row["thingTypeName"] = document.thing_type
    row["thingGroupNames"] = list(document.groups)
    if document.attributes:
        row["attributes"] = dict(document.attributes)
    if connectivity:
        row["connectivity"] = _indexed_connectivity(document.connection)
    return row


def _indexed_connectivity(record: ConnectionRecord | None) -> Body:
    """Return `connectivity` of a row: its timestamp is in milliseconds."""
    if record is None:
        return {"connected": False}
    shown: Body = {"connected": record.connected, "timestamp": _milliseconds(record.since)}
    if record.reason is not None:
        shown["disconnectReason"] = record.reason.value
    return shown | {"clientId": record.connection.client_id} | _session(record)


def thing_connectivity(thing_name: str, record: ConnectionRecord | None) -> Body:
    """Return the answer of GetThingConnectivityData: its timestamp is in seconds."""
    if record is None:
        return {"thingName": thing_name, "connected": False, "disconnectReason": "UNKNOWN"}
    return {
        "thingName": thing_name,
        "connected": record.connected,
        "timestamp": round(record.since, 3),
        "disconnectReason": record.reason.value if record.reason else "NONE",
        "clientId": record.connection.client_id,
        **_session(record),
    }


def connection(record: ConnectionRecord) -> Body:
    """Return the answer of GetConnection."""
    shown: Body = {"clientId": record.connection.client_id, "connected": record.connected}
    if record.connection.thing_name:
        shown["thingName"] = record.connection.thing_name
    if record.reason is None:
        shown["connectedSince"] = _milliseconds(record.since)
    else:
        shown["disconnectedSince"] = _milliseconds(record.since)
        shown["disconnectReason"] = record.reason.value
    return shown | _session(record)


def _session(record: ConnectionRecord) -> Body:
    return {
        "keepAliveDuration": record.keep_alive,
        "cleanSession": record.clean_session,
        "sessionExpiry": 0 if record.clean_session else 3600,
    }


def _milliseconds(at: float) -> int:
    return round(at * 1000)


def thing_entry(thing: Thing) -> Body:
    """Return an entry of ListThings."""
    entry: Body = {
        "thingName": thing.name,
        "thingArn": f"{ARN}:thing/{thing.name}",
        "attributes": dict(thing.attributes),
        "version": thing.version,
    }
    return entry | ({"thingTypeName": thing.thing_type} if thing.thing_type else {})


def group_entry(name: str, kind: str = "thinggroup") -> Body:
    """Return an entry of ListThingGroups or ListBillingGroups: the name and the ARN."""
    return {"groupName": name, "groupArn": f"{ARN}:{kind}/{name}"}


def thing_group(group: ThingGroup, registry: Registry) -> Body:
    """Return the answer of DescribeThingGroup."""
    metadata: Body = {"creationDate": group.created_at / 1000}
    if group.parent:
        metadata["parentGroupName"] = group.parent
        metadata["rootToParentThingGroups"] = [
            group_entry(each.name) for each in registry.ancestors(group)
        ]
    return {
        "thingGroupName": group.name,
        "thingGroupId": group.group_id,
        "thingGroupArn": f"{ARN}:thinggroup/{group.name}",
        "version": group.version,
        "thingGroupProperties": {"attributePayload": {"attributes": dict(group.attributes)}},
        "thingGroupMetadata": metadata,
    }


def event_configurations(enabled: Mapping[str, bool]) -> Body:
    """Return the answer of DescribeEventConfigurations."""
    return {
        "eventConfigurations": {family: {"Enabled": on} for family, on in enabled.items()},
        "creationDate": 1700000000.0,
        "lastModifiedDate": 1760000000.0,
    }


def indexing_configuration(*, things: bool, connectivity: bool) -> Body:
    """Return the answer of GetIndexingConfiguration."""
    return {
        "thingIndexingConfiguration": {
            "thingIndexingMode": "REGISTRY" if things else "OFF",
            "thingConnectivityIndexingMode": "STATUS" if things and connectivity else "OFF",
            "deviceDefenderIndexingMode": "OFF",
            "namedShadowIndexingMode": "OFF",
        },
        "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "OFF"},
    }
