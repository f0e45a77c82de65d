"""MQTT through a real HTTP proxy: what passes, and which of the two refuses."""

import asyncio
import json

import pytest

from brokers import free_port, lifecycle_events
from presenced.cli import main
from presenced.settings.proxy import Proxy
from source_harness import KINDS, running
from waiting import until, wait_for

LOGIN = ("fleet", "hunter2")
kinds = pytest.mark.parametrize("kind", KINDS, ids="-".join)


def through(port, login=None):
    return Proxy("127.0.0.1", port, "mqtt.proxy", *(login or ()))


def fault_of(kind, port, proxy, **options):
    """The reason and the problem of a connection that fails, before the broker accepts it."""

    async def scenario():
        async with running(kind, port, proxy=proxy, **options) as harness:
            await until(harness.failures)
            [reason] = harness.failures()
            return reason, harness.status.problem

    return asyncio.run(scenario())


@kinds
@pytest.mark.parametrize("login", [None, LOGIN], ids=["open", "login"])
def test_events_pass_by_tls_inside_connect(kind, login, broker_of, proxy_of, certificates):
    broker = broker_of(certificates=certificates)
    proxy = proxy_of(login=login, ports=[broker.port])
    events = lifecycle_events(500)

    async def scenario():
        by = through(proxy.port, login)
        async with running(kind, broker.port, tls=certificates.client, proxy=by) as harness:
            await until(lambda: harness.ready)
            await asyncio.to_thread(broker.publish, events)
            await until(lambda: len(harness.received) >= len(events), 60)
            return harness

    harness = asyncio.run(scenario())
    assert [(m.topic, m.payload) for m in harness.received] == events
    assert proxy.tunnels == 1
    assert harness.status.callback_errors == 0


@kinds
@pytest.mark.parametrize("rule", [{"ports": [1]}, {"denied": "localhost"}], ids=["port", "host"])
def test_a_proxy_that_forbids(kind, rule, broker_of, proxy_of, certificates):
    broker, proxy = broker_of(certificates=certificates), proxy_of(**rule)
    reason, problem = fault_of(kind, broker.port, through(proxy.port), tls=certificates.client)
    assert reason == "proxy_refused"
    assert f"the proxy at 127.0.0.1:{proxy.port} does not allow connections to" in problem
    assert f"localhost:{broker.port} (HTTP status 403)" in problem
    assert "Ask the operator of the proxy to allow CONNECT" in problem


@kinds
@pytest.mark.parametrize("login", [None, ("fleet", "wrong-secret")], ids=["none", "wrong"])
def test_a_proxy_that_wants_a_login(kind, login, broker_of, proxy_of, certificates):
    broker, proxy = broker_of(certificates=certificates), proxy_of(login=LOGIN)
    by = through(proxy.port, login)
    reason, problem = fault_of(kind, broker.port, by, tls=certificates.client)
    assert reason == "proxy_authentication"
    expected = "rejects the user name or the password" if login else "requires a user name"
    assert expected in problem
    assert "mqtt.proxy" in problem
    assert "wrong-secret" not in problem


@kinds
def test_a_proxy_that_is_down(kind, broker_of, certificates):
    port = free_port()
    broker = broker_of(certificates=certificates)
    reason, problem = fault_of(kind, broker.port, through(port), tls=certificates.client)
    assert reason == "proxy_unreachable"
    assert f"the proxy at 127.0.0.1:{port} refused the TCP connection" in problem
    assert "Check mqtt.proxy" in problem


@kinds
def test_a_proxy_without_an_address(kind, certificates):
    proxy = Proxy("nowhere.invalid", 3128, "mqtt.proxy")
    reason, problem = fault_of(kind, 8883, proxy, tls=certificates.client)
    assert reason == "proxy_unreachable"
    assert "the name nowhere.invalid of the proxy cannot be resolved" in problem


@kinds
def test_a_proxy_that_cannot_reach_the_broker(kind, proxy_of, certificates):
    proxy, port = proxy_of(), free_port()
    reason, problem = fault_of(kind, port, through(proxy.port), tls=certificates.client)
    assert reason == "unreachable"
    assert f"the proxy at 127.0.0.1:{proxy.port} cannot reach localhost:{port}" in problem
    assert "between the proxy and it" in problem


@kinds
def test_a_broker_is_no_proxy(kind, broker_of, certificates):
    broker = broker_of(certificates=certificates)
    proxy = through(broker.back_port)
    reason, problem = fault_of(kind, broker.port, proxy, tls=certificates.client)
    assert reason == "proxy_unreachable"
    assert "Check that mqtt.proxy is an HTTP proxy" in problem


@kinds
def test_a_broker_that_refuses_behind_a_proxy(kind, broker_of, proxy_of, certificates):
    broker, proxy = broker_of(certificates=certificates), proxy_of()
    by, tls = through(proxy.port), certificates.foreign_client
    reason, problem = fault_of(kind, broker.port, by, tls=tls)
    assert reason == "tls_client_certificate"
    assert "proxy" not in problem


def doctor(daemon, capsys):
    status = main(["doctor", "--config", str(daemon.config), "--json", "--timeout", "0s"])
    text = capsys.readouterr().out
    assert LOGIN[1] not in text
    [connection] = json.loads(text)["connections"]
    return status, {step["step"]: step for step in connection["steps"]}


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_the_daemon_and_its_doctor(
    transport, broker_of, proxy_of, daemon_of, certificates, tmp_path, capsys
):
    """The password is in a file of its own, and is shown nowhere."""
    broker, proxy = broker_of(certificates=certificates), proxy_of(login=LOGIN)
    certificates.client.key.chmod(0o600)
    password = tmp_path / "proxy-password"
    password.write_text("not-yet-right\n")
    mqtt = {
        "transport": transport,
        "proxy": proxy.url("fleet@"),
        "proxy_password_file": str(password),
    }
    daemon = daemon_of(broker=broker, tls=certificates.client, mqtt=mqtt)

    def failures():
        name, labels = "presenced_mqtt_connection_failures_total", {"connection": "presenced"}
        return daemon.value(name, reason="proxy_authentication", **labels)

    wait_for(failures, what="the proxy's refusal")
    status, text = daemon.get("/-/ready")
    assert status == 503
    assert "the proxy at 127.0.0.1" in text
    assert "Check both in mqtt.proxy" in text
    [line] = [each for each in daemon.log if each.get("reason") == "proxy_authentication"]
    assert "rejects the user name or the password" in line["detail"]
    assert line["remedy"].startswith("Check both in mqtt.proxy")
    status, steps = doctor(daemon, capsys)
    assert (status, steps["TCP"]["status"], steps["proxy"]["status"]) == (1, "ok", "failed")
    assert {steps[each]["status"] for each in ("TLS", "CONNACK")} == {"skipped"}
    password.write_text(f"{LOGIN[1]}\n")
    status, steps = doctor(daemon, capsys)
    assert status == 0, steps
    expected = f"127.0.0.1:{proxy.port} connects to localhost:{broker.port}"
    assert steps["proxy"]["detail"] == expected
    assert steps["name resolution"]["detail"] == "127.0.0.1, from mqtt.proxy, is 127.0.0.1"
    secrets = (LOGIN[1], "not-yet-right")
    assert not [each for each in secrets if each in daemon.log_file.read_text()]
    daemon.stop()
    daemon.start()
    daemon.wait_until_ready()
    assert proxy.tunnels >= 2


def test_no_proxy_for_the_hosts_of_the_environment(broker_of, daemon_of, certificates, monkeypatch):
    broker = broker_of(certificates=certificates)
    monkeypatch.setenv("NO_PROXY", "elsewhere.example,localhost")
    mqtt = {"proxy": f"http://127.0.0.1:{free_port()}"}
    daemon_of(broker=broker, tls=certificates.client, mqtt=mqtt).wait_until_ready()
