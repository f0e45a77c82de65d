"""Requests, held against those that botocore makes for the same input, by AWS's own models."""

import asyncio
import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from awscrt import auth
from botocore.awsrequest import AWSResponse
from botocore.session import Session

from presenced.aws import operations
from presenced.aws.operations import OPERATIONS, Request
from presenced.aws.signing import signed_headers

KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/+="
IOT, DATA = "https://iot.eu-west-1.amazonaws.com", "https://a1-ats.iot.eu-west-1.amazonaws.com"
PAGE_TOKEN = "AXk3/+==&x y"
CLIENT_IDS = [
    "pump-1",
    "a/b c",
    "a%2Fb",
    "Müller:7~._-",
    "a+b=c&d?e#f",
    "$aws",
    "日本",
    "a//b",
    "x/../y",
]

CASES = [
    (
        operations.search_index(),
        "search_index",
        {"indexName": "AWS_Things", "queryString": "thingName:*", "maxResults": 100},
    ),
    (
        operations.search_index(PAGE_TOKEN, "thingGroupNames:Ü"),
        "search_index",
        {
            "indexName": "AWS_Things",
            "queryString": "thingGroupNames:Ü",
            "maxResults": 100,
            "nextToken": PAGE_TOKEN,
        },
    ),
    (operations.describe_index(), "describe_index", {"indexName": "AWS_Things"}),
    (operations.get_indexing_configuration(), "get_indexing_configuration", {}),
    (operations.describe_event_configurations(), "describe_event_configurations", {}),
    (operations.list_thing_groups(), "list_thing_groups", {"maxResults": 250, "recursive": True}),
    (
        operations.list_thing_groups(PAGE_TOKEN),
        "list_thing_groups",
        {"maxResults": 250, "recursive": True, "nextToken": PAGE_TOKEN},
    ),
    (operations.describe_thing_group("a:b_c-1"), "describe_thing_group", {"name": "a:b_c-1"}),
    (operations.list_billing_groups(), "list_billing_groups", {"maxResults": 250}),
    (
        operations.get_thing_connectivity_data("a:b_c-1"),
        "get_thing_connectivity_data",
        {"thingName": "a:b_c-1"},
    ),
    *(
        case
        for name in CLIENT_IDS
        for case in (
            (operations.get_connection(name), "get_connection", {"clientId": name}),
            (
                operations.list_subscriptions(name, PAGE_TOKEN),
                "list_subscriptions",
                {"clientId": name, "maxResults": 200, "nextToken": PAGE_TOKEN},
            ),
        )
    ),
]


@pytest.fixture(scope="module")
def prepared():
    """Returns the request that botocore would send."""
    session = Session()
    session.set_credentials(KEY_ID, SECRET, TOKEN)
    clients = {
        "iot": session.create_client("iot", "eu-west-1"),
        "iotdata": session.create_client("iot-data", "eu-west-1", endpoint_url=DATA),
    }

    def prepare(service, method, arguments):
        seen = []

        def stop(request, **_):
            seen.append(request)
            response = AWSResponse(request.url, 200, {}, None)
            response._content = b'{"connected": false}'
            return response

        client = clients[service]
        client.meta.events.register("before-send", stop)
        if "name" in arguments:
            arguments = {"thingGroupName": arguments["name"]}
        getattr(client, method)(**arguments)
        client.meta.events.unregister("before-send", stop)
        (request,) = seen
        return request

    return prepare


def ours(request: Request, body: bytes | None, date: datetime):
    """Our signed headers of a request with this body."""
    base = DATA if request.operation.service == "iotdata" else IOT
    signer = auth.AwsCredentialsProvider.new_static(KEY_ID, SECRET, TOKEN)
    return asyncio.run(
        signed_headers(
            request.operation.method,
            base + request.target,
            request.headers,
            body,
            signer=signer,
            region="eu-west-1",
            service=request.operation.service,
            date=date,
        )
    )


def content(body):
    return json.loads(body) if body else None


@pytest.mark.parametrize(("request_", "method", "arguments"), CASES)
def test_requests_are_those_of_botocore(prepared, request_, method, arguments):
    theirs = prepared(request_.operation.service, method, arguments)
    url = urlsplit(theirs.url)
    base = DATA if request_.operation.service == "iotdata" else IOT
    assert request_.operation.method == theirs.method
    assert f"{url.scheme}://{url.netloc}" == base
    assert request_.path == url.path
    assert dict(parse_qsl(urlsplit(request_.target).query)) == dict(parse_qsl(url.query))
    assert (content(request_.body) or {}) == (content(theirs.body) or {})


@pytest.mark.parametrize(("request_", "method", "arguments"), CASES)
def test_signatures_are_those_of_botocore(prepared, request_, method, arguments):
    theirs = prepared(request_.operation.service, method, arguments)
    stamp = theirs.headers["X-Amz-Date"].decode()
    date = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    headers = ours(request_, theirs.body or None, date)
    assert headers["X-Amz-Date"] == stamp
    assert headers["X-Amz-Security-Token"] == TOKEN
    assert headers.get("Content-Type", "").encode() == theirs.headers.get("Content-Type", b"")
    assert headers["Authorization"] == theirs.headers["Authorization"].decode()


def test_names_of_operations_are_those_of_the_models():
    session = Session()
    models = {
        "iot": session.get_service_model("iot"),
        "iotdata": session.get_service_model("iot-data"),
    }
    for operation in OPERATIONS:
        model = models[operation.service]
        assert operation.name in model.operation_names
        assert model.signing_name == operation.service
        assert model.operation_model(operation.name).http["method"] == operation.method


@pytest.mark.parametrize(("client_id", "path"), [(".", "%2E"), ("..", "%2E%2E")])
def test_no_client_id_leaves_its_path(client_id, path):
    assert operations.get_connection(client_id).path == f"/connections/{path}"


def test_an_unpaired_surrogate_is_no_error():
    assert operations.get_connection("a\ud800").path == "/connections/a%3F"
