"""What can be made to go wrong, and the error of boto3 that it becomes."""

import time
from http.client import HTTPConnection
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ParamValidationError
from botocore.session import get_session

from emulator_aws import Client, Fleet, search_all
from presenced_emulator.aws.errors import ERROR_STATUS, MODELLED_STATUS
from presenced_emulator.aws.index import IndexStatus
from presenced_emulator.aws.operations import OPERATIONS
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.registry import ACCOUNT

PARAMETERS: dict[str, dict[str, str]] = {
    "DescribeIndex": {"indexName": "AWS_Things"},
    "DescribeThingGroup": {"thingGroupName": "hall"},
    "GetConnection": {"clientId": "c"},
    "GetThingConnectivityData": {"thingName": "t"},
    "ListSubscriptions": {"clientId": "c"},
    "SearchIndex": {"queryString": "thingName:*"},
}


def call(client: Client, operation: str, **parameters: Any) -> Any:
    service = "iot-data" if OPERATIONS[operation].service == "iotdata" else "iot"
    made = client(service)
    method = next(k for k, v in made.meta.method_to_api_mapping.items() if v == operation)
    return getattr(made, method)(**PARAMETERS.get(operation, {}), **parameters)


def error(client: Client, operation: str, **parameters: Any) -> tuple[str, int, str]:
    """Type, status and message of the error that an operation answers."""
    with pytest.raises(ClientError) as raised:
        call(client, operation, **parameters)
    response = raised.value.response
    found = response["Error"]
    return found["Code"], response["ResponseMetadata"]["HTTPStatusCode"], found["Message"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_denied(client: Client, server: AwsServer, operation: str) -> None:
    server.faults.denied.add(operation)
    kind, status, message = error(client, operation)
    assert status == 403
    if OPERATIONS[operation].service == "iotdata":
        assert (kind, message) == ("ForbiddenException", "Forbidden")
    else:
        assert kind == "AccessDeniedException"
        role = f"arn:aws:sts::{ACCOUNT}:assumed-role/presenced-role/"
        assert message.startswith(f"User: {role}")
        assert f" is not authorized to perform: iot:{operation} on resource: " in message


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        ("SearchIndex", "index/AWS_Things"),
        ("GetThingConnectivityData", "thing/t"),
        ("DescribeThingGroup", "thinggroup/hall"),
    ],
)
def test_denied_names_the_resource(
    client: Client, server: AwsServer, operation: str, resource: str
) -> None:
    server.faults.denied.add(operation)
    assert f":{ACCOUNT}:{resource} because" in error(client, operation)[2]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_throttled(client: Client, server: AwsServer, operation: str) -> None:
    server.faults.rates[operation] = 0
    assert error(client, operation) == ("ThrottlingException", 429, "Rate exceeded")


def test_status_of_the_api_reference(client: Client, server: AwsServer) -> None:
    server.faults.rates["SearchIndex"] = 0
    server.faults.statuses = dict(MODELLED_STATUS)
    assert error(client, "SearchIndex") == ("ThrottlingException", 400, "Rate exceeded")


def test_statuses_are_those_of_the_models() -> None:
    models = [get_session().get_service_model(name) for name in ("iot", "iot-data")]
    for model in models:
        for shape in model.error_shapes:
            if shape.name not in ERROR_STATUS:
                continue
            status = ERROR_STATUS[shape.name]
            if model.service_name == "iot":
                status = MODELLED_STATUS.get(shape.name, status)
            assert shape.metadata["error"]["httpStatusCode"] == status, shape


def test_error_type_with_a_suffix(client: Client, server: AwsServer) -> None:
    server.faults.rates["SearchIndex"] = 0
    server.faults.error_suffix = ":http://internal.amazon.com/coral/com.amazonaws.iot/"
    assert error(client, "SearchIndex")[0] == "ThrottlingException"


def test_rate_of_the_account(client: Client, fleet: Fleet, server: AwsServer) -> None:
    iot = client("iot")
    outcomes = []
    for number in range(60):
        fleet.now += 0.01
        try:
            search_all(iot, queryString="thingName:*")
            outcomes.append(number)
        except iot.exceptions.ThrottlingException:
            pass
    assert 20 <= len(outcomes) <= 24  # 15 at once, and 15 a second for 0.6 s
    fleet.now += 1
    search_all(iot, queryString="thingName:*")
    statuses = [request.status for request in server.requests]
    assert statuses.count(429) == 60 - len(outcomes)


def test_one_connection_a_second_and_client(client: Client, fleet: Fleet) -> None:
    data = client("iot-data")
    for name in ("a", "b"):
        fleet.connect(name)
        data.get_connection(clientId=name)
    fleet.now += 0.5
    with pytest.raises(data.exceptions.ThrottlingException):
        data.get_connection(clientId="a")
    fleet.now += 0.6
    assert data.get_connection(clientId="a")["connected"]


@pytest.mark.parametrize("kind", ["ServiceUnavailableException", "InternalFailureException"])
def test_failing(client: Client, server: AwsServer, kind: str) -> None:
    server.faults.failing["SearchIndex"] = kind
    assert error(client, "SearchIndex")[:2] == (kind, ERROR_STATUS[kind])
    call(client, "DescribeIndex")


def test_index_that_is_built(client: Client, fleet: Fleet) -> None:
    fleet.create("t")
    fleet.account.index.status = IndexStatus.BUILDING
    assert call(client, "DescribeIndex")["indexStatus"] == "BUILDING"
    for operation in ("SearchIndex", "GetThingConnectivityData"):
        assert error(client, operation)[:2] == ("IndexNotReadyException", 409)


def test_index_that_is_rebuilt_has_old_rows(client: Client, fleet: Fleet) -> None:
    iot = client("iot")

    def connected() -> bool:
        row = search_all(iot, queryString="thingName:*")["t"]
        return bool(row["connectivity"]["connected"])

    fleet.create("t")
    assert not connected()
    fleet.account.index.status = IndexStatus.REBUILDING
    assert call(client, "DescribeIndex")["indexStatus"] == "REBUILDING"
    fleet.connect("t")
    fleet.now += 100
    assert not connected()
    assert call(client, "GetThingConnectivityData")["connected"]
    fleet.account.index.status = IndexStatus.ACTIVE
    assert connected()


def test_indexing_off(client: Client, fleet: Fleet) -> None:
    fleet.create("t")
    fleet.account.indexing.connectivity = False
    assert "connectivity" not in search_all(client("iot"), queryString="thingName:*")["t"]
    assert error(client, "GetThingConnectivityData")[0] == "IndexNotReadyException"
    fleet.account.indexing.things = False
    for operation in ("SearchIndex", "DescribeIndex"):
        found = error(client, operation)
        assert found == ("ResourceNotFoundException", 404, "Index AWS_Things not found")


def test_lag(client: Client, fleet: Fleet) -> None:
    iot = client("iot")
    fleet.account.index.lag = (30.0, 30.0)
    fleet.create("t")
    fleet.connect("t")
    assert not search_all(iot, queryString="thingName:*")
    assert iot.get_thing_connectivity_data(thingName="t")["connected"]
    fleet.now += 30
    assert search_all(iot, queryString="thingName:*")["t"]["connectivity"]["connected"]


@pytest.mark.parametrize(
    ("offset", "message"), [(301, "Signature expired: "), (-301, "Signature not yet current: ")]
)
@pytest.mark.parametrize("operation", ["SearchIndex", "GetConnection"])
def test_clock(
    client: Client, server: AwsServer, offset: float, message: str, operation: str
) -> None:
    server.faults.clock_offset = offset
    kind, status, text = error(client, operation)
    assert (kind, status) == ("InvalidSignatureException", 403)
    assert text.startswith(message)
    assert text.endswith("5 min.)")


def test_clock_within_five_minutes_and_the_date_of_answers(
    client: Client, server: AwsServer
) -> None:
    for offset in (299, -299):
        server.faults.clock_offset = offset
        call(client, "DescribeIndex")
    headers = call(client, "DescribeIndex")["ResponseMetadata"]["HTTPHeaders"]
    assert headers["date"] == "Wed, 26 Nov 2025 23:28:21 GMT"


def test_credentials_of_another_account(client: Client, server: AwsServer) -> None:
    other = server.issue("x")._replace(access_key_id="ASIAOTHER")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        client("iot", by=other).describe_index(indexName="AWS_Things")


def test_wrong_secret(client: Client, server: AwsServer) -> None:
    wrong = server.issue("x")._replace(secret_access_key="no")
    with pytest.raises(ClientError, match="signature we calculated does not match"):
        client("iot", by=wrong).describe_index(indexName="AWS_Things")


def test_expired_credentials(client: Client, fleet: Fleet, server: AwsServer) -> None:
    iot = client("iot", by=server.issue("x", 10))
    fleet.now += 9
    iot.describe_index(indexName="AWS_Things")
    fleet.now += 1
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        iot.describe_index(indexName="AWS_Things")


def test_connection_that_is_closed(client: Client, server: AwsServer) -> None:
    server.faults.disconnecting = True
    with pytest.raises(ConnectionClosedError):
        call(client, "DescribeIndex")
    assert server.requests[-1].status == 0


def test_answers_that_are_not_of_aws(server: AwsServer) -> None:
    connection = HTTPConnection(server.http_url.removeprefix("http://"), timeout=20)

    def answer() -> tuple[int, str | None, bytes]:
        connection.request("GET", "/event-configurations")
        response = connection.getresponse()
        return response.status, response.getheader("Location"), response.read()

    assert answer()[0] == 403
    server.faults.garbled = True
    assert answer() == (200, None, b"<html>Welcome</html>")
    server.faults.redirect = "http://192.0.2.1/"
    assert answer()[:2] == (307, "http://192.0.2.1/")
    connection.close()
    assert [request.status for request in server.requests] == [403, 200, 307]


def test_delay(client: Client, server: AwsServer) -> None:
    server.faults.delay = 0.3
    begin = time.monotonic()
    call(client, "DescribeIndex")
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("SearchIndex", {"maxResults": 501}),
        ("SearchIndex", {"nextToken": "nonsense"}),
        ("SearchIndex", {"nextToken": "WzFd"}),
        ("ListThings", {"nextToken": "bm8="}),
    ],
)
def test_invalid_requests(client: Client, operation: str, parameters: dict[str, Any]) -> None:
    assert error(client, operation, **parameters)[:2] == ("InvalidRequestException", 400)


def test_token_of_another_listing(client: Client, fleet: Fleet) -> None:
    for number in range(3):
        fleet.create(f"t-{number}")
    token = call(client, "ListThings", maxResults=2)["nextToken"]
    call(client, "ListThings", maxResults=2, nextToken=token)
    for operation in ("SearchIndex", "ListThingGroups"):
        assert error(client, operation, nextToken=token)[0] == "InvalidRequestException"


@pytest.mark.parametrize("query", ["connectivity.connected:true", "thingName:a OR thingName:b"])
def test_other_queries(client: Client, query: str) -> None:
    iot = client("iot")
    with pytest.raises(iot.exceptions.InvalidQueryException):
        iot.search_index(queryString=query)


def test_thing_names(client: Client) -> None:
    iot = client("iot")
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.get_thing_connectivity_data(thingName="a/b")
    with pytest.raises(ParamValidationError):
        iot.get_thing_connectivity_data(thingName="")


def test_client_ids(client: Client) -> None:
    data = client("iot-data")
    for name in ("$x", "x" * 129):
        with pytest.raises(data.exceptions.InvalidRequestException):
            data.get_connection(clientId=name)
