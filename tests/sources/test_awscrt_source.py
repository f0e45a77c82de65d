"""What is peculiar to the awscrt transport."""

import asyncio
import threading
from types import SimpleNamespace

from awscrt.exceptions import from_code

from scripted import CONNECT, SUBSCRIBE, scripted_broker
from stations import FILTER, running
from waiting import until

FAILED_HANDSHAKE = SimpleNamespace(connack_packet=None, exception=from_code(1029))


def test_an_attempt_judged_early_is_not_counted_again(broker_of, certificates, monkeypatch):
    # s2n-tls sits out up to 30 s before it tells of a failed handshake.
    monkeypatch.setattr("presenced.sources.mqtt.awscrt_source._LOOK_CLOSER_AFTER", 0.1)
    broker = broker_of(certificates=certificates)

    async def scenario():
        async with running(("awscrt", "5"), broker.port, tls=certificates.wrong_ca) as station:
            await until(station.failures)
            assert station.failures() == {"tls_server_certificate": 1}
            station.source._on_failure(FAILED_HANDSHAKE)
            await asyncio.sleep(0)
            assert station.failures() == {"tls_server_certificate": 1}
            # Another attempt, that fails faster than the closer look comes.
            station.source._on_failure(FAILED_HANDSHAKE)
            await until(lambda: station.failures() == {"tls_server_certificate": 2})

    asyncio.run(scenario())


def test_a_code_that_mqtt_does_not_define_is_a_refusal_and_tried_again(monkeypatch):
    monkeypatch.setattr("presenced.sources.mqtt.subscriber._RETRY_MIN", 0.05)

    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        for code in (200, 1):
            peer.suback(await peer.expect(SUBSCRIBE), code)
        await peer.until_closed()

    async def scenario():
        async with scripted_broker(script) as port, running(("awscrt", "5"), port) as station:
            await until(lambda: station.status.granted[FILTER])
            assert station.failures() == {"filter_refused": 1}

    asyncio.run(scenario())


def test_the_thread_of_the_library_is_known_to_python_from_one_message_to_the_next(broker_of):
    broker = broker_of()
    thread = threading.local()  # which a thread loses together with its state in Python
    known = []

    async def scenario():
        async with running(("awscrt", "5"), broker.port) as station:
            await until(lambda: station.ready)
            put = station.inbox.put

            def watched(message):
                known.append(hasattr(thread, "seen"))
                thread.seen = True
                return put(message)

            station.inbox.put = watched
            await asyncio.to_thread(broker.publish, [("$aws/events/a", b"")] * 3)
            await until(lambda: len(station.received) == 3)

    asyncio.run(scenario())
    assert known == [False, True, True]
