"""MQTT over WebSocket signed with SigV4: against a server that verifies it, and a real broker."""

import asyncio
import contextlib

import pytest

from presenced.settings.proxy import Proxy
from presenced.sources.mqtt.connection_options import TlsFiles
from source_harness import FILTER, running
from waiting import until
from websocket_endpoint import KEY_ID, SECRET, WebSocketEndpoint, websocket_endpoint

KIND = ("awscrt", "5")
TOKEN = "token-1"


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    """The environment variables of the default chain; a test may take another source."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    return monkeypatch


@pytest.fixture
def endpoint_of(certificates, broker_of):
    """Makes endpoints, each before a broker of its own."""
    with contextlib.ExitStack() as stack:

        def make(**settings) -> WebSocketEndpoint:
            broker = broker_of()
            endpoint = stack.enter_context(
                websocket_endpoint(certificates, broker.port, **settings)
            )
            endpoint.broker = broker
            return endpoint

        yield make


def connecting(certificates, endpoint, **options):
    options = {"signing_region": "eu-west-1", "reconnect_max": 0.1, **options}
    return running(KIND, endpoint.port, tls=TlsFiles(ca=certificates.ca), **options)


def fault_of(certificates, server):
    """Why the first attempt to connect fails."""

    async def scenario():
        async with connecting(certificates, server) as harness:
            await until(harness.failures)
            return harness.status.fault

    return asyncio.run(scenario())


def test_a_signed_connection_receives_and_resumes(certificates, endpoint_of):
    endpoint = endpoint_of()

    async def scenario():
        async with connecting(certificates, endpoint) as harness:
            await until(lambda: harness.ready)
            assert endpoint.accepted == [TOKEN]
            await asyncio.to_thread(endpoint.broker.publish, [("$aws/events/a", b"1")])
            await until(lambda: harness.topics == ["$aws/events/a"])
            await asyncio.to_thread(endpoint.end_connections)
            await until(lambda: harness.status.connects == {"new": 1, "resumed": 1})
            await until(lambda: harness.status.granted[FILTER])
            assert harness.failures() == {"connection_lost": 1}
        assert endpoint.refused == []

    asyncio.run(scenario())


def test_each_connection_takes_the_credentials_of_its_time(
    certificates, endpoint_of, credentials, tmp_path
):
    """Messages that come between two connections are delivered: the session is kept."""
    endpoint = endpoint_of(tokens={"old"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        credentials.delenv(name)

    def renew(token):
        lines = (
            f"aws_access_key_id={KEY_ID}",
            f"aws_secret_access_key={SECRET}",
            f"aws_session_token={token}",
        )
        (tmp_path / "credentials").write_text("\n".join(["[default]", *lines]))

    async def scenario():
        renew("old")
        async with connecting(certificates, endpoint) as harness:
            await until(lambda: harness.ready)
            endpoint.tokens, endpoint.expired = {"new"}, {"old"}
            await asyncio.to_thread(endpoint.end_connections)
            await until(lambda: harness.failures().get("credentials"))
            assert "session token has expired" in harness.status.fault.detail
            await asyncio.to_thread(endpoint.broker.publish, [("$aws/events/between", b"")])
            renew("new")
            await until(lambda: harness.topics == ["$aws/events/between"])
            assert harness.status.connects == {"new": 1, "resumed": 1}
        assert set(endpoint.accepted) == {"old", "new"}

    asyncio.run(scenario())


def test_it_passes_a_proxy_and_so_does_its_diagnosis(certificates, endpoint_of, proxy_of):
    endpoint, proxy = endpoint_of(), proxy_of()
    by = Proxy("127.0.0.1", proxy.port, "mqtt.proxy")

    async def scenario():
        async with connecting(certificates, endpoint, auth="sigv4", proxy=by) as harness:
            await until(lambda: harness.ready)
            assert proxy.tunnels == 1
            endpoint.expired.add(TOKEN)
            await asyncio.to_thread(endpoint.end_connections)
            await until(lambda: harness.failures().get("credentials"))
            assert "session token has expired" in harness.status.fault.detail

    asyncio.run(scenario())


@pytest.mark.parametrize("says_why", [True, False])
@pytest.mark.parametrize(
    ("wrong", "server", "detail", "remedy"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            {},
            "secret access key does not belong to the access key ID",
            "Renew them",
        ),
        ({"AWS_ACCESS_KEY_ID": "AKIAOTHER"}, {}, "does not know the access key", "Renew them"),
        ({}, {"expired": {TOKEN}}, "the session token has expired", "Renew them"),
        ({}, {"region": "eu-central-1"}, "another region than eu-west-1", "Correct aws.region"),
        ({}, {"clock_ahead": 3600}, "the clock of this machine is wrong", "timedatectl"),
    ],
)
def test_each_refusal_is_explained(
    certificates, endpoint_of, credentials, says_why, wrong, server, detail, remedy
):
    for name, value in wrong.items():
        credentials.setenv(name, value)
    endpoint = endpoint_of(says_why=says_why, **server)
    fault = fault_of(certificates, endpoint)
    assert fault.reason == "credentials"
    if says_why or "clock_ahead" in server:
        assert detail in fault.detail
        assert remedy in fault.remedy
    else:
        assert "does not say why (HTTP status 403, signed for eu-west-1)" in fault.detail
        for action, resource in (
            ("Connect", "client/presenced"),
            ("Subscribe", "topicfilter/$aws/events/*"),
            ("Receive", "topic/$aws/events/*"),
        ):
            assert f'"iot:{action}", "Resource": "arn:aws:iot:REGION:ACCOUNT:{resource}"' in str(
                fault
            )
    for secret in (SECRET, TOKEN, KEY_ID, "X-Amz"):
        assert secret not in str(fault)


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (404, "has no MQTT over WebSocket (HTTP status 404)"),
        (200, "does not answer as AWS IoT Core does (HTTP status 200)"),
        (503, "not able to accept the connection now (HTTP status 503)"),
    ],
)
def test_other_answers_are_no_matter_of_credentials(certificates, endpoint_of, status, detail):
    endpoint = endpoint_of(status=status)
    fault = fault_of(certificates, endpoint)
    assert fault.reason == "connect_refused"
    assert detail in fault.detail


def test_a_server_without_websocket_is_named(certificates, broker_of, credentials):
    broker = broker_of(certificates=certificates, ask_for_certificate=False)
    fault = fault_of(certificates, broker)
    assert fault.reason == "connect_refused"
    assert "does not answer a WebSocket handshake by HTTP" in fault.detail


def test_without_credentials_the_server_is_not_asked(certificates, endpoint_of, credentials):
    endpoint = endpoint_of()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        credentials.delenv(name)
    fault = fault_of(certificates, endpoint)
    assert fault.reason == "credentials"
    assert "no credentials were found" in fault.detail
    assert "role" in fault.remedy
    assert (endpoint.accepted, endpoint.refused) == ([], [])
