"""What is peculiar to the awscrt transport."""

import asyncio
import gc
import threading
import weakref

import pytest

from brokers import free_port
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.awscrt_link import AwscrtLink
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.link import ConnectError
from presenced.sources.mqtt.status import ConnectionStatus
from scripted_broker import CONNECT, SUBSCRIBE, scripted_broker
from source_harness import FILTER, running
from waiting import until


def test_an_attempt_that_cannot_succeed_ends_early_and_counts_once(broker_of, certificates):
    # s2n-tls waits up to 30 s before it reports a failed handshake.
    broker = broker_of(certificates=certificates)
    kind, more = ("awscrt", "5"), {"reconnect_min": 60.0, "reconnect_max": 60.0}

    async def scenario():
        async with running(
            kind, broker.port, diagnose_after=0.1, tls=certificates.wrong_ca, **more
        ) as harness:
            await until(harness.failures)
            assert harness.failures() == {"tls_server_certificate": 1}

    asyncio.run(scenario())


def test_an_undefined_reason_code_is_a_refusal():
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack()
        for code in (200, 1):
            peer.suback(await peer.expect(SUBSCRIBE), code)
        await peer.until_closed()

    async def scenario():
        async with (
            scripted_broker(script) as port,
            running(("awscrt", "5"), port, retry_min=0.05) as harness,
        ):
            await until(lambda: harness.status.granted[FILTER])
            assert harness.failures() == {"filter_refused": 1}

    asyncio.run(scenario())


def test_python_keeps_the_state_of_the_library_thread(broker_of):
    broker = broker_of()
    thread = threading.local()  # which a thread loses together with its state in Python
    known = []

    async def scenario():
        async with running(("awscrt", "5"), broker.port) as harness:
            await until(lambda: harness.ready)
            put = harness.inbox.put

            def watched(message):
                known.append(hasattr(thread, "seen"))
                thread.seen = True
                return put(message)

            harness.inbox.put = watched
            await asyncio.to_thread(broker.publish, [("$aws/events/a", b"")] * 3)
            await until(lambda: len(harness.received) == 3)

    asyncio.run(scenario())
    assert known == [False, True, True]


def test_a_closed_link_is_freed():
    # The library refers to it through callbacks, which the garbage collector cannot follow.
    options = ConnectionOptions(
        endpoint="127.0.0.1", port=free_port(), client_id="a", filters=(FILTER,), tls=None
    )

    async def scenario():
        inbox = Inbox(asyncio.get_running_loop(), lambda _: None)
        link = AwscrtLink(options, None, inbox, ConnectionStatus("a", (FILTER,), endpoint="e"))
        with pytest.raises(ConnectError):
            await link.open()
        await link.close()
        link = weakref.ref(link)

        def freed():
            gc.collect()
            return link() is None

        await until(freed)

    asyncio.run(scenario())
