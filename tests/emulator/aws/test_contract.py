"""Every operation by boto3, whose requests and answers follow AWS's own models."""

from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest

from emulator_aws import NOW, Client, Fleet, search_all
from presenced_emulator.aws.operations import OPERATIONS
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.registry import ARN

SERVICES = {"iot": "iot", "iotdata": "iot-data"}
"""The names of the services in botocore, by their signing names."""


def answer(response: dict[str, Any]) -> dict[str, Any]:
    """An answer without what botocore adds."""
    return {key: value for key, value in response.items() if key != "ResponseMetadata"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_request_line_is_that_of_the_model(name: str) -> None:
    operation = OPERATIONS[name]
    service = botocore.session.get_session().get_service_model(SERVICES[operation.service])
    model = service.operation_model(name)
    assert service.signing_name == operation.service
    assert (model.http["method"], model.http["requestUri"]) == (operation.method, operation.path)


def test_rows_of_the_index(client: Client, fleet: Fleet) -> None:
    registry = fleet.account.registry
    registry.create_group("hall-1", NOW, attributes={})
    fleet.create(
        "pump-1", thing_type="pump", attributes={"site": "north"}, billing_group="billing-north"
    )
    registry.regroup("pump-1", NOW, into="hall-1")
    fleet.connect("pump-1", keep_alive=30)
    fleet.create("pump-2")
    fleet.connect("pump-2", keep_alive=60, clean_session=False)
    fleet.now += 1.5
    fleet.disconnect("pump-2", "MQTT_KEEP_ALIVE_TIMEOUT")
    fleet.create("new-1")

    found = client("iot").search_index(queryString="thingName:*")

    assert "nextToken" not in found
    rows = {row["thingName"]: row for row in found["things"]}
    ids = {name: registry.things[name].thing_id for name in rows}
    assert rows == {
        "pump-1": {
            "thingName": "pump-1",
            "thingId": ids["pump-1"],
            "thingTypeName": "pump",
            "thingGroupNames": ["hall-1", "billing-north"],
            "attributes": {"site": "north"},
            "connectivity": {
                "connected": True,
                "timestamp": 1_764_200_000_123,
                "clientId": "pump-1",
                "keepAliveDuration": 30,
                "cleanSession": True,
                "sessionExpiry": 0,
            },
        },
        "pump-2": {
            "thingName": "pump-2",
            "thingId": ids["pump-2"],
            "thingGroupNames": [],
            "connectivity": {
                "connected": False,
                "timestamp": 1_764_200_001_623,
                "disconnectReason": "MQTT_KEEP_ALIVE_TIMEOUT",
                "clientId": "pump-2",
                "keepAliveDuration": 60,
                "cleanSession": False,
                "sessionExpiry": 3600,
            },
        },
        "new-1": {
            "thingName": "new-1",
            "thingId": ids["new-1"],
            "thingGroupNames": [],
            "connectivity": {"connected": False},
        },
    }


def test_a_client_with_another_name_than_its_thing_is_not_indexed(
    client: Client, fleet: Fleet
) -> None:
    fleet.create("plant-pump-1")
    fleet.connect("plant/pump-1", thing_name="plant-pump-1")
    (row,) = client("iot").search_index(queryString="thingName:*")["things"]
    assert row["connectivity"] == {"connected": False}


def test_search_by_name(client: Client, fleet: Fleet) -> None:
    for name in ("pump-1", "pump-2", "fan-1"):
        fleet.create(name)
    assert set(search_all(client("iot"), queryString="thingName:pump-*")) == {"pump-1", "pump-2"}
    assert set(search_all(client("iot"), queryString="thingName:fan-1")) == {"fan-1"}


@pytest.mark.parametrize("short_pages", [0.0, 0.5])
def test_search_reads_every_page(
    client: Client, fleet: Fleet, server: AwsServer, short_pages: float
) -> None:
    names = [f"thing-{number:03}" for number in range(250)]
    for name in names:
        fleet.create(name)
    server.faults.short_pages = short_pages
    server.faults.rates["SearchIndex"] = 1000
    assert sorted(search_all(client("iot"), queryString="thingName:*", maxResults=40)) == names
    pages = [request for request in server.requests if request.operation == "SearchIndex"]
    assert (len(pages) == 7) is (short_pages == 0)


def test_thing_connectivity(client: Client, fleet: Fleet) -> None:
    fleet.create("pump-1")
    fleet.create("new-1")
    fleet.connect("pump-1", keep_alive=30)
    session = {"keepAliveDuration": 30, "cleanSession": True, "sessionExpiry": 0}
    iot = client("iot")
    assert answer(iot.get_thing_connectivity_data(thingName="pump-1")) == {
        "thingName": "pump-1",
        "connected": True,
        "timestamp": datetime(2025, 11, 26, 23, 33, 20, 123000, UTC),
        "disconnectReason": "NONE",
        "clientId": "pump-1",
        **session,
    }
    fleet.now += 7200
    fleet.disconnect("pump-1", "CLIENT_INITIATED_DISCONNECT")
    assert answer(iot.get_thing_connectivity_data(thingName="pump-1")) == {
        "thingName": "pump-1",
        "connected": False,
        "timestamp": datetime(2025, 11, 27, 1, 33, 20, 123000, UTC),
        "disconnectReason": "CLIENT_INITIATED_DISCONNECT",
        "clientId": "pump-1",
        **session,
    }
    assert answer(iot.get_thing_connectivity_data(thingName="new-1")) == {
        "thingName": "new-1",
        "connected": False,
        "disconnectReason": "UNKNOWN",
    }
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_thing_connectivity_data(thingName="none")


def test_a_disconnect_long_before_indexing_is_as_none(client: Client, fleet: Fleet) -> None:
    for name in ("early", "late"):
        fleet.create(name)
        fleet.connect(name)
    fleet.disconnect("early")
    fleet.now += 3600
    fleet.disconnect("late")
    fleet.now += 1800
    fleet.account.indexing.since = fleet.now
    fleet.account.update(("early", "late"), fleet.now)
    iot = client("iot")
    rows = search_all(iot, queryString="thingName:*")
    assert rows["early"]["connectivity"] == {"connected": False}
    assert rows["late"]["connectivity"]["disconnectReason"] == "CONNECTION_LOST"
    assert "timestamp" not in iot.get_thing_connectivity_data(thingName="early")


@pytest.mark.parametrize("client_id", ["backend-7", "plant/pump 1", "a%2Fb", "größe/+?&=:", "a//b"])
def test_connection_of_any_client(client: Client, fleet: Fleet, client_id: str) -> None:
    data = client("iot-data")
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_connection(clientId=client_id)
    fleet.now += 1
    fleet.connect(client_id, keep_alive=30, thing_name="backend")
    session = {"keepAliveDuration": 30, "cleanSession": True, "sessionExpiry": 0}
    assert answer(data.get_connection(clientId=client_id)) == {
        "clientId": client_id,
        "thingName": "backend",
        "connected": True,
        "connectedSince": 1_764_200_001_123,
        **session,
    }
    fleet.now += 1
    fleet.disconnect(client_id)
    assert answer(data.get_connection(clientId=client_id)) == {
        "clientId": client_id,
        "thingName": "backend",
        "connected": False,
        "disconnectedSince": 1_764_200_002_123,
        "disconnectReason": "CONNECTION_LOST",
        **session,
    }
    fleet.now += 1800
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_connection(clientId=client_id)


def test_subscriptions(client: Client, fleet: Fleet) -> None:
    data = client("iot-data")
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.list_subscriptions(clientId="a/b")
    fleet.connect("a/b")
    wanted = {f"topic/{number}/#": number % 2 for number in range(30)}
    for topic_filter, qos in wanted.items():
        fleet.account.connections.subscribe("a/b", topic_filter, qos)
    first = data.list_subscriptions(clientId="a/b")
    assert len(first["subscriptions"]) == 20
    second = data.list_subscriptions(clientId="a/b", nextToken=first["nextToken"], maxResults=200)
    assert "nextToken" not in second
    found = first["subscriptions"] + second["subscriptions"]
    assert {each["topicFilter"]: each["qos"] for each in found} == wanted


@pytest.mark.parametrize("short_pages", [0.0, 0.5])
def test_listings(client: Client, fleet: Fleet, server: AwsServer, short_pages: float) -> None:
    server.faults.short_pages = short_pages
    server.faults.rates = dict.fromkeys(server.faults.rates, 1000.0)
    registry = fleet.account.registry
    registry.create_group("plants", NOW, attributes={})
    for number in range(60):
        registry.create_group(f"hall-{number}", NOW, parent="plants", attributes={})
        fleet.create(
            f"thing-{number}",
            thing_type="pump" if number % 2 else "",
            attributes={"n": str(number)},
            billing_group=f"billing-{number % 30}",
        )
    registry.update_thing("thing-3", NOW, attributes={"n": "x"})
    iot = client("iot")

    def listed(operation: str, key: str, **parameters: Any) -> list[Any]:
        pages = iot.get_paginator(operation).paginate(**parameters)
        return [entry for page in pages for entry in page[key]]

    things = {each["thingName"]: each for each in listed("list_things", "things")}
    assert len(things) == 60
    assert things["thing-3"] == {
        "thingName": "thing-3",
        "thingTypeName": "pump",
        "thingArn": f"{ARN}:thing/thing-3",
        "attributes": {"n": "x"},
        "version": 2,
    }
    assert "thingTypeName" not in things["thing-2"]
    assert len(listed("list_things", "things", thingTypeName="pump")) == 30
    groups = listed("list_thing_groups", "thingGroups")
    assert len(groups) == 61
    assert {"groupName": "hall-7", "groupArn": f"{ARN}:thinggroup/hall-7"} in groups
    assert len(listed("list_thing_groups", "thingGroups", parentGroup="plants")) == 60
    top = listed("list_thing_groups", "thingGroups", recursive=False)
    assert [group["groupName"] for group in top] == ["plants"]
    billing = listed("list_billing_groups", "billingGroups", namePrefixFilter="billing-1")
    assert len(billing) == 11
    assert {
        "groupName": "billing-1",
        "groupArn": f"{ARN}:billinggroup/billing-1",
    } in billing


def test_thing_group(client: Client, fleet: Fleet) -> None:
    registry = fleet.account.registry
    registry.create_group("plants", NOW, attributes={})
    registry.create_group("site", NOW, parent="plants", attributes={})
    registry.create_group("hall", NOW, parent="site", attributes={"floor": "2"})
    iot = client("iot")
    found = answer(iot.describe_thing_group(thingGroupName="hall"))
    created = found["thingGroupMetadata"].pop("creationDate")
    assert abs(created.timestamp() - NOW) < 1
    assert found == {
        "thingGroupName": "hall",
        "thingGroupId": registry.groups["hall"].group_id,
        "thingGroupArn": f"{ARN}:thinggroup/hall",
        "version": 1,
        "thingGroupProperties": {"attributePayload": {"attributes": {"floor": "2"}}},
        "thingGroupMetadata": {
            "parentGroupName": "site",
            "rootToParentThingGroups": [
                {"groupName": "plants", "groupArn": f"{ARN}:thinggroup/plants"},
                {"groupName": "site", "groupArn": f"{ARN}:thinggroup/site"},
            ],
        },
    }
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing_group(thingGroupName="none")


def test_index_and_indexing(client: Client, fleet: Fleet) -> None:
    iot, indexing = client("iot"), fleet.account.indexing

    def modes() -> tuple[str, str]:
        found = iot.get_indexing_configuration()["thingIndexingConfiguration"]
        return found["thingIndexingMode"], found["thingConnectivityIndexingMode"]

    assert modes() == ("REGISTRY", "STATUS")
    assert answer(iot.describe_index(indexName="AWS_Things")) == {
        "indexName": "AWS_Things",
        "indexStatus": "ACTIVE",
        "schema": "REGISTRY_AND_CONNECTIVITY_STATUS",
    }
    indexing.connectivity = False
    assert modes() == ("REGISTRY", "OFF")
    assert iot.describe_index(indexName="AWS_Things")["schema"] == "REGISTRY"
    indexing.things = False
    assert modes() == ("OFF", "OFF")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_index(indexName="AWS_Things")


def test_event_configurations(client: Client, fleet: Fleet) -> None:
    fleet.account.events["THING_GROUP"] = False
    found = client("iot").describe_event_configurations()
    assert len(found["eventConfigurations"]) == 11
    assert found["eventConfigurations"]["THING"] == {"Enabled": True}
    assert found["eventConfigurations"]["THING_GROUP"] == {"Enabled": False}
    assert isinstance(found["lastModifiedDate"], datetime)


def test_plain_http(client: Client, fleet: Fleet, server: AwsServer) -> None:
    fleet.create("pump-1")
    fleet.connect("pump-1")
    assert server.http_url.startswith("http://127.0.0.1:")
    iot = client("iot", url=server.http_url)
    assert [*search_all(iot, queryString="thingName:*")] == ["pump-1"]
    assert client("iot-data", url=server.http_url).get_connection(clientId="pump-1")["connected"]
