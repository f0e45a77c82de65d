"""Both transports against brokers that refuse, drop, fall silent: what they then tell."""

import asyncio
import itertools
import ssl
from pathlib import Path

import pytest

from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles
from presenced.sources.mqtt.faults import published_at_qos_0, receive_remedy, subscribe_remedy
from presenced.sources.mqtt.symptoms import (
    alpn_fault,
    closed_before_connack,
    connack_fault,
    connection_closed,
    name_unknown,
    tls_fault,
)
from scripted_broker import CONNECT, SUBSCRIBE, UNSUBSCRIBE, scripted_broker
from source_harness import FILTER, KINDS, KeptSession, running
from waiting import until

NEW_KINDS = [kind for kind in KINDS if kind[1] == "5"]

every_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)
every_new_kind = pytest.mark.parametrize("kind", NEW_KINDS, ids="-".join)


async def observe(kind, script, **options):
    """Failures and problem text after the first connection, which the script ends."""
    connections = itertools.count()

    async def once(peer):
        # The next one is never answered, so that what the first one left can be read at leisure.
        await (peer.until_closed() if next(connections) else script(peer))

    async with scripted_broker(once) as port, running(kind, port, **options) as harness:
        await until(harness.failures)
        return harness.failures(), harness.status.problem


# MQTT 5 codes, and those of MQTT 3.1.1 that mean the same.
CONNACKS = [
    (135, 5, "not_authorized", "not authorized, 135", '"iot:Connect"'),
    (134, 4, "not_authorized", "bad user name or password, 134", "password"),
    (133, 2, "connect_refused", "client identifier not valid, 133", "mqtt.client_id"),
    (136, 3, "connect_refused", "server unavailable, 136", "keeps trying"),
    (137, None, "connect_refused", "server busy, 137", "keeps trying"),
    (138, None, "not_authorized", "banned, 138", "bans"),
    (151, None, "connect_refused", "quota exceeded, 151", "quotas"),
    (159, None, "connect_refused", "connection rate exceeded, 159", "one CONNECT per second"),
]


CONNACKS_OF_KINDS = [
    (kind, new if kind[1] == "5" else old, *rest)
    for kind in KINDS
    for new, old, *rest in CONNACKS
    if kind[1] == "5" or old is not None
]


@pytest.mark.parametrize(("kind", "code", "reason", "name", "remedy"), CONNACKS_OF_KINDS)
def test_connack_refusals_are_distinguished(kind, code, reason, name, remedy):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack(code)
        await peer.until_closed()

    failures, problem = asyncio.run(observe(kind, script))
    assert set(failures) == {reason}
    assert f"refused the connection of presenced ({name})" in problem
    assert remedy in problem


@every_kind
@pytest.mark.parametrize("code", [134, 135, None])
def test_a_refused_login_is_explained_by_the_login(kind, code):
    async def script(peer):
        await peer.expect(CONNECT)
        if code is not None:
            peer.connack(code if kind[1] == "5" else code - 130)
            await peer.until_closed()

    _, problem = asyncio.run(observe(kind, script, username="u", password="wrong"))
    assert ". Check mqtt.username and mqtt.password_file" in problem
    assert "AWS" not in problem


def test_aws_needs_a_policy_for_a_login_too():
    options = ConnectionOptions(
        endpoint="abc-ats.iot.eu-west-1.amazonaws.com",
        port=443,
        client_id="presenced",
        filters=(FILTER,),
        tls=None,
        username="u",
    )
    remedy = connack_fault(135, options).remedy
    assert remedy.startswith("Check mqtt.username and mqtt.password_file. On AWS, add ")


PLAIN = ConnectionOptions(
    endpoint="broker.example",
    port=8883,
    client_id="presenced",
    filters=("devices/+/status",),
    tls=TlsFiles(cert=Path("cert.pem"), key=Path("key.pem")),
)


def alert(reason):
    """The error of a TLS handshake that the server ends with an alert."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    "fault",
    [
        *(connack_fault(code, PLAIN) for code, *_ in CONNACKS),
        connection_closed(PLAIN),
        closed_before_connack(PLAIN),
        name_unknown(PLAIN),
        alpn_fault(PLAIN),
        tls_fault(alert("TLSV1_ALERT_UNKNOWN_CA"), PLAIN),
        published_at_qos_0(PLAIN.filters[0]),
    ],
    ids=lambda fault: fault.detail,
)
def test_of_a_broker_that_is_not_aws_no_text_speaks_of_aws(fault):
    assert "aws" not in f"{fault.detail} {fault.remedy}".lower()
    assert fault.remedy


def test_a_refused_filter_of_a_broker_that_is_not_aws_needs_no_policy():
    remedy = subscribe_remedy(PLAIN.filters[0], PLAIN.endpoint)
    assert remedy == "Check that the broker allows this client to subscribe to devices/+/status"
    assert "AWS" not in receive_remedy(PLAIN.filters, PLAIN.endpoint)


@every_new_kind
def test_the_text_of_the_broker_is_reported(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack(135, said="CONNACK:Not authorized:trace\n")
        await peer.until_closed()

    _, problem = asyncio.run(observe(kind, script))
    assert 'the broker said: "CONNACK:Not authorized:trace"' in problem
    assert "client/presenced" in problem


DISCONNECTS = [
    (142, "taken_over", "session taken over, 142", "its own mqtt.client_id"),
    (141, "keep_alive_timeout", "keep alive timeout, 141", "mqtt.keep_alive"),
    (135, "not_authorized", "not authorized, 135", '"iot:Connect"'),
    (139, "server_disconnect", "server shutting down, 139", "keeps trying"),
    (152, "server_disconnect", "administrative action, 152", ""),
]


@every_new_kind
@pytest.mark.parametrize(("code", "reason", "name", "remedy"), DISCONNECTS)
def test_disconnects_of_the_broker_are_distinguished(kind, code, reason, name, remedy):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        peer.disconnect(code)
        await peer.until_closed()

    failures, problem = asyncio.run(observe(kind, script))
    assert set(failures) == {reason}
    assert f"disconnected presenced ({name})" in problem
    assert remedy in problem


@every_kind
def test_closing_the_connection_on_connect_is_a_refusal(kind):
    async def script(peer):
        await peer.expect(CONNECT)

    failures, problem = asyncio.run(observe(kind, script))
    assert set(failures) == {"connect_refused"}
    assert "closed the connection instead of answering CONNECT" in problem
    assert '"iot:Connect"' in problem


@every_kind
def test_silence_after_connect_is_no_refusal_and_delays_no_stop(kind):

    async def script(peer):
        await peer.until_closed()

    async def scenario():
        async with (
            scripted_broker(script) as port,
            running(kind, port, answer_timeout=0.2) as harness,
        ):
            await until(harness.failures)
            failures, problem = harness.failures(), harness.status.problem
            async with asyncio.timeout(4):
                await harness.source.stop()
            return failures, problem

    failures, problem = asyncio.run(scenario())
    assert set(failures) == {"no_answer"}
    assert "did not answer CONNECT" in problem
    assert "the broker's log" in problem


@every_kind
def test_a_loop_of_drops_after_subscribe_is_named(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        await peer.expect(SUBSCRIBE)

    async def scenario():
        async with scripted_broker(script) as port, running(kind, port) as harness:
            await until(lambda: "dropped_after_subscribe" in harness.failures())
            return harness.failures(), harness.status.problem

    failures, problem = asyncio.run(scenario())
    assert failures["connection_lost"] == 1
    assert f"drops the connection right after SUBSCRIBE to {FILTER}" in problem
    assert '"iot:Subscribe"' in problem


@every_kind
def test_a_refused_filter_heals_while_the_connection_stays_up(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1, 0x80)
        second = await peer.expect(SUBSCRIBE)
        assert b"a/#" not in second
        assert b"b/#" in second
        peer.suback(second, 1)
        await peer.until_closed()

    async def scenario():
        async with (
            scripted_broker(script) as port,
            running(kind, port, retry_min=0.05, filters=["a/#", "b/#"]) as harness,
        ):
            await until(lambda: harness.ready)
            return harness.failures(), dict(harness.status.connects)

    failures, connects = asyncio.run(scenario())
    assert failures == {"filter_refused": 1}
    assert connects == {"new": 1, "resumed": 0}


@every_kind
def test_a_refusal_is_reported_before_the_loss(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 0x80)

    async def scenario():
        async with scripted_broker(script) as port, running(kind, port) as harness:
            await until(lambda: harness.failures().get("connection_lost"))
            return harness.failures()

    assert "filter_refused" in asyncio.run(scenario())


@every_kind
def test_a_loss_without_a_reason_leads_to_the_log_of_the_broker(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)

    _, problem = asyncio.run(observe(kind, script))
    assert "closed without a reason. Look for this client ID in the broker's log" in problem


@every_kind
def test_a_resumed_session_is_subscribed_again(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack(session_present=True)
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    async def scenario():
        async with scripted_broker(script) as port, running(kind, port) as harness:
            await until(lambda: harness.ready)
            return dict(harness.status.connects)

    assert asyncio.run(scenario()) == {"new": 0, "resumed": 1}


@every_kind
def test_unanswered_pings_end_the_connection(kind):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    failures, problem = asyncio.run(observe(kind, script, keep_alive=1))
    assert set(failures) == {"keep_alive_timeout"}
    assert "did not answer a PINGREQ" in problem


@every_kind
def test_garbage_from_the_broker_is_survived(kind):
    answers = iter([b"\x20\x7f", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xff\xff\xff\xff\xff"])

    async def script(peer):
        await peer.expect(CONNECT)
        garbage = next(answers, None)
        if garbage is not None:
            peer.write(garbage)
            return
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    async def scenario():
        async with scripted_broker(script) as port, running(kind, port) as harness:
            await until(lambda: harness.ready)
            return harness.failures()

    assert sum(asyncio.run(scenario()).values()) == 3


@every_kind
def test_each_failed_attempt_counts_once(kind):
    attempts = 0

    async def script(peer):
        nonlocal attempts
        await peer.expect(CONNECT)
        attempts += 1
        if attempts <= 4:
            return
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    async def scenario():
        async with scripted_broker(script) as port, running(kind, port) as harness:
            await until(lambda: harness.ready and sum(harness.failures().values()) >= 4)
            return harness.failures(), harness.status.connected

    failures, connected = asyncio.run(scenario())
    assert failures == {"connect_refused": 4}
    assert connected


@every_kind
def test_an_unsubscribe_is_repeated_until_the_broker_accepts_it(kind, capsys):
    session = KeptSession("old/#", "older/#")
    asked = []

    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack(session_present=True)
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        for codes in ([17, 135], [0]):
            asked.append(await peer.expect(UNSUBSCRIBE))
            peer.unsuback(asked[-1], *codes)
        await peer.until_closed()

    async def scenario():
        async with (
            scripted_broker(script) as port,
            running(kind, port, retry_min=0.05, session=session) as harness,
        ):
            await until(lambda: harness.ready and not session.held)
            assert harness.status.callback_errors == 0

    asyncio.run(scenario())
    assert b"old/#" in asked[0]
    assert b"older/#" in asked[0]
    if kind[1] == "5":
        assert b"old/#" not in asked[1].replace(b"older/#", b"")
        assert "not authorized, 135" in capsys.readouterr().out
    else:
        assert len(asked) == 1, "a broker of MQTT 3.1.1 cannot refuse"
