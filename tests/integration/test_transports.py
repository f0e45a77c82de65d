"""Both transports against a real mosquitto."""

import asyncio
import shutil
import socket

import pytest

from brokers import connect_packet, lifecycle_events, read_exactly
from presenced.sources.mqtt.connection_options import TlsFiles
from source_harness import FILTER, KINDS, SourceHarness, running
from waiting import until

pytestmark = pytest.mark.parametrize("kind", KINDS, ids="-".join)


async def publishing(broker, messages, **options):
    """Publish from another thread, so that the loop can serve the source."""
    await asyncio.to_thread(broker.publish, messages, **options)


def test_ten_thousand_events_over_mutual_tls_all_arrive(kind, broker_of, certificates):
    broker = broker_of(certificates=certificates)
    events = lifecycle_events(10_000)

    async def scenario():
        async with running(kind, broker.port, tls=certificates.client) as harness:
            await until(lambda: harness.ready)
            await publishing(broker, events)
            await until(lambda: len(harness.received) >= len(events), 60)
            return harness

    harness = asyncio.run(scenario())
    assert [(m.topic, m.payload) for m in harness.received] == events
    assert {m.qos for m in harness.received} == {1}
    assert {m.connection for m in harness.received} == {"presenced"}
    assert harness.status.callback_errors == 0


def test_the_broker_waits_for_acknowledgements_and_nothing_is_lost(kind, broker_of):
    broker = broker_of(max_inflight=20)
    events = lifecycle_events(300)
    # With MQTT 5 the client sets the limit, with 3.1.1 the broker does.
    limit = 100 if kind[1] == "5" else 20

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            harness.holding = True
            await publishing(broker, events)
            # QoS 0 is outside the limit, so this comes after all that the broker lets out.
            await publishing(broker, [("$aws/events/end", b"")], qos=0)
            await until(lambda: "$aws/events/end" in harness.topics)
            held = len(harness.received) - 1
            harness.acknowledge_all()
            await until(lambda: len(harness.received) == len(events) + 1)
            return held, harness

    held, harness = asyncio.run(scenario())
    assert held == limit
    assert set(harness.topics) == {topic for topic, _ in events} | {"$aws/events/end"}


def test_a_broker_restart_is_survived(kind, broker_of, certificates):
    broker = broker_of(certificates=certificates)
    first, second = lifecycle_events(200)[:100], lifecycle_events(200)[100:]

    async def scenario():
        async with running(kind, broker.port, tls=certificates.client) as harness:
            await until(lambda: harness.ready)
            await publishing(broker, first)
            await until(lambda: len(harness.received) >= 100)
            await asyncio.to_thread(broker.stop)
            await until(lambda: not harness.status.connected)
            down = (dict(harness.status.granted), harness.status.problem)
            await until(lambda: harness.failures().get("unreachable"))
            await asyncio.to_thread(broker.start)
            await until(lambda: harness.ready)
            assert harness.status.granted == {FILTER: True}
            await publishing(broker, second)
            await until(lambda: set(harness.topics) >= {topic for topic, _ in first + second})
            return down, harness.status

    (granted, problem), status = asyncio.run(scenario())
    assert granted == {FILTER: False}
    assert problem
    assert sum(status.connects.values()) == 2
    assert status.callback_errors == 0


def test_a_session_that_the_broker_forgot_is_subscribed_again(kind, broker_of):
    broker = broker_of()

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            await asyncio.to_thread(broker.stop)
            (broker.directory / "mosquitto.db").unlink()
            await asyncio.to_thread(broker.start)
            await until(lambda: harness.ready and harness.status.connects["new"] == 2)
            await publishing(broker, lifecycle_events(1))
            await until(lambda: harness.received)

    asyncio.run(scenario())


def test_a_broker_that_is_down_at_start_is_waited_for(kind, broker_of):
    broker = broker_of(start=False)

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.failures().get("unreachable"))
            problem = harness.status.problem
            await asyncio.to_thread(broker.start)
            await until(lambda: harness.ready)
            return problem

    problem = asyncio.run(scenario())
    assert f"localhost:{broker.port} refused the TCP connection" in problem
    assert "Check that the broker runs" in problem


def test_a_refused_filter_is_named_and_the_others_work(kind, broker_of):
    broker = broker_of(refused_filters=["$aws/events/secret/#"])
    filters = ["$aws/events/secret/#", "$aws/events/presence/#"]

    async def scenario():
        async with running(kind, broker.port, filters=filters) as harness:
            await until(lambda: "filter_refused" in harness.failures())
            await until(lambda: harness.status.granted["$aws/events/presence/#"])
            await publishing(broker, lifecycle_events(1))
            await until(lambda: harness.received)
            return dict(harness.status.granted), harness.status.problem

    granted, problem = asyncio.run(scenario())
    assert granted == {"$aws/events/secret/#": False, "$aws/events/presence/#": True}
    number = "not authorized, 135" if kind[1] == "5" else "unspecified error, 128"
    assert f"refused the subscription to $aws/events/secret/# ({number})" in problem
    assert ":topicfilter/$aws/events/secret/*" in problem


def test_at_most_eight_filters_go_into_one_subscribe(kind, broker_of):
    broker = broker_of()
    filters = [f"$aws/events/{number}/#" for number in range(9)]

    async def scenario():
        async with running(kind, broker.port, filters=filters) as harness:
            await until(lambda: harness.ready)

    asyncio.run(scenario())
    assert broker.log.count("Received SUBSCRIBE from presenced") == 2


FILE_FAULTS = {
    "expired client certificate": (
        "expired_client",
        "tls_client_certificate",
        ["expired.crt: expired on 20"],
    ),
    "client certificate of the future": (
        "future_client",
        "tls_client_certificate",
        ["future.crt: is not valid before 20", "clock"],
    ),
    "key of another certificate": (
        "mismatched_key",
        "tls_files",
        ["server.key: does not belong to the certificate", "client.crt"],
    ),
    "client certificate of a foreign CA": (
        "foreign_client",
        "tls_client_certificate",
        ["rejects the client certificate", "foreign.crt", "does not know the CA"],
    ),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_client_files_that_do_not_work_are_told_apart(kind, fault, broker_of, certificates):
    broker = broker_of(certificates=certificates)
    name, reason, words = FILE_FAULTS[fault]

    async def scenario():
        async with running(kind, broker.port, tls=getattr(certificates, name)) as harness:
            await until(harness.failures)
            return harness.failures(), harness.status.problem

    failures, problem = asyncio.run(scenario())
    assert list(failures) == [reason]
    for word in words:
        assert word in problem


def test_a_missing_client_certificate_is_named(kind, broker_of, certificates):
    broker = broker_of(certificates=certificates)

    async def scenario():
        async with running(kind, broker.port, tls=TlsFiles(ca=certificates.ca)) as harness:
            await until(harness.failures)
            return harness.failures(), harness.status.problem

    failures, problem = asyncio.run(scenario())
    assert list(failures) == ["tls_client_certificate"]
    assert "requires a client certificate" in problem
    assert "mqtt.tls.cert" in problem


SERVER_FAULTS = {
    "CA that did not sign the server": ("wrong_ca", None, "cannot be verified with the CA file"),
    "expired server certificate": ("client", "expired_server", "certificate has expired"),
    "server certificate of another host": ("client", "other_name_server", "ostname mismatch"),
}


@pytest.mark.parametrize("fault", SERVER_FAULTS)
def test_server_certificates_are_told_apart(kind, fault, broker_of, certificates):
    # awscrt itself reports a failed handshake only after up to 30 s.
    files, server, words = SERVER_FAULTS[fault]
    broker = broker_of(
        certificates=certificates, server=getattr(certificates, server) if server else None
    )

    async def scenario():
        tls = getattr(certificates, files)
        async with running(kind, broker.port, diagnose_after=0.2, tls=tls) as harness:
            await until(lambda: words in (harness.status.problem or ""))
            return harness.status.problem, harness.failures()

    problem, failures = asyncio.run(scenario())
    assert f"the server at localhost:{broker.port}" in problem
    assert set(failures) == {"tls_server_certificate"}
    if fault.startswith("CA"):
        assert "stranger.pem" in problem
        assert "AmazonRootCA1.pem" in problem


def test_tls_and_plaintext_mixed_up(kind, broker_of, certificates):
    secured, plain = broker_of(certificates=certificates), broker_of()

    async def problem_of(port, tls):
        async with running(kind, port, tls=tls) as harness:
            await until(harness.failures)
            return harness.status.problem

    async def scenario():
        return (
            await problem_of(secured.port, None),
            await problem_of(plain.port, certificates.client),
        )

    expects_tls, no_tls = asyncio.run(scenario())
    assert "expects TLS" in expects_tls
    assert "closed the connection during the TLS handshake" in no_tls


def test_files_that_are_mended_heal_the_connection(kind, broker_of, certificates, tmp_path):
    broker = broker_of(certificates=certificates)
    files = TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem", certificates.ca)
    good, bad = certificates.client, certificates.foreign_client

    async def scenario():
        async with running(kind, broker.port, tls=files) as harness:
            await until(lambda: "no such file" in (harness.status.problem or ""))
            shutil.copy(bad.key, files.key)
            shutil.copy(bad.cert, files.cert)
            await until(lambda: "does not know the CA" in (harness.status.problem or ""))
            shutil.copy(good.key, files.key)
            shutil.copy(good.cert, files.cert)
            await until(lambda: harness.ready)

    asyncio.run(scenario())


def test_stop_sends_disconnect_and_nothing_comes_after(kind, broker_of):
    broker = broker_of()

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            await harness.source.stop()
            stopped = (harness.status.connected, harness.status.problem)
            await until(lambda: broker.saw_disconnect("presenced"))
            await publishing(broker, lifecycle_events(5))
            return stopped, harness

    (connected, problem), harness = asyncio.run(scenario())
    assert not connected
    assert problem == "disconnected on request"
    assert "presenced closed its connection" not in broker.log
    assert harness.received == []
    assert harness.failures() == {}


def test_passwords(kind, broker_of):
    broker = broker_of(users={"reader": "right"})

    async def scenario():
        async with running(kind, broker.port, username="reader", password="wrong") as harness:
            await until(harness.failures)
            refused = harness.failures(), harness.status.problem
        async with running(kind, broker.port, username="reader", password="right") as harness:
            await until(lambda: harness.ready)
        return refused

    failures, problem = asyncio.run(scenario())
    assert list(failures) == ["not_authorized"]
    assert "refused the connection of presenced (not authorized, 135)" in problem
    assert "wrong" not in problem


def test_a_kept_session_brings_what_came_in_the_meantime(kind, broker_of):
    broker = broker_of()
    held, missed = lifecycle_events(60)[:10], lifecycle_events(60)[10:]

    async def scenario():
        async with running(kind, broker.port) as before:
            await until(lambda: before.ready)
            before.holding = True
            await publishing(broker, held)
            await until(lambda: len(before.received) == len(held))
        await publishing(broker, missed)
        # Another process of ours, as far as the broker can see.
        async with running(kind, broker.port) as after:
            await until(lambda: after.ready)
            await until(lambda: len(set(after.topics)) == 60)
            for message in before.received:  # of a connection that is gone: must be harmless
                message.acknowledge()
            return before.status, after

    first, second = asyncio.run(scenario())
    assert first.connects == {"new": 1, "resumed": 0}
    assert second.status.connects == {"new": 0, "resumed": 1}
    assert sorted(second.topics) == sorted(topic for topic, _ in held + missed)
    assert second.status.callback_errors == 0


def test_a_clean_session_starts_afresh(kind, broker_of):
    broker = broker_of()

    async def scenario():
        async with running(kind, broker.port, session_expiry=0) as before:
            await until(lambda: before.ready)
        await publishing(broker, lifecycle_events(5))
        async with running(kind, broker.port, session_expiry=0) as after:
            await until(lambda: after.ready)
            await publishing(broker, [("$aws/events/new", b"")])
            await until(lambda: after.received)
            return after

    harness = asyncio.run(scenario())
    assert harness.status.connects == {"new": 1, "resumed": 0}
    assert harness.topics == ["$aws/events/new"]


def test_a_takeover_is_told_and_answered(kind, broker_of):
    broker = broker_of()

    def intrude():
        with socket.create_connection(("127.0.0.1", broker.back_port), timeout=10) as other:
            other.sendall(connect_packet("presenced", version=5 if kind[1] == "5" else 4))
            read_exactly(other, 4)

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            # Time to read the problem before the daemon is back.
            await asyncio.to_thread(intrude)
            await until(harness.failures)
            failures = harness.failures()
            await until(lambda: harness.ready)
            return failures

    failures = asyncio.run(scenario())
    # Not every version of mosquitto says why; tests/sources/test_refusals.py has one that does.
    assert failures in ({"taken_over": 1}, {"connection_lost": 1})


def test_a_failing_pipeline_is_seen_and_does_not_stop_the_stream(kind, broker_of, capsys):
    broker = broker_of(max_inflight=20)

    def fail(batch):
        if any(b"poison" in message.payload for message in batch):
            raise ValueError("this batch cannot be applied")

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            harness.on_batch = fail
            await publishing(broker, [("$aws/events/x", b"poison")] * 150)
            await until(lambda: harness.inbox.undelivered == 150)
            await publishing(broker, [("$aws/events/y", b"food")] * 150)
            await until(lambda: len(harness.received) == 150)

    asyncio.run(scenario())
    assert "this batch cannot be applied" in "".join(capsys.readouterr())


def test_a_failing_callback_is_seen_and_its_message_comes_again(kind, broker_of, capsys):
    broker = broker_of()

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            put = harness.inbox.put

            def fail_once(message):
                harness.inbox.put = put
                raise OSError("no place for this message")

            harness.inbox.put = fail_once
            await publishing(broker, lifecycle_events(3))
            await until(lambda: len(harness.received) == 2)
            await until(lambda: harness.status.callback_errors == 1)
            await asyncio.to_thread(broker.restart)
            await until(lambda: len(set(harness.topics)) == 3)

    asyncio.run(scenario())
    assert "no place for this message" in "".join(capsys.readouterr())


def test_qos_0_beyond_the_capacity_is_counted(kind, broker_of):
    broker = broker_of()

    async def scenario():
        async with running(kind, broker.port, qos=0, capacity=10) as harness:
            await until(lambda: harness.ready)
            # On the loop's own thread: nothing is handed over meanwhile.
            broker.publish([("$aws/events/x", b"")] * 1000, qos=0)
            await until(lambda: len(harness.received) + harness.status.messages_dropped == 1000)
            return harness.status

    assert asyncio.run(scenario()).messages_dropped > 0


def test_topics_and_payloads_of_all_kinds(kind, broker_of):
    broker = broker_of()
    prefix = "$aws/events/presence/connected/"
    messages = [
        (prefix + "a/b c/d", b"{}"),
        (prefix + "Wärmepumpe-Übergabe ☃ 漢字", "ä☃".encode()),
        (prefix + "empty", b""),
        (prefix + "bytes", bytes(range(256))),
        (prefix + "large", b"x" * 200_000),
        (prefix + "n" * 300, b"long topic"),
    ]

    async def scenario():
        async with running(kind, broker.port) as harness:
            await until(lambda: harness.ready)
            await publishing(broker, messages)
            await until(lambda: len(harness.received) == len(messages))
            return harness

    harness = asyncio.run(scenario())
    assert [(m.topic, m.payload) for m in harness.received] == messages


def test_two_connections_share_one_inbox(kind, broker_of):
    broker = broker_of()

    async def scenario():
        async with running(kind, broker.port, filters=["$aws/events/a/#"]) as one:
            two = SourceHarness(
                kind,
                broker.port,
                inbox=one.inbox,
                client_id="presenced-2",
                filters=["$aws/events/b/#"],
            )
            await two.source.start()
            try:
                await until(lambda: one.ready and two.ready)
                await publishing(broker, [("$aws/events/a/1", b""), ("$aws/events/b/1", b"")])
                await until(lambda: len(one.received) == 2)
                return {message.topic: message.connection for message in one.received}
            finally:
                await two.source.stop()

    assert asyncio.run(scenario()) == {
        "$aws/events/a/1": "presenced",
        "$aws/events/b/1": "presenced-2",
    }
