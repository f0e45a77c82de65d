"""The client against a server on loopback: what it sends, and each way to fail told apart."""

import asyncio
import json
import socket
import ssl
import time

import pytest
from aiohttp import web

from aws_server import (
    KEY_ID,
    SECRET,
    TOKEN,
    AwsServer,
    GivenCredentials,
    Says,
    date_of,
    error,
    make_client,
    run,
)
from presenced.aws import operations
from presenced.aws.answers import Connectivity
from presenced.aws.client import (
    AwsClient,
    RequestCounts,
    open_client,
    open_queue_client,
    retry_delay,
)
from presenced.aws.errors import AwsError, Cause, policy_statement
from presenced.aws.queue import Queue
from presenced.settings import load_settings
from presenced.settings.sqs import MAX_RECEIVERS
from presenced.system.loop import Clocks

CLOCKS = Clocks(time.monotonic, time.time)
LOOKUP = operations.get_thing_connectivity_data("pump-1")
SEARCH = operations.search_index()
CONNECTION = operations.get_connection("a/b")
NOT_AUTHORIZED = (
    "User: arn:aws:sts::111122223333:assumed-role/presenced/0123456789abcdef is not authorized to"
    " perform: iot:GetThingConnectivityData on resource: arn:aws:iot:eu-west-1:111122223333:thing/x"
)


def ask(answers, request=LOOKUP, *, clocks=CLOCKS, attempts=1, within=5.0, **server):
    """Make one request; return the error, the client and the server."""
    result = {}

    async def scenario():
        async with AwsServer(answers, **server) as aws:
            client = make_client(aws.url, clocks)
            with pytest.raises(AwsError) as caught:
                await client.send(request, attempts=attempts, within=within)
            await client.close()
            result.update(error=caught.value, client=client, aws=aws)

    run(scenario)
    assert_no_secret(str(result["error"]), repr(result["error"]))
    return result["error"], result["client"], result["aws"]


def assert_no_secret(*texts):
    for text in texts:
        for secret in (SECRET, TOKEN, KEY_ID, "111122223333", "0123456789abcdef"):
            assert secret not in text


def counted(client):
    return {key: count for key, count in client._counts.requests.items() if count}


def test_an_answer_has_its_value_its_times_and_its_body():
    async def scenario():
        says = {"thingName": "pump-1", "connected": True, "timestamp": 1764200000.123}
        async with AwsServer([Says(body=says)]) as aws:
            client = make_client(aws.url, CLOCKS)
            before = time.time()
            answer = await client.send(LOOKUP)
            assert answer.value == Connectivity(True, 1764200000123)
            assert before <= answer.asked <= answer.received <= time.time()
            assert json.loads(answer.body) == says
            assert counted(client) == {("GetThingConnectivityData", "ok"): 1}
            await client.close()
        (asked,) = aws.asked
        assert (asked.method, asked.path) == ("POST", "/things/pump-1/connectivity-data")
        assert asked.body == b"{}"
        assert asked.headers["Host"] == f"localhost:{aws.port}"
        assert asked.headers["X-Amz-Security-Token"] == TOKEN
        assert (
            "SignedHeaders=content-type;host;x-amz-date;x-amz-sec" in asked.headers["Authorization"]
        )
        assert asked.headers["User-Agent"].startswith("presenced/")
        assert {*asked.headers} == {
            "Host",
            "Content-Type",
            "Content-Length",
            "X-Amz-Date",
            "X-Amz-Security-Token",
            "Authorization",
            "User-Agent",
        }

    run(scenario)


def test_a_path_arrives_as_it_was_signed():
    async def scenario():
        async with AwsServer([Says(body={"connected": False})]) as aws:
            client = make_client(aws.url, CLOCKS)
            for client_id in ("a/b c", "a%2Fb", "ü+&?#", "..", "~._-$"):
                request = operations.get_connection(client_id)
                await client.send(request)
                assert aws.asked[-1].path == request.path
            await client.send(operations.list_billing_groups("/+= &"))
            query = "nextToken=%2F%2B%3D%20%26&maxResults=250"
            assert aws.asked[-1].path == f"/billing-groups?{query}"
            await client.close()

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "request_", "cause", "result"),
    [
        (error(403, "AccessDeniedException", NOT_AUTHORIZED), LOOKUP, Cause.DENIED, "denied"),
        (error(401, "UnauthorizedException"), SEARCH, Cause.DENIED, "denied"),
        (error(403, "ForbiddenException"), CONNECTION, Cause.DENIED, "denied"),
        (Says(403, {"message": "Forbidden", "traceId": "x"}), CONNECTION, Cause.DENIED, "denied"),
        (error(403, "UnrecognizedClientException"), LOOKUP, Cause.CREDENTIALS, "denied"),
        (error(403, "InvalidSignatureException", TOKEN), LOOKUP, Cause.CREDENTIALS, "denied"),
        (error(403, "ExpiredTokenException"), LOOKUP, Cause.CREDENTIALS, "denied"),
        (error(400, "ExpiredTokenException"), LOOKUP, Cause.CREDENTIALS, "denied"),
        (error(429, "ThrottlingException"), SEARCH, Cause.THROTTLED, "throttled"),
        (error(400, "ThrottlingException"), SEARCH, Cause.THROTTLED, "throttled"),
        (Says(429, b""), CONNECTION, Cause.THROTTLED, "throttled"),
        (error(409, "IndexNotReadyException"), SEARCH, Cause.INDEX_BUILDING, "failed"),
        (error(400, "IndexNotReadyException"), LOOKUP, Cause.INDEX_BUILDING, "failed"),
        (error(404, "ResourceNotFoundException"), SEARCH, Cause.INDEX_OFF, "failed"),
        (error(404, "ResourceNotFoundException"), LOOKUP, Cause.NOT_FOUND, "ok"),
        (error(404, "ResourceNotFoundException"), CONNECTION, Cause.NOT_FOUND, "ok"),
        (Says(404, {"message": "not found"}), CONNECTION, Cause.NOT_FOUND, "ok"),
        (Says(404, b"<html>not here</html>"), CONNECTION, Cause.UNREADABLE, "failed"),
        (Says(404, b"<html>not here</html>"), SEARCH, Cause.UNREADABLE, "failed"),
        (error(500, "InternalFailureException"), LOOKUP, Cause.UNAVAILABLE, "failed"),
        (Says(503, b"<html>"), LOOKUP, Cause.UNAVAILABLE, "failed"),
        (
            error(400, "InvalidRequestException", "bad token"),
            SEARCH,
            Cause.INVALID_REQUEST,
            "failed",
        ),
        (Says(200, b"<html>hello</html>"), LOOKUP, Cause.UNREADABLE, "failed"),
        (Says(200, b""), LOOKUP, Cause.UNREADABLE, "failed"),
        (Says(200, b'{"thingName": "x"}'), LOOKUP, Cause.UNREADABLE, "failed"),
        (Says(200, b"[" * 100_000), SEARCH, Cause.UNREADABLE, "failed"),
        (Says(418, b"teapot"), LOOKUP, Cause.UNREADABLE, "failed"),
    ],
)
def test_answers_that_are_no_success(answer, request_, cause, result):
    failure, client, _ = ask([answer], request_)
    assert failure.cause is cause
    assert failure.operation == request_.operation.name
    assert failure.status == answer.status
    assert counted(client) == {(request_.operation.name, result): 1}


def test_a_missing_permission_is_named_with_its_statement():
    failure, *_ = ask([error(403, "AccessDeniedException", NOT_AUTHORIZED)])
    assert failure.permission == "iot:GetThingConnectivityData"
    _, _, statement = failure.remedy.partition(": ")
    assert json.loads(statement) == {
        "Effect": "Allow",
        "Action": "iot:GetThingConnectivityData",
        "Resource": "arn:aws:iot:eu-west-1:ACCOUNT:thing/*",
    }


def test_the_permission_is_that_which_aws_names():
    said = "not authorized to perform: iot:DescribeThing because no identity-based policy allows"
    failure, *_ = ask([error(403, "AccessDeniedException", said)])
    assert failure.permission == "iot:DescribeThing"


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        (SEARCH, "arn:aws:iot:eu-west-1:ACCOUNT:index/AWS_Things"),
        (CONNECTION, "arn:aws:iot:eu-west-1:ACCOUNT:client/*"),
        (operations.list_thing_groups(), "*"),
        (operations.describe_thing_group("g"), "arn:aws:iot:eu-west-1:ACCOUNT:thinggroup/*"),
    ],
)
def test_each_permission_has_its_resource(request_, resource):
    failure, *_ = ask([error(403, "AccessDeniedException")], request_)
    assert json.loads(failure.remedy.partition(": ")[2])["Resource"] == resource


def test_statements_are_for_the_partition_of_the_region():
    statement = json.loads(policy_statement("iot:GetConnection", "client/*", region="cn-north-1"))
    assert statement["Resource"] == "arn:aws-cn:iot:cn-north-1:ACCOUNT:client/*"


@pytest.mark.parametrize("kind", ["InvalidSignatureException", "AccessDeniedException", None])
@pytest.mark.parametrize(("ahead", "text"), [(600, "10m ahead of"), (-3725, "1h2m5s behind")])
def test_a_wrong_clock_is_told_with_how_far_it_is_off(kind, ahead, text):
    clocks = Clocks(time.monotonic, lambda: 1_800_000_000.0 + ahead)
    said = {"message": f"Signature expired ... x-amz-security-token:{TOKEN}"}
    answer = Says(403, said, kind, date_of(1_800_000_000))
    failure, *_ = ask([answer], clocks=clocks)
    assert failure.cause is Cause.CLOCK
    assert failure.clock_ahead == ahead
    assert text in failure.detail
    assert "timedatectl" in failure.remedy


@pytest.mark.parametrize("said", ["Signature expired: 20", "Signature not yet current: 20"])
def test_a_wrong_clock_is_told_by_the_text_too(said):
    """A proxy may set the date of the answer."""
    failure, *_ = ask([error(403, "InvalidSignatureException", said)])
    assert failure.cause is Cause.CLOCK


def test_slow_credentials_are_told_from_a_slow_answer():
    async def scenario():
        async with AwsServer([Says()]) as aws:
            client = make_client(aws.url, CLOCKS)

            async def never():
                await asyncio.sleep(60)

            client.credentials._provider.fetch = never
            with pytest.raises(AwsError) as caught:
                await client.try_send(LOOKUP, within=0.2)
            assert caught.value.cause is Cause.TIMEOUT
            assert "there were no credentials within 200ms" in caught.value.detail
            assert counted(client) == {("GetThingConnectivityData", "failed"): 1}
            assert aws.asked == []
            await client.close()

    run(scenario)


def test_a_clock_that_is_nearly_right_is_no_cause():
    clocks = Clocks(time.monotonic, lambda: 1_800_000_299.0)
    answer = error(403, "InvalidSignatureException", headers=date_of(1_800_000_000))
    assert ask([answer], clocks=clocks)[0].cause is Cause.CREDENTIALS


def test_what_aws_says_about_a_request_is_shown_without_names():
    said = f"Invalid token {'a' * 40} of {NOT_AUTHORIZED}\n\x1b[31m"
    failure, *_ = ask([error(400, "InvalidRequestException", said)], SEARCH)
    assert "InvalidRequestException: Invalid token ... of User: ..." in failure.detail
    assert failure.detail.isprintable()


@pytest.mark.parametrize(
    "kind",
    [
        "ThrottlingException:http://internal.amazon.com/coral/com.amazonaws.iot/",
        "com.amazonaws.iot#ThrottlingException",
    ],
)
def test_names_of_errors_may_have_more_around_them(kind):
    assert ask([error(400, kind)])[0].cause is Cause.THROTTLED


@pytest.mark.parametrize("key", ["__type", "code"])
def test_names_of_errors_may_be_in_the_body(key):
    said = {key: "aws.iot#ThrottlingException", "Message": "Rate exceeded"}
    assert ask([Says(400, said)])[0].cause is Cause.THROTTLED


@pytest.mark.parametrize("kind", [TOKEN, "x" * 1000])
def test_what_is_no_name_of_an_error_is_not_shown(kind):
    failure, *_ = ask([Says(500, {"message": kind}, kind)])
    assert failure.cause is Cause.UNAVAILABLE
    assert kind not in str(failure)


def test_redirects_are_not_followed():
    headers = {"Location": "/elsewhere"}
    failure, _, aws = ask([Says(307, b"", None, headers), Says()])
    assert failure.cause is Cause.UNREADABLE
    assert "redirects (HTTP status 307)" in failure.detail
    assert len(aws.asked) == 1


@pytest.mark.parametrize(
    ("status", "may_have_run"), [(400, False), (403, False), (429, False), (502, True), (504, True)]
)
def test_only_a_refusal_proves_that_nothing_was_done(status, may_have_run):
    failure, _, _ = ask([Says(status, b"{}")])
    assert failure.status == status
    assert failure.may_have_run is may_have_run


def test_passing_faults_are_asked_again():
    async def scenario():
        faults = [
            error(429, "ThrottlingException"),
            error(503, "ServiceUnavailableException"),
            error(500, "InternalFailureException"),
        ]
        async with AwsServer([*faults, Says(body={"connected": False})]) as aws:
            client = make_client(aws.url, CLOCKS)
            answer = await client.send(LOOKUP)
            assert answer.value == Connectivity(False)
            name = "GetThingConnectivityData"
            assert counted(client) == {
                (name, "throttled"): 1,
                (name, "failed"): 2,
                (name, "ok"): 1,
            }
            await client.close()

    run(scenario)


def test_passing_faults_are_given_up_after_some_attempts():
    failure, _, aws = ask([error(429, "ThrottlingException")], attempts=3)
    assert failure.cause is Cause.THROTTLED
    assert len(aws.asked) == 3
    assert "reconcile.lookups_per_second" in failure.remedy


def test_lasting_faults_are_not_asked_again():
    _, _, aws = ask([error(403, "AccessDeniedException")], attempts=3)
    assert len(aws.asked) == 1


def test_delays_double_up_to_a_limit_and_are_random():
    assert [retry_delay(attempt, 1.0) for attempt in range(1, 9)] == [
        0.5, 1, 2, 4, 8, 16, 20, 20,
    ]  # fmt: skip
    assert retry_delay(3, 0.25) == 0.5


def test_a_slow_answer_is_not_waited_for():
    async def slowly(request):
        await asyncio.sleep(30)
        return web.Response()

    begin = time.monotonic()
    failure, client, _ = ask([slowly], within=0.3)
    assert failure.cause is Cause.TIMEOUT
    assert "did not answer within 300ms" in failure.detail
    assert time.monotonic() - begin < 5
    assert counted(client) == {("GetThingConnectivityData", "failed"): 1}


def test_an_answer_that_never_ends_is_not_taken():
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 1_000_000)

    failure, *_ = ask([endless], within=20)
    assert failure.cause is Cause.UNREADABLE
    assert "larger than 16 MB" in failure.detail


def test_a_connection_that_is_closed_instead():
    async def close(request):
        request.transport.abort()
        return web.Response()

    failure, *_ = ask([close])
    assert failure.cause is Cause.UNREACHABLE
    assert "closed the connection instead of answering" in failure.detail
    assert failure.may_have_run


def failure_at(url, *, ca=None, within=5.0):
    caught = []

    async def scenario():
        client = make_client(url, CLOCKS, ca=ca)
        with pytest.raises(AwsError) as error:
            await client.send(LOOKUP, attempts=1, within=within)
        await client.close()
        caught.append(error.value)

    run(scenario)
    return caught[0]


def test_a_dead_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        failure = failure_at(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert failure.cause is Cause.UNREACHABLE
    assert "refused the TCP connection" in failure.detail
    assert "aws.iot_url" in failure.remedy
    assert not failure.may_have_run


def test_a_name_without_address():
    failure = failure_at("https://presenced.invalid", within=30)
    assert failure.cause is Cause.NAME_RESOLUTION
    assert "the name presenced.invalid cannot be resolved" in failure.detail
    assert not failure.may_have_run


def test_a_certificate_that_is_not_trusted(certificates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)

    async def scenario():
        async with AwsServer([Says()], tls=context) as aws:
            trusting = make_client(aws.url, CLOCKS, ca=certificates.ca)
            assert (await trusting.send(LOOKUP)).value.connected
            await trusting.close()
            client = make_client(aws.url, CLOCKS)
            with pytest.raises(AwsError) as caught:
                await client.send(LOOKUP, attempts=1)
            assert caught.value.cause is Cause.TLS
            assert "cannot be verified" in caught.value.detail
            assert "mqtt.tls.ca" in caught.value.remedy
            assert not caught.value.may_have_run
            await client.close()

    run(scenario)


def test_a_port_without_tls():
    async def scenario():
        async with AwsServer([Says()]) as aws:
            client = make_client(f"https://localhost:{aws.port}", CLOCKS)
            with pytest.raises(AwsError) as caught:
                await client.send(LOOKUP, attempts=1)
            assert caught.value.cause is Cause.TLS
            assert "does not speak TLS" in caught.value.detail
            await client.close()

    run(scenario)


def test_a_server_that_speaks_something_else():
    async def scenario():
        async def greet(_, writer):
            writer.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
            await writer.drain()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = make_client(f"http://127.0.0.1:{port}", CLOCKS)
            with pytest.raises(AwsError) as caught:
                await client.send(LOOKUP, attempts=1)
            assert caught.value.cause is Cause.UNREADABLE
            await client.close()

    run(scenario)


def test_a_ca_file_that_is_missing(tmp_path):
    failure = failure_at("https://localhost:1", ca=tmp_path / "none.pem")
    assert failure.cause is Cause.TLS
    assert "the files of mqtt.tls cannot be used" in failure.detail


def test_try_send_asks_once_and_only_within_the_budget():
    async def scenario():
        async with AwsServer([error(429, "ThrottlingException")]) as aws:
            client = make_client(aws.url, CLOCKS, lookups_per_second=0.01)
            with pytest.raises(AwsError):
                await client.try_send(LOOKUP, within=2)
            assert await client.try_send(LOOKUP, within=2) is None
            assert await client.try_send(CONNECTION, within=2) is None
            assert len(aws.asked) == 1
            await client.close()

    run(scenario)


def test_credentials_that_aws_does_not_accept_are_asked_for_again():
    async def scenario():
        refused = error(403, "ExpiredTokenException")
        async with AwsServer([refused, Says()]) as aws:
            client = make_client(aws.url, CLOCKS)
            given: GivenCredentials = client.credentials._provider
            with pytest.raises(AwsError):
                await client.send(LOOKUP)
            assert (await client.send(LOOKUP)).value.connected
            assert given.fetched == 2
            await client.close()

    run(scenario)


def test_the_environments_proxy_is_asked(monkeypatch):
    """Its password goes to it alone."""

    async def scenario():
        seen = []

        async def refuse(reader, writer):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("https_proxy", f"http://user:hunter2@127.0.0.1:{port}")
            monkeypatch.delenv("no_proxy", raising=False)
            client = make_client("https://iot.eu-west-1.amazonaws.com", CLOCKS)
            with pytest.raises(AwsError) as caught:
                await client.send(LOOKUP, attempts=1)
            await client.close()
        assert seen[0].startswith(b"CONNECT iot.eu-west-1.amazonaws.com:443 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n" in seen[0]
        assert TOKEN.encode() not in seen[0]
        assert caught.value.cause is Cause.UNREACHABLE
        assert "rejects the user name or the password (HTTP status 407)" in str(caught.value)
        assert "Check both in HTTPS_PROXY" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    run(scenario)


def test_requests_pass_through_a_proxy(monkeypatch, certificates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificates.other_name_server)

    async def scenario():
        async with AwsServer([Says()], tls=context) as aws:
            asked = []

            async def pump(reader, writer):
                while data := await reader.read(65536):
                    writer.write(data)
                writer.close()

            async def tunnel(reader, writer):
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", aws.port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

            async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
                client = make_client("https://elsewhere.example:8443", CLOCKS, ca=certificates.ca)
                assert (await client.send(LOOKUP)).value.connected
                await client.close()
            assert asked[0].startswith(b"CONNECT elsewhere.example:8443 HTTP/1.1\r\n")
            assert aws.asked[0].headers["Host"] == "elsewhere.example:8443"

    run(scenario)


def test_no_proxy_for_loopback_and_for_what_no_proxy_names(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", ".invalid")

    async def scenario():
        async with AwsServer([Says()]) as aws:
            client = make_client(aws.url, CLOCKS)
            assert (await client.send(LOOKUP)).value.connected
            await client.close()

    run(scenario)
    assert failure_at("https://presenced.invalid", within=30).cause is Cause.NAME_RESOLUTION
    dead = failure_at("https://iot.eu-west-1.amazonaws.com")
    assert dead.detail == "the proxy at 127.0.0.1:1 refused the TCP connection"
    assert "HTTPS_PROXY" in dead.remedy


def test_requests_and_credentials_pass_through_the_proxy_of_the_settings(
    monkeypatch, certificates, proxy_of
):
    """That of the environment is not asked, and NO_PROXY lists hosts that need none."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    given = {
        "accessKeyId": KEY_ID,
        "secretAccessKey": SECRET,
        "sessionToken": TOKEN,
        "expiration": "2126-01-01T00:00:00Z",
    }

    def settings_of(aws, proxy):
        tls = certificates.client
        return load_settings(
            None,
            environ={
                "PRESENCED_MQTT__ENDPOINT": "a1-ats.iot.eu-west-1.amazonaws.com",
                "PRESENCED_MQTT__TLS__CA": str(tls.ca),
                "PRESENCED_MQTT__TLS__CERT": str(tls.cert),
                "PRESENCED_MQTT__TLS__KEY": str(tls.key),
                "PRESENCED_MQTT__PROXY": proxy,
                "PRESENCED_AWS__IOT_URL": aws.url,
                "PRESENCED_AWS__DATA_URL": aws.url,
                "PRESENCED_AWS__ROLE_ALIAS": "fleet",
                "PRESENCED_AWS__CREDENTIALS_ENDPOINT": f"localhost:{aws.port}",
                "PRESENCED_AWS__THING_NAME": "presenced",
            },
        )

    async def asked_through(proxy):
        answers = [Says(body={"credentials": given}), Says()]
        async with AwsServer(answers, tls=context) as aws:
            client = open_client(settings_of(aws, proxy), RequestCounts(), CLOCKS)
            try:
                return (await client.send(CONNECTION, attempts=1)).value.connected
            finally:
                await client.close()

    async def scenario():
        proxy, strict = proxy_of(), proxy_of(login=("fleet", "hunter2"))
        assert await asked_through(proxy.url())
        assert proxy.tunnels == 2
        assert await asked_through(strict.url("fleet:hunter2@"))
        for login, kind in [
            ("", "requires a user name"),
            ("fleet:wrong@", "rejects the user name"),
        ]:
            with pytest.raises(AwsError) as caught:
                await asked_through(strict.url(login))
            assert caught.value.cause is Cause.UNREACHABLE
            assert kind in caught.value.detail
            assert "mqtt.proxy" in caught.value.remedy
            assert "wrong" not in str(caught.value)
        for rule, kind in [
            ({"ports": [1]}, "does not allow connections to localhost"),
            ({"denied": "localhost"}, "does not allow connections to localhost"),
        ]:
            with pytest.raises(AwsError, match=kind):
                await asked_through(proxy_of(**rule).url())
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert await asked_through("http://127.0.0.1:1")

    run(scenario)


def test_a_queue_behind_a_proxy(monkeypatch, certificates, proxy_of):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    proxy = proxy_of(login=("fleet", "hunter2"))

    async def scenario():
        async with AwsServer([Says(body={"Messages": []})], tls=context) as aws:
            queue = Queue(f"https://localhost:{aws.port}/111122223333/events")
            environ = {
                "PRESENCED_SOURCE": "sqs",
                "PRESENCED_SQS__QUEUE_URL": queue.url,
                "PRESENCED_AWS__REGION": "eu-west-1",
                "PRESENCED_AWS__PROXY": proxy.url("fleet:hunter2@"),
            }
            settings = load_settings(None, environ=environ)
            client = open_queue_client(settings, RequestCounts(), CLOCKS)
            assert (await client.send(queue.receive_nothing(), attempts=1)).value == ()
            await client.close()
        assert proxy.tunnels == 1

    run(scenario)


def test_a_new_password_for_the_proxy_is_used_after_its_refusal(
    monkeypatch, certificates, proxy_of, tmp_path
):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    password = tmp_path / "password"
    password.write_text("old")

    async def scenario():
        async with AwsServer([Says()], tls=context) as aws:
            environ = {
                "PRESENCED_MQTT__ENDPOINT": "a1-ats.iot.eu-west-1.amazonaws.com",
                "PRESENCED_MQTT__TLS__CA": str(certificates.ca),
                "PRESENCED_AWS__PROXY": proxy_of(login=("fleet", "new")).url("fleet@"),
                "PRESENCED_AWS__PROXY_PASSWORD_FILE": str(password),
                "PRESENCED_AWS__DATA_URL": aws.url,
            }
            client = open_client(load_settings(None, environ=environ), RequestCounts(), CLOCKS)
            with pytest.raises(AwsError, match=r"Check both in aws\.proxy"):
                await client.send(CONNECTION, attempts=1)
            password.write_text("new")
            assert (await client.send(CONNECTION, attempts=1)).value.connected
            await client.close()

    run(scenario)


def test_a_proxy_that_cannot_reach_aws(monkeypatch, proxy_of):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", proxy_of().url())
    failure = failure_at("https://presenced.invalid", within=30)
    assert failure.cause is Cause.UNREACHABLE
    assert "cannot reach presenced.invalid:443 (HTTP status 500)" in failure.detail


def test_a_client_from_the_settings(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)

    async def scenario():
        async with AwsServer([Says()]) as aws:
            environ = {
                "PRESENCED_MQTT__ENDPOINT": "a1-ats.iot.cn-north-1.amazonaws.com.cn",
                "PRESENCED_MQTT__TLS__CA": "",
                "PRESENCED_AWS__IOT_URL": aws.url,
                "PRESENCED_AWS__DATA_URL": aws.url,
            }
            counts = RequestCounts()
            client: AwsClient = open_client(load_settings(None, environ=environ), counts, CLOCKS)
            assert (await client.send(CONNECTION)).value.connected
            assert counts.requests["GetConnection", "ok"] == 1
            await client.close()
        scope = aws.asked[0].headers["Authorization"]
        assert f"Credential={KEY_ID}/" in scope
        assert "/cn-north-1/iotdata/aws4_request" in scope

    run(scenario)


def test_the_client_of_a_queue_has_a_connection_for_each_receiver_after_a_reload(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    requests = MAX_RECEIVERS + 8

    async def scenario():
        all_arrived, waiting = asyncio.Event(), []

        async def hold(request):
            waiting.append(request)
            if len(waiting) == requests:
                all_arrived.set()
            await all_arrived.wait()
            return Says(body={})

        async with AwsServer([hold]) as aws:
            url = f"{aws.url}/111122223333/presenced"
            environ = {
                "PRESENCED_SOURCE": "sqs",
                "PRESENCED_SQS__QUEUE_URL": url,
                "PRESENCED_SQS__RECEIVERS": "1",
                "PRESENCED_AWS__REGION": "eu-west-1",
            }
            settings = load_settings(None, environ=environ)
            client = open_queue_client(settings, RequestCounts(), CLOCKS)
            receive = Queue(url).receive(wait=20, visibility=30)
            polls = (client.send(receive, attempts=1, within=10) for _ in range(requests))
            await asyncio.gather(*polls)
            await client.close()

    run(scenario)


def test_without_a_broker_the_queue_names_the_region_and_lookups_have_no_address(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    queue = "https://sqs.eu-central-1.amazonaws.com/111122223333/presenced"
    environ = {"PRESENCED_SOURCE": "sqs", "PRESENCED_SQS__QUEUE_URL": queue}

    async def scenario():
        async with AwsServer([Says(body={"things": []})]) as aws:
            settings = load_settings(None, environ=environ | {"PRESENCED_AWS__IOT_URL": aws.url})
            client = open_client(settings, RequestCounts(), CLOCKS)
            await client.send(SEARCH)
            with pytest.raises(AwsError) as caught:
                await client.send(CONNECTION)
            await client.close()
        assert "/eu-central-1/" in aws.asked[0].headers["Authorization"]
        assert caught.value.remedy == "Set aws.data_url"

    run(scenario)


def test_a_client_with_a_role_alias_from_the_settings(certificates):
    """The client certificate is exchanged for credentials, and these sign the requests."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(certificates.ca)
    document = {
        "accessKeyId": KEY_ID,
        "secretAccessKey": SECRET,
        "sessionToken": TOKEN,
        "expiration": "2099-01-01T00:00:00Z",
    }

    async def scenario():
        answers = [Says(body={"credentials": document}), Says()]
        async with AwsServer(answers, tls=context) as aws:
            environ = {
                "PRESENCED_MQTT__ENDPOINT": "localhost",
                "PRESENCED_MQTT__TLS__CERT": str(certificates.client.cert),
                "PRESENCED_MQTT__TLS__KEY": str(certificates.client.key),
                "PRESENCED_MQTT__TLS__CA": str(certificates.ca),
                "PRESENCED_AWS__REGION": "eu-west-1",
                "PRESENCED_AWS__ROLE_ALIAS": "fleet",
                "PRESENCED_AWS__CREDENTIALS_ENDPOINT": f"localhost:{aws.port}",
                "PRESENCED_AWS__THING_NAME": "presenced",
                "PRESENCED_AWS__IOT_URL": aws.url,
                "PRESENCED_AWS__DATA_URL": aws.url,
            }
            counts = RequestCounts()
            client = open_client(load_settings(None, environ=environ), counts, CLOCKS)
            for _ in range(3):
                assert (await client.send(LOOKUP)).value.connected
            assert client.credentials.held.source == "role alias fleet"
            assert client.credentials.valid_for > 86400
            assert counts.requests["AssumeRoleWithCertificate", "ok"] == 1
            assert counts.requests["GetThingConnectivityData", "ok"] == 3
            await client.close()
        exchange, *signed = aws.asked
        assert exchange.path == "/role-aliases/fleet/credentials"
        assert exchange.certificate
        for asked in signed:
            assert asked.headers["X-Amz-Security-Token"] == TOKEN
            assert not asked.certificate

    run(scenario)


def test_every_known_operation_and_result_starts_at_0():
    counts = RequestCounts().requests
    assert len(counts) == 11 * 4
    assert counts["AssumeRoleWithCertificate", "denied"] == counts["SearchIndex", "ok"] == 0
