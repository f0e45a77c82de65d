"""Endpoints whose name is not their address, and endpoints that speak TLS 1.3 only."""

import asyncio
import json
import ssl

import pytest

from presenced.cli import main
from presenced.settings.proxy import Proxy
from scripted_broker import CONNECT, SUBSCRIBE, scripted_broker
from source_harness import KINDS, running
from waiting import until

AIOMQTT = [kind for kind in KINDS if kind[0] == "aiomqtt"]
NAME = "elsewhere.example"


def server_tls(certificates, *files):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.load_cert_chain(*(files or (certificates.server_cert, certificates.server_key)))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def accept(peer):
    await peer.expect(CONNECT)
    peer.connack()
    peer.suback(await peer.expect(SUBSCRIBE), 1)
    await peer.until_closed()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_tls_1_3_only(kind, certificates):
    """As with the security policy IotSecurityPolicy_TLS13_1_3_2022_10 of a domain."""
    context = server_tls(certificates)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    versions = []

    async def script(peer):
        versions.append(peer.tls_version)
        await accept(peer)

    async def scenario():
        async with (
            scripted_broker(script, context) as port,
            running(kind, port, tls=certificates.client) as harness,
        ):
            await until(lambda: harness.ready)

    asyncio.run(scenario())
    assert versions == ["TLSv1.3"]


@pytest.mark.parametrize("kind", AIOMQTT, ids="-".join)
@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxy"])
def test_a_name_that_is_not_the_address(kind, proxied, certificates, proxy_of):
    context, asked = server_tls(certificates, *certificates.other_name_server), []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def scenario():
        async with scripted_broker(accept, context) as port:
            proxy = Proxy("127.0.0.1", proxy_of().port, "mqtt.proxy") if proxied else None
            options = {"tls": certificates.client, "server_name": NAME, "proxy": proxy}
            async with running(kind, port, **options) as harness:
                await until(lambda: harness.ready)

    asyncio.run(scenario())
    assert asked == [NAME]


@pytest.mark.parametrize("kind", AIOMQTT, ids="-".join)
def test_a_certificate_for_another_name_is_refused(kind, certificates):
    context = server_tls(certificates)

    async def scenario():
        async with (
            scripted_broker(accept, context) as port,
            running(kind, port, tls=certificates.client, server_name=NAME) as harness,
        ):
            await until(harness.failures)
            return harness.failures(), harness.status.problem

    failures, problem = asyncio.run(scenario())
    assert set(failures) == {"tls_server_certificate"}
    assert "mqtt.server_name" in problem


def test_the_doctor_asks_for_the_server_name(broker_of, daemon_of, certificates, capsys):
    broker = broker_of(certificates=certificates, server=certificates.other_name_server)
    certificates.client.key.chmod(0o600)
    mqtt = {"transport": "aiomqtt", "server_name": NAME}
    daemon = daemon_of(start=False, broker=broker, tls=certificates.client, mqtt=mqtt)
    status = main(["doctor", "--config", str(daemon.config), "--json", "--timeout", "0s"])
    [connection] = json.loads(capsys.readouterr().out)["connections"]
    assert status == 0, connection
    statuses = {step["step"]: step["status"] for step in connection["steps"]}
    assert (statuses["TLS"], statuses["CONNACK"]) == ("ok", "ok")
